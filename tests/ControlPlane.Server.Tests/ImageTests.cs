using System.Text.RegularExpressions;

namespace ControlPlane.Server.Tests;

/// <summary>The image's build has all that it reads. Whoever builds here has the rest of the repository, too, and notices nothing.</summary>
public sealed partial class ImageTests
{
    private static readonly string[] Dockerfile = File.ReadAllLines(Path.Combine(Repository.Root(), "src/ControlPlane.Server/Dockerfile"));
    private static readonly string[] Ignore = File.ReadAllLines(
        Path.Combine(Repository.Root(), "src/ControlPlane.Server/Dockerfile.dockerignore")
    );

    /// <summary>Files outside their folder that projects of the server take.</summary>
    public static TheoryData<string> Taken =>
        [
            .. Directory
                .EnumerateFiles(Path.Combine(Repository.Root(), "src"), "*.csproj", SearchOption.AllDirectories)
                .SelectMany(project => Outside().Matches(File.ReadAllText(project)))
                .Select(match => match.Groups["path"].Value)
                .Distinct(StringComparer.Ordinal),
        ];

    [Theory, MemberData(nameof(Taken))]
    public void What_a_project_takes_from_elsewhere_is_let_through_to_the_image_and_copied(string path)
    {
        Assert.Contains(Ignore, line => line.StartsWith('!') && Covers(line[1..], path));
        Assert.Contains(
            Dockerfile.Where(line => line.StartsWith("COPY ", StringComparison.Ordinal)),
            line => line.Split(' ')[1..^1].Any(source => Covers(source.TrimEnd('/'), path))
        );
    }

    [Fact]
    public void What_the_image_copies_is_there()
    {
        var copied = Dockerfile
            .Where(line => line.StartsWith("COPY ", StringComparison.Ordinal) && !line.Contains("--from", StringComparison.Ordinal))
            .SelectMany(line => line.Split(' ')[1..^1])
            .ToList();

        Assert.NotEmpty(copied);
        Assert.All(copied, source => Assert.True(Path.Exists(Path.Combine(Repository.Root(), source)), source));
    }

    private static bool Covers(string source, string path) => path == source || path.StartsWith(source + "/", StringComparison.Ordinal);

    [GeneratedRegex("Include=\"\\.\\./\\.\\./(?<path>[^\"]+)\"", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Outside();
}
