using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Core.Tests.Discovery;

/// <summary>
/// Whole conversations, one file each: what the client and the publisher do, and below it, indented, what the server sends. With
/// <c>UPDATE_TRANSCRIPTS=1</c> the files are written anew; the difference is what a reviewer reads.
/// </summary>
/// <remarks>
/// Lines: <c>delta</c> or <c>sotw</c> (first), <c>change WORDS</c>, <c>ask TYPE NAMES</c>, <c>stale TYPE NAMES</c> (with the nonce of the first response), <c>ack TYPE</c>, <c>nack TYPE TEXT</c>, <c>wait SECONDS</c>,
/// <c>reconnect</c>, <c>resume TYPE NAMES with HELD</c>, <c>gates</c>; <c>#</c> begins a comment. Words are those of <see cref="SessionDriver.Change"/>.
/// </remarks>
public sealed class TranscriptTests
{
    private static readonly string Folder = Path.Combine(AppContext.BaseDirectory, "Discovery", "Transcripts");

    public static TheoryData<string> Files() =>
        new(Directory.EnumerateFiles(Folder, "*.txt").Select(file => Path.GetFileName(file)!).Order(StringComparer.Ordinal));

    [Theory]
    [MemberData(nameof(Files))]
    public void The_conversation_goes_as_written(string file)
    {
        var written = File.ReadAllText(Path.Combine(Folder, file));
        var actual = Play(written);
        if (Environment.GetEnvironmentVariable("UPDATE_TRANSCRIPTS") == "1")
        {
            File.WriteAllText(Path.Combine(Path.GetDirectoryName(ThisFile())!, "Transcripts", file), actual);
            return;
        }

        Assert.Equal(written, actual);
    }

    private static string Play(string script)
    {
        var output = new StringBuilder();
        SessionDriver? xds = null;
        foreach (var line in script.Split('\n').Where(line => !line.StartsWith("  ", StringComparison.Ordinal)))
        {
            output.Append(line).Append('\n');
            if (line.Length == 0 || line[0] == '#')
            {
                continue;
            }

            var words = line.Split(' ', 3);
            var result = "";
            switch (words[0])
            {
                case "delta":
                    xds = SessionDriver.Delta();
                    break;
                case "sotw":
                    xds = SessionDriver.Sotw();
                    break;
                case "change":
                    result = xds!.Change(line[7..]);
                    break;
                case "ask":
                    result = xds!.Ask(TypeOf(words[1]), words.Length > 2 ? words[2] : "", nonce: NonceFor(xds, words[1]));
                    break;
                case "stale":
                    var oldest = xds!
                        .Responses.First(response => response.Type == TypeOf(words[1]))
                        .Nonce.ToString(CultureInfo.InvariantCulture);
                    result = xds.Ask(TypeOf(words[1]), words[2], nonce: oldest);
                    break;
                case "ack":
                    result = xds!.Ack(TypeOf(words[1]));
                    break;
                case "nack":
                    result = xds!.Nack(TypeOf(words[1]), words[2]);
                    break;
                case "wait":
                    result = xds!.Wait(double.Parse(words[1]));
                    break;
                case "reconnect":
                    xds!.Reconnect();
                    break;
                case "resume":
                    var parts = words[2].Split("with ");
                    result = xds!.Ask(TypeOf(words[1]), parts[0], holds: parts[1]);
                    break;
                case "gates":
                    result = string.Join(
                        ' ',
                        xds!
                            .Session.Status()
                            .SelectMany(status => status.Gates)
                            .Select(gate => $"{gate.Type} {gate.Name} waits for {gate.WaitsFor} ({gate.Because})")
                    );
                    break;
                default:
                    throw new InvalidOperationException($"'{words[0]}' is not a command of transcripts.");
            }

            if (result.Length > 0)
            {
                output.Append("  ").Append(result.Replace("} ", "}\n  ", StringComparison.Ordinal)).Append('\n');
            }
        }

        return output.ToString().TrimEnd('\n') + "\n";
    }

    /// <summary>A state-of-the-world client says its newest nonce with each request; a Delta client only when it answers.</summary>
    private static string NonceFor(SessionDriver xds, string type) =>
        xds.Session.Protocol == XdsProtocol.Sotw && xds.Has(TypeOf(type)) ? xds.Nonce(TypeOf(type)) : "";

    private static ResourceType TypeOf(string shortName) => ResourceType.All.Single(type => type.ShortName == shortName);

    private static string ThisFile([CallerFilePath] string path = "") => path;
}
