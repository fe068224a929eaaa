using System.Net;
using System.Text.Json.Nodes;
using ControlPlane.AdminClient;
using ControlPlane.Resources;
using ControlPlane.Server.Storage;
using ControlPlane.TestKit;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Server.Tests.Admin;

public sealed class WatchTests
{
    [Fact]
    public async Task Changes_come_as_they_happen_with_their_revision_as_id()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        using var watch = await Watch.OpenAsync(host, "");
        Assert.Equal(("bookmark", "0"), await watch.NextHeadAsync());

        await host.Client.PutAsync(new ResourceKey(ResourceKind.Upstream, "a"), Bodies.Upstream());
        var written = await watch.NextAsync();
        await host.Client.DeleteAsync(new ResourceKey(ResourceKind.Upstream, "a"));
        var deleted = await watch.NextAsync();

        Assert.Equal(("written", "1", "a"), (written.Type, written.Id, written.Name));
        Assert.Equal(("deleted", "2", "a"), (deleted.Type, deleted.Id, deleted.Name));
    }

    [Fact]
    public async Task A_client_goes_on_after_the_event_that_it_saw_last()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        foreach (var name in (string[])["a", "b", "c"])
        {
            await host.Client.PutAsync(new ResourceKey(ResourceKind.Upstream, name), Bodies.Upstream());
        }

        await host.Client.DeleteAsync(new ResourceKey(ResourceKind.Upstream, "b"));

        using var byHeader = await Watch.OpenAsync(host, "", lastEventId: "1");
        using var byQuery = await Watch.OpenAsync(host, "?since=1");
        foreach (var watch in (Watch[])[byHeader, byQuery])
        {
            Assert.Equal(("written", "2", "b"), Short(await watch.NextAsync()));
            Assert.Equal(("written", "3", "c"), Short(await watch.NextAsync()));
            Assert.Equal(("deleted", "4", "b"), Short(await watch.NextAsync()));
            Assert.Equal(("bookmark", "4"), await watch.NextHeadAsync());
        }

        await host.Client.PutAsync(new ResourceKey(ResourceKind.Upstream, "d"), Bodies.Upstream());
        Assert.Equal(("written", "5", "d"), Short(await byHeader.NextAsync()));

        static (string, string?, string?) Short(Watch.Event e) => (e.Type, e.Id, e.Name);
    }

    [Fact]
    public async Task Only_the_last_event_of_a_revision_carries_the_id_so_that_none_is_lost_between()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        using var watch = await Watch.OpenAsync(host, "");
        await watch.NextAsync();

        await host.Client.ApplyAsync(
            string.Join(
                    "\n---\n",
                    Enumerable
                        .Range(0, 3)
                        .Select(i =>
                            "{apiVersion: controlplane/v1, kind: NodeGroup, metadata: {name: g" + i + "}, spec: {selectors: [{ids: [a]}]}}"
                        )
                )
                .Insert(0, "---\n")
        );

        Assert.Equal([null, null, "1"], [(await watch.NextAsync()).Id, (await watch.NextAsync()).Id, (await watch.NextAsync()).Id]);
    }

    [Fact]
    public async Task Filters_hold_on_the_server_and_what_leaves_the_filter_is_deleted_for_the_client()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        using var watch = await Watch.OpenAsync(host, "?kinds=Upstream&labelSelector=team%3Da");
        await watch.NextAsync();
        var key = new ResourceKey(ResourceKind.Upstream, "x");

        await host.Client.PutAsync(
            new ResourceKey(ResourceKind.NodeGroup, "other"),
            """{"metadata": {"labels": {"team": "a"}}, "spec": {"selectors": [{"ids": ["a"]}]}}"""
        );
        await host.Client.PutAsync(key, """{"spec": {"endpoints": {"source": "registration"}}}""");
        await host.Client.PatchAsync(key, JsonNode.Parse("""{"metadata": {"labels": {"team": "a"}}}""")!);
        await host.Client.PatchAsync(key, JsonNode.Parse("""{"metadata": {"labels": {"team": "b"}}}""")!);

        var came = await watch.NextAsync();
        var left = await watch.NextAsync();
        Assert.Equal(("written", "3"), (came.Type, came.Id));
        Assert.Equal(("deleted", "4"), (left.Type, left.Id));
    }

    [Fact]
    public async Task Bookmarks_come_every_thirty_seconds()
    {
        var time = new FakeTimeProvider();
        await using var host = await ControlPlaneHost.StartAsync(services: b => b.Services.AddSingleton<TimeProvider>(time));
        using var watch = await Watch.OpenAsync(host, "");
        Assert.Equal(("bookmark", "0"), await watch.NextHeadAsync());

        var next = watch.NextHeadAsync();
        // The server asks the clock after it has sent the first: the clock is moved until it has.
        await Eventually.True(
            "the second bookmark",
            _ =>
            {
                time.Advance(TimeSpan.FromSeconds(30));
                return Task.FromResult(next.IsCompleted);
            }
        );

        Assert.Equal(("bookmark", "0"), await next);
    }

    [Theory]
    [InlineData("?since=99", null, 410, "revision-gone")]
    [InlineData("", "99", 410, "revision-gone")]
    [InlineData("", "x", 400, "header")]
    [InlineData("?kinds=Cluster", null, 400, "parameter")]
    [InlineData("?labelSelector=%3D", null, 400, "parameter")]
    public async Task What_cannot_be_resumed_or_meant_is_a_problem(string query, string? lastEventId, int status, string problem)
    {
        await using var host = await ControlPlaneHost.StartAsync();
        using var watch = await Watch.OpenAsync(host, query, lastEventId, check: false);

        Assert.Equal(status, (int)watch.Status);
        Assert.Contains(problem, await watch.RestAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task History_that_was_pruned_cannot_be_resumed_from()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        var key = new ResourceKey(ResourceKind.Upstream, "a");
        for (var port = 1; port < 5; port++)
        {
            await host.Client.PutAsync(key, Bodies.Upstream(port));
        }

        await host.Services.GetRequiredService<IDesiredStateStore>().PruneAsync(DateTimeOffset.MaxValue, 2, CancellationToken.None);

        using var gone = await Watch.OpenAsync(host, "?since=1", check: false);
        Assert.Equal(HttpStatusCode.Gone, gone.Status);
        Assert.Contains("no longer kept", await gone.RestAsync(), StringComparison.Ordinal);
        using var kept = await Watch.OpenAsync(host, "?since=3");
        Assert.Equal(("written", "4"), await kept.NextHeadAsync());
    }

    [Fact]
    public async Task A_client_that_is_ahead_of_this_server_waits_for_it()
    {
        await using var host = await ControlPlaneHost.StartAsync();
        var opening = Watch.OpenAsync(host, "?since=1");

        await host.Client.PutAsync(new ResourceKey(ResourceKind.Upstream, "a"), Bodies.Upstream());

        using var watch = await opening;
        Assert.Equal(("bookmark", "1"), await watch.NextHeadAsync());
    }

    [Fact]
    public async Task Streams_are_limited_and_a_closed_one_makes_room()
    {
        await using var host = await ControlPlaneHost.StartAsync(o => o with { MaxWatchStreams = 1 });
        using (var first = await Watch.OpenAsync(host, ""))
        {
            await first.NextAsync();
            using var second = await Watch.OpenAsync(host, "", check: false);
            Assert.Equal(HttpStatusCode.TooManyRequests, second.Status);
        }

        await Eventually.True(
            "the stream's place to be free",
            async _ =>
            {
                using var again = await Watch.OpenAsync(host, "", check: false);
                return again.Status == HttpStatusCode.OK;
            }
        );
    }

    [Fact]
    public async Task A_server_that_stops_ends_its_streams()
    {
        var host = await ControlPlaneHost.StartAsync();
        using var watch = await Watch.OpenAsync(host, "");
        await watch.NextAsync();

        await host.DisposeAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(20));
    }

    /// <summary>One client's stream.</summary>
    private sealed class Watch(HttpResponseMessage response, StreamReader reader) : IDisposable
    {
        public sealed record Event(string Type, string? Id, string? Name);

        public HttpStatusCode Status => response.StatusCode;

        public static async Task<Watch> OpenAsync(ControlPlaneHost host, string query, string? lastEventId = null, bool check = true)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "/api/v1/watch" + query);
            if (lastEventId is not null)
            {
                request.Headers.Add("Last-Event-ID", lastEventId);
            }

            var response = await host.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
            if (check)
            {
                Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
            }

            return new Watch(response, new StreamReader(await response.Content.ReadAsStreamAsync()));
        }

        public async Task<(string, string?)> NextHeadAsync()
        {
            var next = await NextAsync();
            return (next.Type, next.Id);
        }

        public async Task<Event> NextAsync()
        {
            var (type, id, data) = ("", (string?)null, "");
            while (await reader.ReadLineAsync().WaitAsync(TimeSpan.FromSeconds(20)) is { Length: > 0 } line)
            {
                var value = line[(line.IndexOf(' ', StringComparison.Ordinal) + 1)..];
                switch (line.Split(':')[0])
                {
                    case "event":
                        type = value;
                        break;
                    case "id":
                        id = value;
                        break;
                    case "data":
                        data = value;
                        break;
                }
            }

            return new Event(type, id, (string?)JsonNode.Parse(data)!["object"]?["metadata"]?["name"]);
        }

        public Task<string> RestAsync() => reader.ReadToEndAsync();

        public void Dispose()
        {
            reader.Dispose();
            response.Dispose();
        }
    }
}
