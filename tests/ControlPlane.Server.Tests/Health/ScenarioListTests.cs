using System.Text.RegularExpressions;

namespace ControlPlane.Server.Tests.Health;

/// <summary>No scenario of the health model's test plan (its section 6) that needs only our sources of evidence is without a test of the whole way that names it.</summary>
public sealed partial class ScenarioListTests
{
    /// <summary>T14 to T16, T25 and T31 to T35 need sources that there are not yet; T43 needs the cause of a failure. T47 and T48 are played on the model alone.</summary>
    private static readonly string[] Scenarios =
    [
        .. new[] { (1, 13), (17, 24), (26, 30), (36, 42), (44, 46), (49, 74) }.SelectMany(range =>
            Enumerable.Range(range.Item1, range.Item2 - range.Item1 + 1).Select(number => $"T{number}")
        ),
    ];

    /// <summary>Those that are also played with real probes of real sockets.</summary>
    private static readonly string[] OnSockets = ["T1", "T2", "T11", "T12", "T42", "T49"];

    [Fact]
    public void Every_scenario_goes_through_the_whole_server()
    {
        var traces = ServerTraceTests.FirstTraces.Concat(ServerTraceTests.OtherTraces).Select(row => row.Data.Split('-')[0]);
        Assert.Empty(Scenarios.Except(Named("ControlPlane.Server.Tests.Health").Concat(traces)));
    }

    [Fact]
    public void Those_for_sockets_are_played_on_sockets() =>
        Assert.Empty(OnSockets.Except(Named("ControlPlane.Server.Tests.HealthIntake.Probing")));

    [Fact]
    public void No_test_names_a_scenario_that_the_plan_does_not_have() =>
        Assert.Empty(Named("ControlPlane.Server.Tests.Health").Except(Scenarios));

    /// <summary>The scenarios in the names of the tests of a namespace and those below it.</summary>
    private static HashSet<string> Named(string prefix) =>
        [
            .. typeof(ScenarioListTests)
                .Assembly.GetTypes()
                .Where(type => type.Namespace?.StartsWith(prefix, StringComparison.Ordinal) == true)
                .SelectMany(type => type.GetMethods())
                .Where(method => method.GetCustomAttributes(typeof(FactAttribute), inherit: true).Length > 0)
                .SelectMany(method => Scenario().Matches(Head().Match(method.Name).Value).Select(match => match.Value)),
        ];

    [GeneratedRegex("^(T[0-9]+_)*", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Head();

    [GeneratedRegex("T[0-9]+", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Scenario();
}
