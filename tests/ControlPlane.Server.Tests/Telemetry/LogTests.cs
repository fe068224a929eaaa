using System.Text.Json.Nodes;
using ControlPlane.TestKit;

namespace ControlPlane.Server.Tests.Telemetry;

/// <summary>The log as those read it who start the server.</summary>
public sealed class LogTests
{
    private const int Loaded = 1001;

    [Fact]
    public async Task Json_lines_carry_the_event_id_the_values_and_a_time_in_utc()
    {
        await using var server = new ServerProcess();
        await server.StartAsync("--log-format", "json");

        var line = await Eventually.Get(
            "the line that the state was loaded",
            _ => Task.FromResult(Events(server.Output).FirstOrDefault(e => (int?)e["EventId"] == Loaded)),
            found => found is not null
        );

        Assert.Equal("ControlPlane.Server.Publishing.SnapshotPublisher", (string?)line!["Category"]);
        Assert.Equal(0, (int?)line["State"]!["Objects"]);
        Assert.EndsWith("Z", (string?)line["Timestamp"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_a_terminal_the_log_is_json_and_text_is_for_the_asking()
    {
        await using var server = new ServerProcess();
        await server.StartAsync();
        await Eventually.True("a line of JSON", _ => Task.FromResult(Events(server.Output).Any(e => (int?)e["EventId"] == Loaded)));
        server.Kill();

        await server.StartAsync("--log-format", "text");
        await Eventually.True(
            "a line of text",
            _ => Task.FromResult(server.Output.Contains($"SnapshotPublisher[{Loaded}] Loaded 0 objects", StringComparison.Ordinal))
        );
        Assert.Empty(Events(server.Output));
    }

    [Fact]
    public async Task Where_the_log_is_json_nothing_else_is_on_standard_output_and_what_is_for_people_is_on_standard_error()
    {
        await using var server = new ServerProcess();
        await server.StartAsync("--log-format", "json");

        await Eventually.Get(
            "the first steps",
            _ => Task.FromResult(server.Errors),
            errors => errors.Contains("Or start with --demo", StringComparison.Ordinal)
        );

        var lines = server.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.NotEmpty(lines);
        Assert.All(lines, line => Assert.NotNull(JsonNode.Parse(line)!["EventId"]));
    }

    private static IEnumerable<JsonNode> Events(string output) =>
        output.Split('\n').Where(line => line.StartsWith('{')).Select(line => JsonNode.Parse(line)!);
}
