using System.Text.Json;
using ControlPlane.Core.Health;
using ControlPlane.Server.Health;
using ControlPlane.Server.Storage;

namespace ControlPlane.Server.Tests.Health;

public sealed class StoredHealthJsonTests
{
    [Fact]
    public void What_is_written_of_a_model_is_read_as_it_was()
    {
        var model = new HealthAggregator();
        var now = new DateTimeOffset(2026, 11, 25, 12, 0, 0, TimeSpan.Zero);
        HealthTarget[] targets = [.. Enumerable.Range(0, 6).Select(i => new HealthTarget { Id = $"e{i}", Zone = i < 3 ? "a" : "b" })];
        model.SetUpstream("u", HealthPolicy.Default with { BalancesLocalities = true }, targets, now);
        foreach (var step in Enumerable.Range(0, 240))
        {
            now = now.AddSeconds(0.5);
            foreach (var observer in (string[])["one", "two", "three"])
            {
                foreach (var target in targets)
                {
                    model.Ledger.Record(
                        new CheckResult
                        {
                            Upstream = "u",
                            Endpoint = target.Id,
                            Author = observer,
                            Zone = observer == "one" ? "a" : "b",
                            // Some flap, a zone goes, one observer lies.
                            Passed =
                                !(target.Id == "e0" && step / 20 % 2 == 0) && !(target.Zone == "b" && step > 150) && observer != "three",
                            Class = FailureClass.Timeout,
                            TimeToLive = TimeSpan.FromSeconds(20),
                        },
                        now
                    );
                }
            }

            model.Ledger.Record(
                new Override
                {
                    Upstream = "u",
                    Endpoint = "e1",
                    Author = "x",
                    Order = OverrideOrder.Freeze,
                    StartedAt = now,
                },
                now
            );
            model.Evaluate(now);

            var memory = model.Remember("u")!;
            var uid = Guid.NewGuid();
            var text = StoredHealthJson.Write(new RememberedUpstream(memory, uid, IsLarge: true));
            var read = StoredHealthJson.ReadUpstream(text);
            Assert.Equal((uid, true), (read.Uid, read.IsLarge));
            // Records compare their lists by reference; their texts say all.
            Assert.Equal(JsonSerializer.Serialize(memory), JsonSerializer.Serialize(read.Memory));
            Assert.Equal(
                JsonSerializer.Serialize(model.Remember()),
                JsonSerializer.Serialize(StoredHealthJson.ReadFleet(StoredHealthJson.Write(model.Remember())))
            );
        }
    }

    [Fact]
    public void What_cannot_be_read_is_named_and_the_rest_is_read()
    {
        var unreadable = new List<string>();
        var good = StoredHealthJson.Write(new RememberedUpstream(new UpstreamMemory(), null, IsLarge: false));

        var memory = StoredHealthJson.Read(
            [
                new StoredHealth("bad", default, """{"memory":{"endpoints":[{"id":"x","state":"asleep"}]}}"""),
                new StoredHealth("good", default, good),
            ],
            (upstream, _) => unreadable.Add(upstream)
        );

        Assert.Equal(["bad"], unreadable);
        Assert.Equal(["good"], memory.Upstreams.Keys);
        Assert.Null(memory.Fleet);
    }
}
