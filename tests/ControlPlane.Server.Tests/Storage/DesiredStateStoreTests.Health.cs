using ControlPlane.Server.Storage;

namespace ControlPlane.Server.Tests.Storage;

public abstract partial class DesiredStateStoreTests
{
    private IHealthStore Health => (IHealthStore)Store;

    [Fact]
    public async Task What_is_remembered_of_health_comes_back_and_the_newest_word_counts()
    {
        await Health.WriteHealthAsync(new HealthBatch([Remembered("a", 1, """{"x":1}"""), Remembered("", 1, "{}")], []), Cancellation);
        await Health.WriteHealthAsync(
            new HealthBatch([Remembered("a", 3, """{"x":3}"""), Remembered("b", 3, """{"ü":"\u0000"}""")], []),
            Cancellation
        );
        // A server that has been replaced, and does not know yet.
        await Health.WriteHealthAsync(new HealthBatch([Remembered("a", 2, """{"x":2}"""), Remembered("b", 2, null)], []), Cancellation);

        Assert.Equal(
            [Remembered("", 1, "{}"), Remembered("a", 3, """{"x":3}"""), Remembered("b", 3, """{"ü":"\u0000"}""")],
            (await Health.LoadHealthAsync(DateTimeOffset.MinValue, Cancellation)).OrderBy(h => h.Upstream, StringComparer.Ordinal)
        );
        Assert.Equal(
            ["a", "b"],
            (await Health.LoadHealthAsync(Noon.AddSeconds(1), Cancellation)).Select(h => h.Upstream).Order(StringComparer.Ordinal)
        );
    }

    [Fact]
    public async Task What_is_remembered_of_an_upstream_goes_with_it()
    {
        await Health.WriteHealthAsync(new HealthBatch([Remembered("a", 1, "{}"), Remembered("b", 1, "{}")], []), Cancellation);
        await Health.WriteHealthAsync(new HealthBatch([Remembered("a", 2, null), Remembered("never", 2, null)], []), Cancellation);

        Assert.Equal("b", Assert.Single(await Health.LoadHealthAsync(DateTimeOffset.MinValue, Cancellation)).Upstream);
    }

    [Fact]
    public async Task Transitions_are_listed_newest_first_by_upstream_time_and_id()
    {
        await Health.WriteHealthAsync(
            new HealthBatch([], [.. Enumerable.Range(1, 20).Select(i => Happened(i, i % 2 == 0 ? "even" : "odd"))]),
            Cancellation
        );

        Assert.Equal([20, 18, 16], await IdsAsync("even", limit: 3));
        Assert.Equal([14, 12], await IdsAsync("even", before: 16, limit: 2));
        Assert.Equal([9, 7, 5], await IdsAsync("odd", from: 5, to: 11));
        Assert.Equal([20, 19], await IdsAsync(null, limit: 2));
        Assert.Equal([4, 6], (await Health.ListTransitionsAfterAsync("even", 2, 2, Cancellation)).Select(t => (int)t.Id));
        Assert.Equal(Happened(20, "even"), (await Health.ListTransitionsAfterAsync(null, 19, 10, Cancellation)).Single());
    }

    [Fact]
    public async Task A_transition_that_is_written_again_stands_there_once()
    {
        var batch = new HealthBatch([Remembered("a", 1, "{}")], [Happened(1, "a"), Happened(2, "a")]);
        await Health.WriteHealthAsync(batch, Cancellation);
        await Health.WriteHealthAsync(batch with { Transitions = [.. batch.Transitions, Happened(3, "a")] }, Cancellation);

        Assert.Equal([3, 2, 1], await IdsAsync("a"));
    }

    [Fact]
    public async Task Old_transitions_are_forgotten_by_age_and_by_number()
    {
        await Health.WriteHealthAsync(new HealthBatch([], [.. Enumerable.Range(1, 2500).Select(i => Happened(i, "a"))]), Cancellation);

        Assert.Equal(1200, await Health.PruneTransitionsAsync(Noon.AddSeconds(1201), 10_000, Cancellation));
        Assert.Equal(1290, await Health.PruneTransitionsAsync(Noon, 10, Cancellation));
        Assert.Equal(0, await Health.PruneTransitionsAsync(Noon, 10, Cancellation));
        Assert.Equal(Enumerable.Range(2491, 10).Reverse(), await IdsAsync("a"));
    }

    [Fact]
    public async Task Writing_health_makes_no_revision()
    {
        await Health.WriteHealthAsync(new HealthBatch([Remembered("a", 1, "{}")], [Happened(1, "a")]), Cancellation);

        Assert.Equal(0, (await Store.LoadAsync(Cancellation)).Revision);
        using var backup = new MemoryStream();
        await Store.BackupAsync(backup, Cancellation);
        backup.Position = 0;
        var other = Track(await CreateOtherKindAsync());
        await other.MigrateAsync(Cancellation);
        await other.RestoreAsync(backup, Cancellation);
        Assert.Empty(await ((IHealthStore)other).LoadHealthAsync(DateTimeOffset.MinValue, Cancellation));
    }

    private static StoredHealth Remembered(string upstream, int second, string? json) => new(upstream, Noon.AddSeconds(second), json);

    private static StoredTransition Happened(int id, string upstream) => new(id, upstream, Noon.AddSeconds(id), $$"""{"id":{{id}}}""");

    private async Task<IEnumerable<int>> IdsAsync(
        string? upstream,
        int from = 0,
        int to = 10_000,
        int before = int.MaxValue,
        int limit = 1000
    ) =>
        (await Health.ListTransitionsAsync(upstream, Noon.AddSeconds(from), Noon.AddSeconds(to), before, limit, Cancellation)).Select(t =>
            (int)t.Id
        );
}
