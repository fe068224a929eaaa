using System.Text;
using ControlPlane.Resources;
using ControlPlane.Server.Storage;
using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Server.Tests.Storage;

/// <summary>What a store promises, whichever database it is on.</summary>
public abstract partial class DesiredStateStoreTests : IAsyncLifetime
{
    private protected static readonly DateTimeOffset Noon = new(2026, 11, 25, 12, 0, 0, TimeSpan.Zero);

    private readonly List<IDesiredStateStore> _stores = [];

    private protected static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    /// <summary>A migrated, empty store.</summary>
    private protected IDesiredStateStore Store { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        Store = Track(await CreateAsync());
        await Store.MigrateAsync(Cancellation);
    }

    public virtual async ValueTask DisposeAsync()
    {
        foreach (var store in _stores)
        {
            await store.DisposeAsync();
        }
    }

    /// <summary>A store on a new, empty database.</summary>
    private protected abstract Task<IDesiredStateStore> CreateAsync();

    /// <summary>A store of the other kind on a new, empty database.</summary>
    private protected abstract Task<IDesiredStateStore> CreateOtherKindAsync();

    /// <summary>Another store on the database of <see cref="Store"/>, as a second server has it.</summary>
    private protected abstract IDesiredStateStore OpenAgain(TimeProvider? time = null);

    /// <summary>Raises the newest revision by one, and notifies nobody.</summary>
    private protected abstract Task AdvanceHeadSilentlyAsync();

    private protected IDesiredStateStore Track(IDesiredStateStore store)
    {
        _stores.Add(store);
        return store;
    }

    [Fact]
    public async Task A_new_store_is_empty_at_revision_0()
    {
        var state = await Store.LoadAsync(Cancellation);

        Assert.Equal(0, state.Revision);
        Assert.Empty(state.Documents);
        Assert.Empty(await Store.ListRevisionsAsync(0, 10, Cancellation));
        Assert.Null(await Store.GetRevisionAsync(1, Cancellation));
        Assert.Null(await Store.LoadAtAsync(0, Cancellation));
    }

    [Fact]
    public async Task Servers_that_start_at_once_migrate_once()
    {
        var servers = Enumerable.Range(0, 4).Select(_ => Track(OpenAgain())).ToList();

        await Task.WhenAll(servers.Select(s => s.MigrateAsync(Cancellation)));

        Assert.Equal(0, (await Store.LoadAsync(Cancellation)).Revision);
    }

    [Fact]
    public async Task A_document_comes_back_exactly_as_it_was_written()
    {
        // Spacing, the order of members, number forms, escapes and characters beyond the basic plane all matter: the canonical form is hashed.
        const string json = """{"z": 1.0,"a":1e3, "text":"\u0000 \ud83d\ude00 😀 ü \\ \" '$1 @name","big":12345678901234567890}""";
        var document = Document("a", json) with
        {
            Uid = Guid.NewGuid(),
            Generation = 7,
            CreatedAt = Noon.AddTicks(12_345_670),
            UpdatedAt = Noon.AddDays(1).AddTicks(10),
            ManagedBy = "rest/älice 😀",
        };

        await CommitAsync(0, [document]);

        var expected = document with { Revision = 1 };
        Assert.Equal(expected, Assert.Single((await Store.LoadAsync(Cancellation)).Documents));
        Assert.Equal(expected, Assert.Single((await Store.ReadChangesAsync(0, Cancellation))!.Written));
        Assert.Equal(expected, Assert.Single((await Store.LoadAtAsync(1, Cancellation))!.Documents));
    }

    [Fact]
    public async Task Times_are_kept_in_UTC_to_the_microsecond_and_the_answer_says_what_was_kept()
    {
        var written = new DateTimeOffset(2026, 11, 25, 14, 0, 0, TimeSpan.FromHours(2)).AddTicks(12_345_678);
        var kept = Noon.AddTicks(12_345_670);

        var revision = await Store.CommitAsync(Batch(0, [Document("a") with { UpdatedAt = written }]) with { At = written }, Cancellation);

        Assert.Equal(kept, revision!.At);
        Assert.Equal(revision, Assert.Single(await Store.ListRevisionsAsync(0, 10, Cancellation)));
        Assert.Equal(kept, Assert.Single((await Store.LoadAsync(Cancellation)).Documents).UpdatedAt);
    }

    [Fact]
    public async Task A_write_is_one_revision_with_author_reason_time_trace_and_notes()
    {
        var batch = Batch(0, [Document("a"), Document("b")]) with
        {
            Author = "alice",
            Reason = "more capacity",
            TraceId = "4bf92f3577b34da6a3ce929d0e0e4736",
            Notes = "check X bypassed",
        };

        var revision = await Store.CommitAsync(batch, Cancellation);

        Assert.Equal(new RevisionInfo(1, "alice", "more capacity", Noon, batch.TraceId, "check X bypassed"), revision);
        Assert.Equal(revision, Assert.Single(await Store.ListRevisionsAsync(0, 10, Cancellation)));
        Assert.Equal(revision, (await Store.GetRevisionAsync(1, Cancellation))!.Info);
    }

    [Fact]
    public async Task Free_text_that_a_database_would_refuse_is_stored_without_what_it_refuses()
    {
        await Store.CommitAsync(Batch(0, [Document("a")]) with { Reason = "nul \0 half \ud83d pair" }, Cancellation);

        Assert.Equal("nul \uFFFD half \uFFFD pair", Assert.Single(await Store.ListRevisionsAsync(0, 1, Cancellation)).Reason);
    }

    [Fact]
    public async Task A_write_on_a_base_that_is_not_the_newest_writes_nothing()
    {
        await CommitAsync(0, [Document("a", """{"n":1}""")]);

        Assert.Null(await Store.CommitAsync(Batch(0, [Document("a", """{"n":2}"""), Document("b")]), Cancellation));
        Assert.Null(await Store.CommitAsync(Batch(0, [], [Key("a")]), Cancellation));
        Assert.Null(await Store.CommitAsync(Batch(2, [Document("b")]), Cancellation));

        var state = await Store.LoadAsync(Cancellation);
        Assert.Equal(1, state.Revision);
        Assert.Equal("""{"n":1}""", Assert.Single(state.Documents).Json);
        Assert.Single(await Store.ListRevisionsAsync(0, 10, Cancellation));
        Assert.Single(await Store.GetHistoryAsync(Key("a"), 0, 10, Cancellation));
    }

    [Fact]
    public async Task Concurrent_writers_lose_no_update_and_leave_no_gap_in_the_revisions()
    {
        const int writers = 8;
        const int writesEach = 20;
        var servers = Enumerable.Range(0, writers).Select(i => i % 2 == 0 ? Store : Track(OpenAgain())).ToList();

        await Task.WhenAll(
            servers.Select(server =>
                Task.Run(async () =>
                {
                    for (var i = 0; i < writesEach; i++)
                    {
                        while (true)
                        {
                            var state = await server.LoadAsync(Cancellation);
                            var count = state.Documents.Count == 0 ? 0 : int.Parse(state.Documents[0].Json);
                            if (
                                await server.CommitAsync(Batch(state.Revision, [Document("counter", $"{count + 1}")]), Cancellation)
                                is not null
                            )
                            {
                                break;
                            }
                        }
                    }
                })
            )
        );

        const int total = writers * writesEach;
        Assert.Equal($"{total}", Assert.Single((await Store.LoadAsync(Cancellation)).Documents).Json);
        var revisions = await Store.ListRevisionsAsync(0, int.MaxValue, Cancellation);
        Assert.Equal(Enumerable.Range(1, total).Reverse().Select(i => (long)i), revisions.Select(r => r.Revision));
        var history = await Store.GetHistoryAsync(Key("counter"), 0, int.MaxValue, Cancellation);
        Assert.All(history, entry => Assert.Equal($"{entry.Revision.Revision}", entry.Document!.Json));
    }

    [Fact]
    public async Task Ten_thousand_documents_are_one_write()
    {
        var documents = Enumerable.Range(0, 10_000).Select(i => Document($"a{i}")).ToList();

        await CommitAsync(0, documents);
        await CommitAsync(1, documents);
        await CommitAsync(2, [], [.. documents.Select(d => d.Key)]);

        Assert.Empty((await Store.LoadAsync(Cancellation)).Documents);
        Assert.Equal(10_000, (await Store.LoadAtAsync(2, Cancellation))!.Documents.Count);
        Assert.Equal(10_000, (await Store.GetRevisionAsync(3, Cancellation))!.Changes.Count);
    }

    [Fact]
    public async Task Changes_since_a_revision_are_what_was_written_and_what_was_deleted_since()
    {
        await CommitAsync(0, [Document("stays"), Document("changes"), Document("goes"), Document("returns")]);
        await CommitAsync(1, [Document("changes", "2")], [Key("goes"), Key("returns")]);
        await CommitAsync(2, [Document("changes", "3"), Document("returns", "3"), Document("passes")]);
        await CommitAsync(3, [], [Key("passes")]);

        var changes = await Store.ReadChangesAsync(1, Cancellation);

        Assert.Equal(4, changes!.Revision);
        Assert.Equal([("changes", "3", 3L), ("returns", "3", 3L)], changes.Written.Select(d => (d.Key.Name, d.Json, d.Revision)).Order());
        Assert.Equal(["goes", "passes"], changes.Deleted.Select(k => k.Name).Order());
    }

    [Fact]
    public async Task Since_the_newest_revision_nothing_has_changed()
    {
        await CommitAsync(0, [Document("a")]);

        var changes = await Store.ReadChangesAsync(1, Cancellation);

        Assert.Equal(1, changes!.Revision);
        Assert.Empty(changes.Written);
        Assert.Empty(changes.Deleted);
    }

    [Fact]
    public async Task What_changed_since_a_revision_of_the_future_cannot_be_told()
    {
        await CommitAsync(0, [Document("a")]);

        Assert.Null(await Store.ReadChangesAsync(2, Cancellation));
    }

    [Fact]
    public async Task What_changed_since_before_the_kept_history_cannot_be_told()
    {
        await CommitAsync(0, [Document("a")]);
        await CommitAsync(1, [], [Key("a")]);
        await CommitAsync(2, [Document("b")]);
        await Store.PruneAsync(Noon.AddDays(1), 1, Cancellation);

        Assert.Null(await Store.ReadChangesAsync(1, Cancellation));
        Assert.NotNull(await Store.ReadChangesAsync(2, Cancellation));
    }

    [Fact]
    public async Task Deleting_what_does_not_exist_leaves_no_trace_of_it()
    {
        await CommitAsync(0, [], [Key("a")]);

        Assert.Empty((await Store.GetRevisionAsync(1, Cancellation))!.Changes);
        Assert.Empty(await Store.GetHistoryAsync(Key("a"), 0, 10, Cancellation));
        Assert.Empty((await Store.ReadChangesAsync(0, Cancellation))!.Deleted);
    }

    [Fact]
    public async Task Names_are_told_apart_by_kind_and_case()
    {
        await CommitAsync(0, [Document("a"), Document("A"), Document("a", kind: ResourceKind.Listener)]);
        await CommitAsync(1, [], [Key("A")]);

        Assert.Equal(
            [(ResourceKind.Upstream, "a"), (ResourceKind.Listener, "a")],
            (await Store.LoadAsync(Cancellation)).Documents.Select(d => (d.Key.Kind, d.Key.Name)).Order()
        );
    }

    [Fact]
    public async Task History_of_an_object_tells_every_state_and_every_deletion_newest_first()
    {
        await CommitAsync(0, [Document("a", "1")], author: "alice");
        await CommitAsync(1, [Document("other")]);
        await CommitAsync(2, [Document("a", "3")], author: "bob");
        await CommitAsync(3, [], [Key("a")], author: "carol");
        await CommitAsync(4, [Document("a", "5")], author: "dave");
        await CommitAsync(5, [], [Key("a")], author: "erin");

        var history = await Store.GetHistoryAsync(Key("a"), 0, 10, Cancellation);

        Assert.Equal(
            [(6L, "erin", null), (5L, "dave", "5"), (4L, "carol", null), (3L, "bob", "3"), (1L, "alice", "1")],
            history.Select(e => (e.Revision.Revision, e.Revision.Author, e.Document?.Json))
        );
        for (var (before, shown) = (0L, 0); shown < history.Count; shown += 2)
        {
            var page = await Store.GetHistoryAsync(Key("a"), before, 2, Cancellation);
            Assert.Equal(history.Skip(shown).Take(2), page);
            before = page[^1].Revision.Revision;
        }
    }

    [Fact]
    public async Task A_revision_tells_each_object_before_and_after_it()
    {
        await CommitAsync(0, [Document("changes", "1"), Document("goes", "1"), Document("stays", "1")]);
        await CommitAsync(1, [Document("changes", "2"), Document("comes", "2")], [Key("goes")]);
        await CommitAsync(2, [Document("changes", "3"), Document("comes", "3")]);

        var revision = await Store.GetRevisionAsync(2, Cancellation);

        Assert.Equal(
            [("changes", "1", "2"), ("comes", null, "2"), ("goes", "1", null)],
            revision!.Changes.Select(c => (c.Key.Name, c.Before?.Json, c.After?.Json))
        );
        Assert.Null(await Store.GetRevisionAsync(4, Cancellation));
    }

    [Fact]
    public async Task Revisions_are_summarized_by_the_first_objects_that_they_changed()
    {
        await CommitAsync(0, [Document("changes"), Document("goes"), Document("stays")]);
        await CommitAsync(1, [Document("changes"), Document("comes")], [Key("goes")]);
        await CommitAsync(2, [.. Enumerable.Range(0, 50).Select(i => Document($"many-{i:00}"))]);

        var summaries = await Store.SummarizeRevisionsAsync(2, 3, 3, Cancellation);

        Assert.Equal([2L, 3L], summaries.Keys.Order());
        Assert.Equal(
            [("changes", true, true), ("comes", false, true), ("goes", true, false)],
            summaries[2].First.Select(o => (o.Key.Name, o.Existed, o.Exists))
        );
        Assert.Equal(3, summaries[2].Count);
        Assert.Equal(["many-00", "many-01", "many-02"], summaries[3].First.Select(o => o.Key.Name));
        Assert.Equal(50, summaries[3].Count);
        Assert.Equal(2, await Store.PruneAsync(Noon.AddDays(1), 1, Cancellation));
        Assert.Equal([3L], (await Store.SummarizeRevisionsAsync(1, 3, 3, Cancellation)).Keys);
    }

    [Fact]
    public async Task Revisions_are_listed_in_pages_newest_first()
    {
        for (var i = 0; i < 5; i++)
        {
            await CommitAsync(i, [Document("a")]);
        }

        Assert.Equal([5L, 4L], (await Store.ListRevisionsAsync(0, 2, Cancellation)).Select(r => r.Revision));
        Assert.Equal([3L, 2L], (await Store.ListRevisionsAsync(4, 2, Cancellation)).Select(r => r.Revision));
        Assert.Equal([1L], (await Store.ListRevisionsAsync(2, 2, Cancellation)).Select(r => r.Revision));
    }

    [Fact]
    public async Task Pruning_forgets_only_what_is_both_old_and_beyond_the_number_to_keep()
    {
        for (var i = 0; i < 10; i++)
        {
            await CommitAsync(i, [Document("a", $"{i + 1}")], at: Noon.AddDays(i));
        }

        // Revisions 1 to 6 are older than day 6; the newest 8 are 3 to 10.
        Assert.Equal(2, await Store.PruneAsync(Noon.AddDays(6), 8, Cancellation));
        Assert.Equal(3, (await OldestAsync()).Revision);

        // The newest 2 are 9 and 10, but 7 and 8 are too young to go.
        Assert.Equal(4, await Store.PruneAsync(Noon.AddDays(6), 2, Cancellation));
        Assert.Equal(7, (await OldestAsync()).Revision);
        Assert.Equal(0, await Store.PruneAsync(Noon.AddDays(6), 2, Cancellation));

        Assert.Null(await Store.GetRevisionAsync(6, Cancellation));
        Assert.Null(await Store.LoadAtAsync(6, Cancellation));
        Assert.Equal("7", Assert.Single((await Store.LoadAtAsync(7, Cancellation))!.Documents).Json);
        Assert.Equal("6", Assert.Single((await Store.GetRevisionAsync(7, Cancellation))!.Changes).Before!.Json);
        Assert.Equal([10L, 9L, 8L, 7L, 6L], (await Store.GetHistoryAsync(Key("a"), 0, 100, Cancellation)).Select(e => e.Revision.Revision));

        async Task<RevisionInfo> OldestAsync() => (await Store.ListRevisionsAsync(0, 100, Cancellation))[^1];
    }

    [Fact]
    public async Task Who_wrote_the_state_in_force_is_told_however_old_it_is()
    {
        await CommitAsync(0, [Document("a")], author: "alice");
        for (var i = 1; i < 10; i++)
        {
            await CommitAsync(i, [Document("b")], author: "bob");
        }

        await Store.PruneAsync(Noon.AddDays(1), 2, Cancellation);

        Assert.Equal("alice", Assert.Single(await Store.GetHistoryAsync(Key("a"), 0, 10, Cancellation)).Revision.Author);
        Assert.Equal([10L, 9L], (await Store.ListRevisionsAsync(0, 100, Cancellation)).Select(r => r.Revision));
        Assert.Null(await Store.GetRevisionAsync(1, Cancellation));
        Assert.Equal(2, (await Store.LoadAtAsync(9, Cancellation))!.Documents.Count);
    }

    [Fact]
    public async Task Pruning_goes_through_more_rows_than_one_statement_deletes()
    {
        var documents = Enumerable.Range(0, 2_500).Select(i => Document($"a{i}")).ToList();
        await CommitAsync(0, documents);
        await CommitAsync(1, documents);
        await CommitAsync(2, documents);

        Assert.Equal(2, await Store.PruneAsync(Noon.AddDays(1), 1, Cancellation));

        Assert.Equal(2, (await Store.GetHistoryAsync(Key("a0"), 0, 10, Cancellation)).Count);
        Assert.Equal(2_500, (await Store.GetRevisionAsync(3, Cancellation))!.Changes.Count(c => c.Before is not null));
    }

    [Fact]
    public async Task A_batch_that_names_a_key_twice_is_refused()
    {
        await Assert.ThrowsAsync<ArgumentException>(() => Store.CommitAsync(Batch(0, [Document("a"), Document("a")]), Cancellation));
        await Assert.ThrowsAsync<ArgumentException>(() => Store.CommitAsync(Batch(0, [Document("a")], [Key("a")]), Cancellation));
        await Assert.ThrowsAsync<ArgumentException>(() => Store.CommitAsync(Batch(0, [Document("a", "{\n}")]), Cancellation));

        Assert.Equal(0, (await Store.LoadAsync(Cancellation)).Revision);
    }

    [Fact]
    public async Task A_document_that_is_no_JSON_fails_the_whole_write()
    {
        await Assert.ThrowsAnyAsync<Exception>(() => Store.CommitAsync(Batch(0, [Document("a"), Document("b", "{")]), Cancellation));

        var state = await Store.LoadAsync(Cancellation);
        Assert.Equal(0, state.Revision);
        Assert.Empty(state.Documents);
        await CommitAsync(0, [Document("a")]);
    }

    [Fact]
    public async Task A_cancelled_write_writes_nothing()
    {
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() =>
            Store.CommitAsync(Batch(0, [Document("a")]), new CancellationToken(canceled: true))
        );

        Assert.Equal(0, (await Store.LoadAsync(Cancellation)).Revision);
    }

    [Fact]
    public async Task Watching_tells_the_newest_revision_at_once_and_after_each_commit()
    {
        await CommitAsync(0, [Document("a")]);
        await using var watch = Store.WatchAsync(Cancellation).GetAsyncEnumerator(Cancellation);

        Assert.Equal(1, await NextAsync(watch));
        await CommitAsync(1, [Document("a")]);
        Assert.Equal(2, await NextAsync(watch));
        await CommitAsync(2, [Document("a")]);
        Assert.Equal(3, await NextAsync(watch));
    }

    [Fact]
    public async Task A_watcher_that_reads_slowly_gets_several_commits_as_one_signal()
    {
        await using var watch = Store.WatchAsync(Cancellation).GetAsyncEnumerator(Cancellation);
        Assert.Equal(0, await NextAsync(watch));

        for (var i = 0; i < 50; i++)
        {
            await CommitAsync(i, [Document("a")]);
        }

        var signals = 0;
        while (await NextAsync(watch) < 50)
        {
            signals++;
        }

        Assert.InRange(signals, 0, 48);
    }

    [Fact]
    public async Task A_commit_that_nobody_signalled_is_found_by_the_slow_poll()
    {
        var time = new FakeTimeProvider();
        await using var watch = Track(OpenAgain(time)).WatchAsync(Cancellation).GetAsyncEnumerator(Cancellation);
        Assert.Equal(0, await NextAsync(watch));

        await AdvanceHeadSilentlyAsync();
        time.Advance(SqlDesiredStateStore.PollInterval);

        Assert.Equal(1, await NextAsync(watch));
    }

    [Fact]
    public async Task Whatever_was_written_every_kept_revision_is_what_it_was()
    {
        // Random writes beside a model that keeps each revision's whole state in memory.
        for (var sample = 0; sample < 5; sample++)
        {
            var random = new Random(sample);
            var store = Track(await CreateAsync());
            await store.MigrateAsync(Cancellation);
            var model = new List<Dictionary<ResourceKey, StoredDocument>> { new() };
            var kept = 1;
            for (var revision = 1; revision <= 40; revision++)
            {
                var keys = Enumerable.Range(0, 8).Select(i => Key($"k{i}")).Where(_ => random.Next(3) == 0).ToList();
                var deletes = keys.Where(_ => random.Next(3) == 0).ToList();
                var writes = keys.Except(deletes)
                    .Select(k => Document(k.Name, $"{random.Next(100)}") with { Generation = revision })
                    .ToList();
                Assert.NotNull(await store.CommitAsync(Batch(revision - 1, writes, deletes), Cancellation));

                var state = new Dictionary<ResourceKey, StoredDocument>(model[^1]);
                deletes.ForEach(k => state.Remove(k));
                writes.ForEach(d => state[d.Key] = d with { Revision = revision });
                model.Add(state);

                if (random.Next(15) == 0)
                {
                    var keep = random.Next(1, 12);
                    await store.PruneAsync(Noon.AddDays(1), keep, Cancellation);
                    kept = Math.Max(kept, revision - keep + 1);
                }
            }

            AssertState(model[^1], (await store.LoadAsync(Cancellation)).Documents);
            for (var revision = 1; revision <= 40; revision++)
            {
                var state = await store.LoadAtAsync(revision, Cancellation);
                var changes = await store.ReadChangesAsync(revision, Cancellation);
                Assert.Equal(revision >= kept, state is not null);
                Assert.Equal(revision >= kept - 1, changes is not null);
                if (state is not null)
                {
                    AssertState(model[revision], state.Documents);
                    var detail = await store.GetRevisionAsync(revision, Cancellation);
                    foreach (var change in detail!.Changes)
                    {
                        Assert.Equal(model[revision - 1].GetValueOrDefault(change.Key), change.Before);
                        Assert.Equal(model[revision].GetValueOrDefault(change.Key), change.After);
                    }
                }

                if (changes is not null)
                {
                    var caughtUp = new Dictionary<ResourceKey, StoredDocument>(model[revision]);
                    changes.Deleted.ToList().ForEach(k => caughtUp.Remove(k));
                    changes.Written.ToList().ForEach(d => caughtUp[d.Key] = d);
                    AssertState(model[^1], caughtUp.Values);
                }
            }

            foreach (var key in Enumerable.Range(0, 8).Select(i => Key($"k{i}")))
            {
                var history = await store.GetHistoryAsync(key, 0, 100, Cancellation);
                Assert.All(history, e => Assert.Equal(model[(int)e.Revision.Revision].GetValueOrDefault(key), e.Document));
                var changed = Enumerable
                    .Range(kept, 40 - kept + 1)
                    .Where(r => !Equals(model[r].GetValueOrDefault(key), model[r - 1].GetValueOrDefault(key)));
                Assert.Equal(changed.Reverse(), history.Select(e => (int)e.Revision.Revision).Where(r => r >= kept));
            }
        }

        static void AssertState(Dictionary<ResourceKey, StoredDocument> expected, IEnumerable<StoredDocument> actual) =>
            Assert.Equal(expected.Values.OrderBy(d => d.Key.Name), actual.OrderBy(d => d.Key.Name));
    }

    [Fact]
    public async Task Watching_ends_when_it_is_cancelled()
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        await using var watch = Store.WatchAsync(stop.Token).GetAsyncEnumerator(stop.Token);
        Assert.Equal(0, await NextAsync(watch));

        var next = watch.MoveNextAsync().AsTask();
        await stop.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => next);
        await CommitAsync(0, [Document("a")]);
    }

    [Fact]
    public async Task A_backup_restored_into_either_kind_of_store_is_the_same_store()
    {
        await FillAsync();

        foreach (var target in await EmptyStoresAsync())
        {
            var backup = await BackupAsync(Store);
            await target.RestoreAsync(new MemoryStream(backup), Cancellation);

            await AssertSameAsync(Store, target);
            Assert.NotNull(await target.CommitAsync(Batch(6, [Document("after")]), Cancellation));
        }
    }

    [Fact]
    public async Task A_backup_of_an_empty_store_can_be_restored()
    {
        foreach (var target in await EmptyStoresAsync())
        {
            await target.RestoreAsync(new MemoryStream(await BackupAsync(Store)), Cancellation);

            Assert.Equal(0, (await target.LoadAsync(Cancellation)).Revision);
            Assert.NotNull(await target.CommitAsync(Batch(0, [Document("a")]), Cancellation));
        }
    }

    [Fact]
    public async Task A_backup_is_not_restored_over_what_is_there()
    {
        await FillAsync();
        var backup = await BackupAsync(Store);

        var refused = await Assert.ThrowsAsync<InvalidOperationException>(() => Store.RestoreAsync(new MemoryStream(backup), Cancellation));

        Assert.Contains("already holds revisions", refused.Message, StringComparison.Ordinal);
        Assert.Equal(6, (await Store.LoadAsync(Cancellation)).Revision);
    }

    public static TheoryData<string, Func<string[], IEnumerable<string>>, string> Damages =>
        new()
        {
            { "an empty file", _ => [], "Line 1: the file is empty" },
            { "another file", _ => ["""{"hello":"world"}"""], "Line 1: this is no controlplane-backup file" },
            { "no JSON", lines => [.. lines[..3], "garbage", .. lines[4..]], "Line 4: not a JSON object" },
            {
                "a newer version",
                lines => [lines[0].Replace("\"version\":1", "\"version\":2", StringComparison.Ordinal), .. lines[1..]],
                "Line 1: the file is of version 2"
            },
            { "a missing end", lines => lines[..^1], "cut off after line" },
            { "a line cut in the middle", lines => [.. lines[..^2], lines[^2][..20]], "not a JSON object" },
            { "a missing line", lines => [.. lines[..^2], lines[^1]], "there should be" },
            {
                "a changed manifest",
                lines => [.. lines[..^2], lines[^2].Replace("\"n\":", "\"m\":", StringComparison.Ordinal), lines[^1]],
                "the checksum does not match"
            },
            { "a missing revision", lines => [.. lines[..3], .. lines[4..]], "Line 4: revision 4 cannot follow revision 2" },
            {
                "an unknown kind",
                lines => [.. lines[..^2], lines[^2].Replace("Upstream", "Downstream", StringComparison.Ordinal), lines[^1]],
                "no kind 'Downstream'"
            },
            {
                "a missing member",
                lines => [.. lines[..^2], lines[^2].Replace("\"uid\"", "\"u\"", StringComparison.Ordinal), lines[^1]],
                "a member is missing"
            },
            { "a state twice", lines => [.. lines[..^1], lines[^2], lines[^1]], "occurs twice" },
            { "something after the end", lines => [.. lines, lines[1]], "something after the last line" },
        };

    [Theory]
    [MemberData(nameof(Damages), DisableDiscoveryEnumeration = true)]
    public async Task A_damaged_backup_is_refused_with_the_line_and_nothing_is_restored(
        string damage,
        Func<string[], IEnumerable<string>> apply,
        string message
    )
    {
        await FillAsync();
        var lines = Encoding.UTF8.GetString(await BackupAsync(Store)).TrimEnd('\n').Split('\n');
        var damaged = Encoding.UTF8.GetBytes(string.Concat(apply(lines).Select(l => l + "\n")));
        var target = Track(await CreateAsync());
        await target.MigrateAsync(Cancellation);

        var refused = await Assert.ThrowsAsync<InvalidDataException>(() => target.RestoreAsync(new MemoryStream(damaged), Cancellation));

        Assert.Contains(message, refused.Message, StringComparison.Ordinal);
        var state = await target.LoadAsync(Cancellation);
        Assert.True(state is { Revision: 0, Documents.Count: 0 }, $"Something of a backup with {damage} was restored.");
        Assert.Empty(await target.ListRevisionsAsync(0, 10, Cancellation));
        await target.RestoreAsync(new MemoryStream(await BackupAsync(Store)), Cancellation);
    }

    [Fact]
    public async Task A_backup_is_of_one_moment_while_others_write()
    {
        var documents = Enumerable.Range(0, 2_000).Select(i => Document($"a{i}")).ToList();
        await CommitAsync(0, documents);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        var writing = Task.Run(async () =>
        {
            for (var i = 1; !stop.IsCancellationRequested; i++)
            {
                await CommitAsync(i, [Document("a1", $"{i}"), Document("a1999", $"{i}")]);
            }
        });

        var backup = await BackupAsync(Store);
        await stop.CancelAsync();
        await writing;

        var target = Track(await CreateAsync());
        await target.MigrateAsync(Cancellation);
        await target.RestoreAsync(new MemoryStream(backup), Cancellation);
        var state = await target.LoadAsync(Cancellation);
        Assert.Equal(state.Documents.Single(d => d.Key.Name == "a1").Json, state.Documents.Single(d => d.Key.Name == "a1999").Json);
    }

    private protected async Task CommitAsync(
        long baseRevision,
        IReadOnlyList<StoredDocument> writes,
        IReadOnlyList<ResourceKey>? deletes = null,
        string author = "test",
        DateTimeOffset? at = null
    ) =>
        Assert.Equal(
            baseRevision + 1,
            (
                await Store.CommitAsync(Batch(baseRevision, writes, deletes) with { Author = author, At = at ?? Noon }, Cancellation)
            )?.Revision
        );

    private protected static WriteBatch Batch(
        long baseRevision,
        IReadOnlyList<StoredDocument> writes,
        IReadOnlyList<ResourceKey>? deletes = null
    ) => new(baseRevision, "test", "", Noon, "", "", writes, deletes ?? []);

    private protected static StoredDocument Document(string name, string json = """{"n":1}""", ResourceKind kind = ResourceKind.Upstream) =>
        new(new ResourceKey(kind, name), new Guid(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11), 1, 0, Noon, Noon, "rest/test", json);

    private protected static ResourceKey Key(string name) => new(ResourceKind.Upstream, name);

    private protected static async Task<long> NextAsync(IAsyncEnumerator<long> watch)
    {
        Assert.True(await watch.MoveNextAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(30), TimeProvider.System, Cancellation));
        return watch.Current;
    }

    private protected static async Task<byte[]> BackupAsync(IDesiredStateStore store)
    {
        using var backup = new MemoryStream();
        await store.BackupAsync(backup, Cancellation);
        return backup.ToArray();
    }

    /// <summary>Six revisions, the first of which is pruned, with every kind of change.</summary>
    private protected async Task FillAsync()
    {
        await CommitAsync(0, [Document("old", """{"text":"\u0000 😀 \"quoted\" \\"}"""), Document("gone")], at: Noon.AddDays(-2));
        await CommitAsync(1, [Document("a"), Document("b")], at: Noon);
        await CommitAsync(
            2,
            [Document("a", """{ "n": 1.50 }"""), Document("u/1", kind: ResourceKind.Endpoint)],
            [Key("gone")],
            at: Noon.AddTicks(10)
        );
        await CommitAsync(3, [], [Key("b")]);
        await CommitAsync(4, [Document("b", """{"n":3}""")]);
        await CommitAsync(5, [Document("a", """{"n":4}""")]);
        Assert.Equal(1, await Store.PruneAsync(Noon.AddDays(-1), 1, Cancellation));
    }

    private async Task<IReadOnlyList<IDesiredStateStore>> EmptyStoresAsync()
    {
        var stores = new[] { Track(await CreateAsync()), Track(await CreateOtherKindAsync()) };
        foreach (var store in stores)
        {
            await store.MigrateAsync(Cancellation);
        }

        return stores;
    }

    private static async Task AssertSameAsync(IDesiredStateStore expected, IDesiredStateStore actual)
    {
        var head = (await expected.LoadAsync(Cancellation)).Revision;
        Assert.Equal(await expected.ListRevisionsAsync(0, 1000, Cancellation), await actual.ListRevisionsAsync(0, 1000, Cancellation));
        for (var revision = 0L; revision <= head + 1; revision++)
        {
            var before = await expected.LoadAtAsync(revision, Cancellation);
            var after = await actual.LoadAtAsync(revision, Cancellation);
            Assert.Equal(before?.Documents.OrderBy(d => d.Key.ToString()), after?.Documents.OrderBy(d => d.Key.ToString()));
            var changes = await expected.GetRevisionAsync(revision, Cancellation);
            Assert.Equal(changes?.Changes, (await actual.GetRevisionAsync(revision, Cancellation))?.Changes);
            foreach (var key in changes?.Changes.Select(c => c.Key) ?? [])
            {
                Assert.Equal(
                    await expected.GetHistoryAsync(key, 0, 100, Cancellation),
                    await actual.GetHistoryAsync(key, 0, 100, Cancellation)
                );
            }
        }

        Assert.Equal((await expected.LoadAsync(Cancellation)).Documents.ToHashSet(), [.. (await actual.LoadAsync(Cancellation)).Documents]);
    }
}
