using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using ControlPlane.Server.Security;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>What a newcomer sees of <c>--demo</c>: every command that it prints is typed, and does what is said above it.</summary>
[Trait("Category", "Slow")]
public sealed class DemoTests
{
    // The last line of what is printed when it runs: what comes before it is there, too.
    private const string Runs = "Ctrl-C ends everything and leaves nothing behind.";
    private const string DoesNotRun = "The demo does not run";
    private static readonly TimeSpan TenSeconds = TimeSpan.FromSeconds(10);

    [Fact]
    public async Task The_demo_answers_within_ten_seconds_keeps_what_it_prints_and_leaves_nothing_behind()
    {
        await DemoProcess.PortIsFreeAsync();
        var started = TimeProvider.System.GetTimestamp();
        await using var demo = DemoProcess.Start();
        await demo.PrintedAsync(Runs, TenSeconds);
        var commands = new Queue<PrintedCommand>(demo.Commands);

        var ask = Next("Ask through Envoy, a few times");
        Assert.StartsWith("Hello from ", await demo.TypeAsync(ask), StringComparison.Ordinal);
        Assert.InRange(TimeProvider.System.GetElapsedTime(started), TimeSpan.Zero, TenSeconds);
        await AnswersAsync("of all three", answers => answers.Keys.Order().SequenceEqual(["blue", "green", "red"]));

        await demo.TypeAsync(Next("Send nine of ten requests to red"));
        await AnswersAsync("nine of ten of red", answers => answers.GetValueOrDefault("red") is >= 35 and <= 37);

        const string drain = "Drain green, then put it back";
        await demo.TypeAsync(Next(drain));
        await AnswersAsync("none of green", answers => !answers.ContainsKey("green"));
        await demo.TypeAsync(Next(drain));
        await AnswersAsync("of green again", answers => answers.ContainsKey("green"));

        const string see = "See which proxies have it, and what they said";
        var node = Assert.Single(Json(await demo.TypeAsync(Next(see)))["items"]!.AsArray())!;
        Assert.Equal(("demo-edge", true), ((string?)node["id"], (bool?)node["connected"]));
        var object_ = Next(see);
        await Eventually.True(
            "the proxy's acknowledgement on the upstream",
            async _ =>
                Json(await demo.TypeAsync(object_))["status"]!["conditions"]!
                    .AsArray()
                    .Any(c => (string?)c!["type"] == "Programmed" && (string?)c["status"] == "True")
        );

        const string stop = "Stop green (it comes back by itself), see what is said about it, and read here how long clients noticed";
        Assert.Contains("green stops", await demo.TypeAsync(Next(stop)), StringComparison.Ordinal);
        var health = Next(stop);
        await Eventually.Get("green to be found dead", _ => StatusOfGreenAsync(), status => status == "UNHEALTHY", TenSeconds);
        await demo.PrintedAsync("Clients noticed", TenSeconds);
        await demo.PrintedAsync("green is back", TimeSpan.FromSeconds(40));
        Assert.Equal("HEALTHY", await StatusOfGreenAsync());
        Assert.Empty(commands);

        Assert.Equal(0, await demo.InterruptAsync());
        Assert.Empty(demo.Living);
        Assert.Empty(demo.Leftovers);
        Assert.DoesNotContain(DoesNotRun, demo.Output, StringComparison.Ordinal);

        PrintedCommand Next(string heading)
        {
            var next = commands.Dequeue();
            Assert.Equal(heading, next.Heading);
            return next;
        }

        async Task<string?> StatusOfGreenAsync() =>
            (string?)Json(await demo.TypeAsync(health))["endpoints"]!.AsArray().Single(e => (string?)e!["endpoint"] == "green")!["status"];
    }

    [Fact]
    public async Task Printed_commands_take_a_token_where_one_is_needed_and_an_Envoy_that_dies_is_reported()
    {
        var (token, line) = TokenFile.Create("demo", TokenRole.Write);
        var file = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(file, line);
            await DemoProcess.PortIsFreeAsync();
            await using var demo = DemoProcess.Start(token, "--admin-token-file", file);
            await demo.PrintedAsync(Runs, TenSeconds);
            var api = demo.Commands.Where(c => c.Text.Contains("/api/v1/", StringComparison.Ordinal)).ToList();
            Assert.NotEmpty(api);
            foreach (var command in api)
            {
                // Problems have one; objects have not.
                Assert.Null(Json(await demo.TypeAsync(command))["title"]);
            }

            demo.KillEnvoy();
            await demo.PrintedAsync($"{DoesNotRun}. Envoy has ended with code ", TenSeconds);
            Assert.Equal(0, await demo.InterruptAsync());
            Assert.Empty(demo.Leftovers);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public async Task A_port_that_answers_for_somebody_else_is_named()
    {
        await DemoProcess.PortIsFreeAsync();
        using var other = new TcpListener(IPAddress.Loopback, DemoProcess.ListenerPort);
        other.Start();
        await using var demo = DemoProcess.Start();
        await demo.PrintedAsync($"{DoesNotRun}. Something else listens on 127.0.0.1:10000", TenSeconds);
        Assert.DoesNotContain(Runs, demo.Output, StringComparison.Ordinal);
        Assert.Equal(0, await demo.InterruptAsync());
    }

    [Fact]
    public async Task What_Envoy_refuses_is_said_in_its_words_instead_of_that_the_demo_runs()
    {
        await DemoProcess.PortIsFreeAsync();
        using var other = DemoProcess.Take();
        await using var demo = DemoProcess.Start();
        await demo.PrintedAsync($"{DoesNotRun}. Envoy refused what it was told: ", TenSeconds);
        Assert.Contains("cannot bind '127.0.0.1:10000': Address already in use", demo.Output, StringComparison.Ordinal);
        Assert.DoesNotContain(Runs, demo.Output, StringComparison.Ordinal);
        var node = await demo.TypeAsync(Assert.Single(demo.Commands));
        Assert.Contains("Address already in use", node, StringComparison.Ordinal);
        Assert.Equal(0, await demo.InterruptAsync());
        Assert.Empty(demo.Leftovers);
    }

    private static JsonNode Json(string text) => JsonNode.Parse(text)!;

    /// <summary>Asks through Envoy 40 times until the answers are of a kind.</summary>
    private static Task AnswersAsync(string what, Func<Dictionary<string, int>, bool> accept) =>
        Eventually.Get(
            "answers " + what,
            async token =>
            {
                using var http = new HttpClient();
                var answers = new Dictionary<string, int>();
                for (var i = 0; i < 40; i++)
                {
                    var text = await http.GetStringAsync(new Uri($"http://127.0.0.1:{DemoProcess.ListenerPort}/"), token);
                    var name = text["Hello from ".Length..].Trim();
                    answers[name] = answers.GetValueOrDefault(name) + 1;
                }

                return answers;
            },
            accept,
            TimeSpan.FromSeconds(3)
        );
}
