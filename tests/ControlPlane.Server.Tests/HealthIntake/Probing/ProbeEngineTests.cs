using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.HealthIntake.Probing;
using ControlPlane.TestKit;
using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Server.Tests.HealthIntake.Probing;

public sealed class ProbeEngineTests
{
    private static readonly HealthCheckSpec Hourly = ProbeLab.Http() with
    {
        Interval = TimeSpan.FromHours(1),
        EdgeInterval = TimeSpan.FromHours(1),
    };

    [Fact]
    public async Task A_result_says_who_saw_what_by_which_check()
    {
        await using var backend = await TestBackend.StartAsync("b");
        await using var lab = new ProbeLab(zone: "eu-1a");
        var plan = ProbeLab.PlanOf(ProbeLab.Upstream(ProbeLab.Http(), ProbeLab.Loopback(backend.Port)));
        lab.Engine.Set(plan);

        var result = await lab.NextAsync();
        Assert.Equal(("shop", $"127.0.0.1:{backend.Port}"), (result.Upstream, result.Endpoint));
        Assert.Equal(("prober/eu-1a", "eu-1a"), (result.Author, result.Zone));
        Assert.True(result.Passed);
        Assert.Equal((FailureClass.None, "HTTP 200"), (result.Class, result.Text));
        Assert.Equal(plan.Policy.CheckDigest, result.CheckDigest);
        Assert.Equal(TimeSpan.FromSeconds(17), result.TimeToLive);
        Assert.NotNull(result.BegunAt);
    }

    [Fact]
    public async Task A_request_is_what_the_check_says()
    {
        await using var backend = await TestBackend.StartAsync("b");
        var check = new HealthCheckSpec
        {
            Http = new HttpCheckSpec
            {
                Path = "/ready?deep=1",
                Host = "shop.example.com",
                Method = "POST",
                Headers = new Dictionary<string, string> { ["x-probe"] = "yes" }.ToImmutableSortedDictionary(),
            },
        };
        Assert.True((await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(check, ProbeLab.Loopback(backend.Port)))).Passed);

        var request = backend.LastRequest!;
        Assert.Equal(("POST", "/ready?deep=1", "shop.example.com"), (request.Method, request.Path, request.Host));
        Assert.Equal("yes", request.Headers["x-probe"]);
        Assert.Equal("ControlPlane-Probe/1", request.Headers["User-Agent"]);
    }

    [Theory]
    [InlineData(200, new string[0], true)]
    [InlineData(204, new string[0], false)]
    [InlineData(204, new[] { "200-299" }, true)]
    [InlineData(200, new[] { "204" }, false)]
    [InlineData(301, new string[0], false)]
    [InlineData(503, new[] { "200", "500-599" }, true)]
    public async Task A_status_passes_where_it_is_expected(int status, string[] expected, bool passes)
    {
        await using var backend = await TestBackend.StartAsync("b");
        backend.Status = status;
        var check = new HealthCheckSpec
        {
            Http = new HttpCheckSpec { Path = "/", ExpectedStatuses = [.. expected] },
        };
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(check, ProbeLab.Loopback(backend.Port)));
        Assert.Equal(
            (passes, passes ? FailureClass.None : FailureClass.Status, $"HTTP {status}"),
            (result.Passed, result.Class, result.Text)
        );
    }

    [Fact]
    public async Task A_port_where_nobody_listens_is_refused()
    {
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(ProbeLab.Http(), ProbeLab.Loopback(FreePort.Next())));
        Assert.Equal((FailureClass.Refused, "connection refused"), (result.Class, result.Text));
    }

    [Fact]
    public async Task A_connection_that_nobody_accepts_is_no_connection_in_time()
    {
        // A backlog of one that is full: the kernel drops further attempts, as a network does that loses packets.
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(1);
        var fillers = new List<Socket>();
        for (var i = 0; i < 4; i++)
        {
            var filler = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { Blocking = false };
            fillers.Add(filler);
            _ = filler.ConnectAsync(listener.LocalEndPoint!).ContinueWith(_ => { }, TaskScheduler.Default);
        }
        await Eventually.True("a full backlog", _ => Task.FromResult(fillers.Count(f => f.Connected) >= 2));

        var check = ProbeLab.Http() with { Timeout = TimeSpan.FromMilliseconds(200) };
        var port = ((IPEndPoint)listener.LocalEndPoint!).Port;
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(check, ProbeLab.Loopback(port)));
        Assert.Equal((FailureClass.ConnectTimeout, "no connection in time"), (result.Class, result.Text));
        fillers.ForEach(f => f.Dispose());
    }

    [Fact]
    public async Task An_answer_that_does_not_come_is_a_timeout_and_the_next_probe_goes_out()
    {
        await using var backend = RawBackend.Start((_, stop) => Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, stop));
        await using var lab = new ProbeLab();
        var check = ProbeLab.Http() with { Timeout = TimeSpan.FromMilliseconds(100), EdgeInterval = TimeSpan.FromMilliseconds(100) };
        lab.Set(ProbeLab.Upstream(check, ProbeLab.Loopback(backend.Port)));
        for (var i = 0; i < 3; i++)
        {
            var result = await lab.NextAsync();
            Assert.Equal((FailureClass.Timeout, "no answer in time"), (result.Class, result.Text));
        }
    }

    [Fact]
    public async Task Who_fails_is_looked_at_more_closely()
    {
        // The interval is an hour: without the edge interval no second result would come.
        var check = ProbeLab.Http() with
        {
            Interval = TimeSpan.FromHours(1),
            EdgeInterval = TimeSpan.FromMilliseconds(100),
        };
        await using var lab = new ProbeLab();
        lab.Set(ProbeLab.Upstream(check, ProbeLab.Loopback(FreePort.Next())));
        for (var i = 0; i < 6; i++)
        {
            Assert.Equal(FailureClass.Refused, (await lab.NextAsync()).Class);
        }
    }

    [Fact]
    public async Task Who_passes_for_the_first_time_after_failures_is_looked_at_closely_until_that_counts()
    {
        var check = ProbeLab.Http() with { Interval = TimeSpan.FromHours(1), EdgeInterval = TimeSpan.FromMilliseconds(100), Rise = 2 };
        var port = FreePort.Next();
        await using var lab = new ProbeLab();
        lab.Set(ProbeLab.Upstream(check, ProbeLab.Loopback(port)));
        for (var i = 0; i < 4; i++)
        {
            Assert.False((await lab.NextAsync()).Passed);
        }

        await using var backend = await TestBackend.StartAsync("late", port: port);
        while (!(await lab.NextAsync()).Passed) { }

        Assert.True((await lab.NextAsync()).Passed);
    }

    [Fact]
    public async Task Who_has_never_passed_is_looked_at_closely_for_a_minute()
    {
        var time = new FakeTimeProvider();
        await using var lab = new ProbeLab(time);
        var check = ProbeLab.Http() with
        {
            Interval = TimeSpan.FromHours(1),
            EdgeInterval = TimeSpan.FromSeconds(10),
            Timeout = TimeSpan.FromHours(1),
        };
        lab.Set(ProbeLab.Upstream(check, ProbeLab.Loopback(FreePort.Next())));
        var begun = new List<double>();
        for (var i = 0; i < 7; i++)
        {
            begun.Add(((await lab.NextAsync()).BegunAt! - time.Start).Value.TotalSeconds);
            if (i < 6)
            {
                lab.Pass(TimeSpan.FromSeconds(9.8));
            }
        }
        // The seventh begins after a minute; from then on the interval counts.
        lab.Pass(TimeSpan.FromMinutes(2));
        Assert.False(lab.HasNext);
        Assert.All(begun.Zip(begun.Skip(1)), pair => Assert.InRange(pair.Second - pair.First, 9.9, 12));
    }

    [Fact]
    public async Task A_kept_connection_serves_every_probe_and_a_closed_one_is_made_anew_without_a_failure()
    {
        var requests = 0;
        await using var backend = RawBackend.Start(
            async (stream, stop) =>
            {
                // Three requests on a connection, then it is closed, as servers do that are tired of it.
                for (var i = 0; i < 3 && (await RawBackend.ReadHeadAsync(stream, stop)).Length > 0; i++)
                {
                    Interlocked.Increment(ref requests);
                    await stream.WriteAsync("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"u8.ToArray(), stop);
                }
            }
        );
        await using var lab = new ProbeLab();
        var check = ProbeLab.Http() with
        {
            Interval = TimeSpan.FromMilliseconds(20),
            EdgeInterval = TimeSpan.FromMilliseconds(20),
            ReuseConnection = true,
        };
        lab.Set(ProbeLab.Upstream(check, ProbeLab.Loopback(backend.Port)));
        for (var i = 0; i < 9; i++)
        {
            Assert.True((await lab.NextAsync()).Passed);
        }
        Assert.InRange(backend.Connections, 3, 4);
    }

    [Fact]
    public async Task Without_reuse_every_probe_makes_a_connection()
    {
        await using var backend = RawBackend.Answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        await using var lab = new ProbeLab();
        var check = ProbeLab.Http() with { Interval = TimeSpan.FromMilliseconds(20), EdgeInterval = TimeSpan.FromMilliseconds(20) };
        lab.Set(ProbeLab.Upstream(check, ProbeLab.Loopback(backend.Port)));
        for (var i = 0; i < 4; i++)
        {
            Assert.True((await lab.NextAsync()).Passed);
        }
        Assert.InRange(backend.Connections, 4, 5);
    }

    [Fact]
    public async Task An_endpoint_that_stays_keeps_its_times_and_a_new_one_is_probed_at_once()
    {
        await using var first = await TestBackend.StartAsync("first");
        await using var second = await TestBackend.StartAsync("second");
        await using var lab = new ProbeLab();
        lab.Set(ProbeLab.Upstream(Hourly, ProbeLab.Loopback(first.Port)));
        Assert.Equal($"127.0.0.1:{first.Port}", (await lab.NextAsync()).Endpoint);

        lab.Set(ProbeLab.Upstream(Hourly, ProbeLab.Loopback(first.Port), ProbeLab.Loopback(second.Port)));
        Assert.Equal($"127.0.0.1:{second.Port}", (await lab.NextAsync()).Endpoint);
        Assert.Equal(1, first.Requests);
    }

    [Fact]
    public async Task When_the_check_changes_all_are_probed_anew()
    {
        await using var backend = await TestBackend.StartAsync("b");
        await using var lab = new ProbeLab();
        lab.Set(ProbeLab.Upstream(Hourly, ProbeLab.Loopback(backend.Port)));
        await lab.NextAsync();
        lab.Set(ProbeLab.Upstream(Hourly with { Http = new HttpCheckSpec { Path = "/other" } }, ProbeLab.Loopback(backend.Port)));
        await lab.NextAsync();
        Assert.Equal("/other", backend.LastRequest!.Path);
    }

    [Fact]
    public async Task What_is_removed_while_it_is_probed_is_not_spoken_of()
    {
        var arrived = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var hanging = RawBackend.Start(
            async (stream, stop) =>
            {
                await RawBackend.ReadHeadAsync(stream, stop);
                arrived.TrySetResult();
                try
                {
                    Assert.Equal(0, await stream.ReadAsync(new byte[1], stop));
                }
                catch (IOException)
                {
                    // Cut off, not closed.
                }
                ended.TrySetResult();
            }
        );
        await using var other = await TestBackend.StartAsync("b");
        await using var lab = new ProbeLab();
        lab.Set(ProbeLab.Upstream(Hourly with { Timeout = TimeSpan.FromMinutes(5) }, ProbeLab.Loopback(hanging.Port)));
        await arrived.Task.WaitAsync(ProbeLab.Patience);
        lab.Engine.Remove("shop");
        await ended.Task.WaitAsync(ProbeLab.Patience);

        lab.Set(ProbeLab.Upstream(Hourly, ProbeLab.Loopback(other.Port)));
        Assert.Equal($"127.0.0.1:{other.Port}", (await lab.NextAsync()).Endpoint);
    }

    [Fact]
    public async Task Every_address_is_probed_and_one_that_passes_is_enough()
    {
        await using var backend = await TestBackend.StartAsync("b");
        var dead = FreePort.Next();
        var endpoint = ProbeLab.Loopback(dead) with
        {
            AdditionalAddresses = [new EndpointAddressSpec { Address = "127.0.0.1", Port = backend.Port }],
        };
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(ProbeLab.Http(), endpoint));
        Assert.True(result.Passed);
        Assert.Equal($"HTTP 200; 127.0.0.1:{dead}: connection refused", result.Text);
    }

    [Fact]
    public async Task Addresses_are_probed_side_by_side_so_those_that_hang_cost_the_time_of_one()
    {
        using var silent = new TcpListener(IPAddress.Loopback, 0);
        silent.Start();
        var port = ((IPEndPoint)silent.LocalEndpoint).Port;
        await using var backend = await TestBackend.StartAsync("b");
        var endpoint = ProbeLab.Loopback(port) with
        {
            AdditionalAddresses =
            [
                .. Enumerable.Repeat(new EndpointAddressSpec { Address = "127.0.0.1", Port = port }, 4),
                new EndpointAddressSpec { Address = "127.0.0.1", Port = backend.Port },
            ],
        };
        var timeout = TimeSpan.FromSeconds(2);
        var began = TimeProvider.System.GetTimestamp();

        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(ProbeLab.Http() with { Timeout = timeout }, endpoint));

        Assert.InRange(TimeProvider.System.GetElapsedTime(began), TimeSpan.Zero, 3 * timeout);
        Assert.True(result.Passed);
    }

    [Fact]
    public async Task Where_no_address_passes_the_mildest_failure_counts()
    {
        await using var backend = await TestBackend.StartAsync("b");
        backend.Status = 503;
        var dead = FreePort.Next();
        var endpoint = ProbeLab.Loopback(dead) with
        {
            AdditionalAddresses = [new EndpointAddressSpec { Address = "127.0.0.1", Port = backend.Port }],
        };
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(ProbeLab.Http(), endpoint));
        Assert.Equal(FailureClass.Status, result.Class);
        Assert.Equal($"127.0.0.1:{dead}: connection refused; 127.0.0.1:{backend.Port}: HTTP 503", result.Text);
    }

    [Fact]
    public async Task Of_several_checks_all_must_pass()
    {
        await using var backend = await TestBackend.StartAsync("b");
        backend.Status = 500;
        var spec = ProbeLab.Upstream(new HealthCheckSpec { Tcp = new TcpCheckSpec() }, ProbeLab.Loopback(backend.Port));
        spec = spec with { Health = spec.Health with { Checks = [spec.Health.Checks[0], ProbeLab.Http()] } };
        var result = await ProbeLab.ProbeOnceAsync(spec);
        Assert.Equal((FailureClass.Status, "check 2: HTTP 500"), (result.Class, result.Text));
    }

    [Fact]
    public async Task A_unix_socket_is_probed()
    {
        var path = Path.Combine(Path.GetTempPath(), $"probe-{Guid.NewGuid():N}.sock");
        await using (RawBackend.Start(Answer, new UnixDomainSocketEndPoint(path)))
        {
            var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(ProbeLab.Http(), new EndpointSpec { Address = "unix:" + path }));
            Assert.Equal((true, "HTTP 200"), (result.Passed, result.Text));
        }
        // The file is still there, and nobody listens.
        var gone = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(ProbeLab.Http(), new EndpointSpec { Address = "unix:" + path }));
        Assert.Equal(FailureClass.Refused, gone.Class);
        File.Delete(path);
        var missing = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(ProbeLab.Http(), new EndpointSpec { Address = "unix:" + path }));
        Assert.Equal(FailureClass.Refused, missing.Class);

        static async Task Answer(NetworkStream stream, CancellationToken stop)
        {
            await RawBackend.ReadHeadAsync(stream, stop);
            await stream.WriteAsync("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"u8.ToArray(), stop);
        }
    }

    [Fact]
    public async Task A_prober_that_was_away_doubts_itself_and_blames_nobody()
    {
        var time = new FakeTimeProvider();
        var arrived = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var answer = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var backend = RawBackend.Start(
            async (stream, stop) =>
            {
                await RawBackend.ReadHeadAsync(stream, stop);
                arrived.TrySetResult();
                await answer.Task;
                await stream.WriteAsync("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"u8.ToArray(), stop);
            }
        );
        await using var lab = new ProbeLab(time);
        lab.Set(ProbeLab.Upstream(Hourly, ProbeLab.Loopback(backend.Port)));
        time.Advance(ProbeEngine.TickTime);
        await arrived.Task.WaitAsync(ProbeLab.Patience);

        // Half a minute in which this process did not run.
        time.Advance(TimeSpan.FromSeconds(30));
        answer.SetResult();
        Assert.True((await lab.NextAsync()).Passed);
        Assert.Equal(8, await lab.Doubts.ReadAsync());
    }

    [Fact]
    public async Task A_prober_that_cannot_reach_itself_doubts_itself_more_and_more_and_says_nothing_of_itself()
    {
        var self = new SelfProbe();
        await using var backend = await TestBackend.StartAsync("b");
        await using var lab = new ProbeLab(self: self);
        lab.Set(ProbeLab.Upstream(Hourly, ProbeLab.Loopback(backend.Port)));
        Assert.Equal("shop", (await lab.NextAsync()).Upstream);
        // What it listens on is gone, as if this machine had no loopback any more.
        await self.DisposeAsync();
        using var patience = new CancellationTokenSource(ProbeLab.Patience, TimeProvider.System);
        var first = await lab.Doubts.ReadAsync(patience.Token);
        var second = await lab.Doubts.ReadAsync(patience.Token);
        Assert.True(second > first);
        Assert.False(lab.HasNext);
    }
}
