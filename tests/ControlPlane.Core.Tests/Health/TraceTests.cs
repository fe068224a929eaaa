using System.IO.Compression;

namespace ControlPlane.Core.Tests.Health;

/// <summary>The aggregator does step by step what the executable form of the design did; see the README beside the traces.</summary>
public sealed class TraceTests
{
    private static readonly string Folder = Path.Combine(AppContext.BaseDirectory, "Health", "Traces");

    public static TheoryData<string> Traces =>
        [
            .. Directory
                .GetFiles(Folder, "*.jsonl.gz")
                .Select(f => Path.GetFileName(f)!.Replace(".jsonl.gz", "", StringComparison.Ordinal))
                .Order(StringComparer.Ordinal),
        ];

    [Theory, MemberData(nameof(Traces))]
    public void Every_step_of_the_trace_is_the_same(string trace) => Replay(trace, evaluatesEverything: false);

    /// <summary>The timers of <c>UpstreamTimers</c> leave nothing out: looking at everything each time gives nothing else.</summary>
    [Theory, MemberData(nameof(Traces))]
    public void Evaluating_everything_each_time_changes_nothing(string trace) => Replay(trace, evaluatesEverything: true);

    [Fact]
    public void There_are_traces() => Assert.True(Traces.Count > 80, $"only {Traces.Count} traces in {Folder}");

    [Fact]
    public void T48_Random_faults_of_every_shape_of_fleet_are_among_the_traces() =>
        Assert.Empty(
            RandomFaultTests
                .SmallFleets.Concat(RandomFaultTests.LargeFleets)
                .Select(row => $"random-{row.Data.Replace('-', '_')}")
                .Except(Traces.Select(row => row.Data))
        );

    private static void Replay(string trace, bool evaluatesEverything)
    {
        var (replay, difference) = TraceReplay.Run(Lines(trace), evaluatesEverything);

        Assert.Null(difference);
        Assert.True(replay is { Inputs: > 50, Outputs: > 0 }, "the trace is too short to prove anything");
    }

    private static IEnumerable<string> Lines(string trace)
    {
        using var file = File.OpenRead(Path.Combine(Folder, trace + ".jsonl.gz"));
        using var reader = new StreamReader(new GZipStream(file, CompressionMode.Decompress));
        while (reader.ReadLine() is { } line)
        {
            yield return line;
        }
    }
}
