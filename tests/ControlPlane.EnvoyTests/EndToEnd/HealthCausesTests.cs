using System.Text.Json;
using ControlPlane.AdminClient;
using ControlPlane.Resources;
using ControlPlane.Server.Tests.Security;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>The ways in which a backend fails: each is found within its bound, explained with what was seen, and noticed by nobody.</summary>
[Trait("Category", "Slow")]
public sealed class HealthCausesTests
{
    /// <summary>
    /// Five failures of one observer (0.5 s + 5 · (0.2 s + time limit of 0.5 s)), traffic that is waited for (two reports, 4 s), and a second for the rest. What refuses
    /// connections waits for nothing; <see cref="HealthTests"/> holds it to 2 s.
    /// </summary>
    private const double Bound = 9;

    private static readonly TimeProvider Time = TimeProvider.System;

    [Theory]
    [InlineData("blackhole", "connectTimeout", "no connection in time")]
    [InlineData("hang", "timeout", "no answer in time")]
    [InlineData("500", "status", "HTTP 500")]
    public async Task A_backend_that_fails_its_checks_under_load_is_unhealthy_in_Envoy_and_back_when_it_recovers_and_no_GET_fails(
        string how,
        string failure,
        string text
    )
    {
        await using var scene = await HealthScene.StartAsync();
        await scene.ApplyAsync(scene.Upstream(health: ", hold: {active: 1s}"), HealthScene.Retries(", 500"));
        await using var load = await scene.LoadAsync(120);
        await using var plain = new LoadGenerator(new Uri(scene.Edge.Url, HealthScene.Plain), requestsPerSecond: 60, clients: 40);
        var victim = scene.Backends[2];
        var failed = Time.GetTimestamp();
        Set(victim, how, fails: true);
        await scene.UntilAsync(victim.Port, "UNHEALTHY", Bound);
        var verdict = Time.GetTimestamp();
        Assert.InRange(Time.GetElapsedTime(failed, verdict).TotalSeconds, 0, Bound);

        var why = await scene.ExplainAsync(victim.Port);
        Assert.Equal("5", why.Rule);
        Assert.Equal("active", why.Cause);
        Assert.Contains(why.Active.Evidence, row => row.Verdict == "FAIL" && row.Class == failure && row.Text == text);
        Assert.Contains(text, why.Sentence, StringComparison.Ordinal);

        // Without retries what was sent to it before the verdict fails, and nothing after.
        await Eventually.True("the load to go on", _ => Task.FromResult(Time.GetElapsedTime(verdict).TotalSeconds > 2));
        var withoutRetries = await plain.StopAsync();
        Assert.True(withoutRetries.Failed > 0, withoutRetries.ToString());
        Assert.InRange(
            Time.GetElapsedTime(failed, withoutRetries.LastFailureAt!.Value),
            TimeSpan.Zero,
            Time.GetElapsedTime(failed, verdict) + TimeSpan.FromSeconds(1)
        );

        Set(victim, how, fails: false);
        await scene.UntilAsync(victim.Port, "HEALTHY", within: 15);
        await HealthScene.NoneFailedAsync(load);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task A_backend_that_fails_three_of_ten_requests_is_found_by_traffic_alone_and_no_GET_fails(int envoys)
    {
        await using var scene = await HealthScene.StartAsync();
        var further = envoys == 2 ? await scene.AddEdgeAsync("second") : null;
        await scene.ApplyAsync(scene.Upstream(check: "http: {path: /healthz}"), HealthScene.Retries(", 500"));
        await using var load = await scene.LoadAsync(120);
        await using var other = further is null ? null : new LoadGenerator(further.Url, requestsPerSecond: 120);
        // What an Envoy sent in the first interval of a new cluster it never reports.
        await scene.UntilAsync(
            "reports of all Envoys",
            h => h.Endpoints.All(e => e.Traffic.Requests > 0 && e.Traffic.Evidence.Length == envoys),
            within: 20
        );
        var victim = scene.Backends[0];
        victim.StatusOf = Failing(percent: 30);

        // Two windows of reports, before them one that began too early, and the time for all the rest: 35 s at the default of 10 s.
        await scene.UntilAsync(victim.Port, "UNHEALTHY", within: (3 * HealthScene.ReportInterval.TotalSeconds) + 2);
        var why = await scene.ExplainAsync(victim.Port);
        Assert.Equal(("6", "passive"), (why.Rule, why.Cause));
        Assert.Equal(1, why.Active.Share);
        Assert.InRange(why.Traffic.ErrorRate, 0.2, 0.4);
        Assert.Equal(envoys, why.Traffic.Evidence.Length);
        Assert.All(why.Traffic.Evidence, row => Assert.Matches("^[1-9][0-9]* of [1-9][0-9]* failed$", row.Verdict));
        Assert.Contains("requests to it fail", why.Sentence, StringComparison.Ordinal);
        await HealthScene.NoneFailedAsync(load);
        if (other is not null)
        {
            await HealthScene.NoneFailedAsync(other);
        }
    }

    [Fact]
    public async Task A_backend_that_starts_slowly_gets_no_request_before_it_passes_its_check()
    {
        await using var scene = await HealthScene.StartAsync();
        await scene.ApplyAsync(scene.Upstream(check: "http: {path: /healthz}"), Edge.RouteTable());
        await using var load = await scene.LoadAsync(100);

        // One has not begun to listen, the other one listens and does not answer.
        var listensLater = FreePort.Next();
        var answersLater = await scene.Edge.AddBackendAsync();
        var requests = 0;
        answersLater.Delay = TimeSpan.FromSeconds(60);
        answersLater.StatusOf = path =>
        {
            requests += path == "/" ? 1 : 0;
            return 200;
        };
        int[] ports = [listensLater, answersLater.Port];
        await scene.Server.Client.PutAsync(
            Edge.Key(ResourceKind.Upstream, "shop"),
            scene.Upstream(
                check: "http: {path: /healthz}",
                endpoints: scene.Backends.Select(b => b.Port).Append(listensLater).Select(p => HealthScene.Endpoint(p))
            )
        );
        var waiting = await scene.UntilAsync(
            "both to have failed",
            h => h.Endpoints.Length == 5 && ports.All(p => HealthScene.Find(h, p).Active.Evidence.Any(row => row.Verdict == "FAIL")),
            within: 10
        );
        Assert.All(ports, p => Assert.Equal("NEW", HealthScene.Find(waiting, p).State));
        Assert.Contains("2 not passed yet", waiting.Sentence, StringComparison.Ordinal);
        Assert.Contains("connection refused", HealthScene.Find(waiting, listensLater).Sentence, StringComparison.Ordinal);
        Assert.Contains("no answer in time", HealthScene.Find(waiting, answersLater.Port).Sentence, StringComparison.Ordinal);
        foreach (var port in ports)
        {
            Assert.Null(await scene.Edge.Envoy.HealthOfAsync("shop", port));
        }

        Assert.Equal(0, requests);
        answersLater.Delay = TimeSpan.Zero;
        await using var listens = await TestBackend.StartAsync("late", port: listensLater);
        foreach (var port in ports)
        {
            await scene.UntilAsync(port, "HEALTHY", within: 5);
        }

        await Eventually.True("requests to it", _ => Task.FromResult(requests > 0));
        await HealthScene.NoneFailedAsync(load);
    }

    [Fact]
    public async Task A_backend_whose_certificate_has_expired_is_unhealthy_in_Envoy_with_the_reason_and_no_GET_fails()
    {
        using var authority = new TestCertificates();
        using var good = authority.IssueLoaded(n => n.AddDnsName("shop.test"));
        using var expired = authority.IssueLoaded(n => n.AddDnsName("shop.test"), ends: TimeSpan.FromMinutes(-1));
        await using var scene = await HealthScene.StartAsync(backends: 0);
        for (var i = 0; i < 3; i++)
        {
            await scene.Edge.AddBackendAsync(good);
        }

        var secret = $$"""
            apiVersion: controlplane/v1
            kind: Secret
            metadata: {name: ca}
            spec:
              validationContext:
                ca: {inline: {{JsonSerializer.Serialize(authority.AuthorityPem)}} }

            """;
        // Each request on a connection of its own: one that was made before goes on to be good.
        var upstream = scene.Upstream(spec: "tls: {sni: shop.test, caSecret: ca}\n  http: {maxRequestsPerConnection: 1}");
        await scene.ApplyAsync(upstream, HealthScene.Retries(), secret);
        await using var load = await scene.LoadAsync(50);

        var victim = scene.Backends[1];
        victim.Certificate = expired;
        await scene.UntilAsync(victim.Port, "UNHEALTHY", Bound);
        var why = await scene.ExplainAsync(victim.Port);
        Assert.Equal("5", why.Rule);
        var row = why.Active.Evidence.First(r => r.Verdict == "FAIL");
        Assert.Equal("tls", row.Class);
        Assert.StartsWith("the certificate expired on ", row.Text, StringComparison.Ordinal);
        await HealthScene.NoneFailedAsync(load);
    }

    [Fact]
    public async Task A_wrong_path_in_the_check_takes_nobody_out_and_is_named_whether_there_is_traffic_or_not()
    {
        await using var scene = await HealthScene.StartAsync();
        foreach (var backend in scene.Backends)
        {
            backend.StatusOf = path => path == "/typo" ? 404 : 200;
        }

        var ports = scene.Backends.Select(b => b.Port).ToList();
        // No route leads to it; Envoy has it all the same.
        var idle = scene.Upstream(name: "idle");
        await scene.ApplyAsync(scene.Upstream(), HealthScene.Retries(), idle);
        await scene.AllPassAsync("idle");
        await using var load = await scene.LoadAsync(120);
        var assignments = await scene.AssignmentsAsync();
        await scene.Server.Client.ApplyAsync(
            scene.Upstream(check: "http: {path: /typo}") + "---\n" + scene.Upstream(check: "http: {path: /typo}", name: "idle")
        );

        // Without traffic nothing contradicts the check but that it fails everywhere at once.
        var frozen = await scene.UntilAsync(
            "the freeze of all",
            h => h.FrozenSince is not null && h.Endpoints.All(e => e.Guards.Any(g => g is { Guard: "G6", Overruled: "UNHEALTHY" })),
            Bound,
            upstream: "idle"
        );
        Assert.Contains("(unexpected status). Guard G6 keeps them routable", frozen.Sentence, StringComparison.Ordinal);
        foreach (var port in ports)
        {
            var why = HealthScene.Find(frozen, port);
            Assert.Contains(why.Active.Evidence, row => row is { Verdict: "FAIL", Class: "status", Text: "HTTP 404" });
            await Eventually.True(
                $"{port} to take requests",
                async stop => await scene.Edge.Envoy.HealthOfAsync("idle", port, stop) == "HEALTHY"
            );
        }

        // With traffic that succeeds it is the check that is wrong, and nothing was sent to anyone.
        var vetoed = await scene.UntilAsync(
            "the veto",
            h => h.Endpoints.All(e => e.Lints.Contains("checkDisagreesWithTraffic")),
            within: 15
        );
        foreach (var port in ports)
        {
            var why = HealthScene.Find(vetoed, port);
            Assert.Equal("4 veto", why.Rule);
            Assert.Contains("HTTP 404", why.Sentence, StringComparison.Ordinal);
            Assert.Contains("the check is wrong, not the endpoint", why.Sentence, StringComparison.Ordinal);
            Assert.Equal("HEALTHY", await scene.Edge.Envoy.HealthOfAsync("shop", port));
        }

        Assert.Equal(assignments, await scene.AssignmentsAsync());
        await HealthScene.NoneFailedAsync(load);
    }

    /// <summary>Answers so many of a hundred requests with 500, evenly spread, and every check with 200.</summary>
    internal static Func<string, int> Failing(int percent)
    {
        var requests = 0L;
        return path => path != "/healthz" && Interlocked.Increment(ref requests) * percent % 100 < percent ? 500 : 200;
    }

    private static void Set(TestBackend backend, string how, bool fails)
    {
        switch (how)
        {
            case "blackhole":
                backend.DropsPackets = fails;
                break;
            case "hang":
                backend.Delay = fails ? TimeSpan.FromSeconds(60) : TimeSpan.Zero;
                break;
            default:
                backend.Status = fails ? 500 : 200;
                break;
        }
    }
}
