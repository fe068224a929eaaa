using System.Collections.Immutable;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Server.Discovery;

/// <summary>
/// What a node that polls was given, and what its next polls said of it: one that repeats the version has taken it, one with <c>error_detail</c> has refused it. Envoy never
/// sends the latter; it goes on with its old version and asks again.
/// </summary>
internal sealed class PollingNode(DiscoveryServer server, NodeIdentity node, string peer) : INodeConnection
{
    /// <summary>A node that has not polled for this long is gone, and of one that has, what it does not ask for any more. The refresh delay is not known here.</summary>
    public static readonly TimeSpan GoneAfter = TimeSpan.FromMinutes(5);

    /// <summary>
    /// A node that was given the same version so often and asks for it still does not want it. Answers can be lost, and several clusters of one EDS name ask alike.
    /// </summary>
    private const int OffersOfRefused = 3;

    private static readonly ImmutableArray<string> Everything = ["*"];

    private readonly Lock _lock = new();
    private readonly Dictionary<(ResourceType Type, string Names), Poll> _polls = [];
    private readonly long _id = server.NextStreamId();
    private readonly DateTimeOffset _since = server.Time.GetUtcNow();
    private DateTimeOffset _forgotAt;

    /// <summary>One subscription of the node. Envoy asks for each cluster's endpoints, each route table and each secret by itself.</summary>
    private sealed class Poll
    {
        /// <summary>Canonical names, or <see cref="Everything"/>.</summary>
        public required ImmutableArray<string> Names { get; init; }

        public DateTimeOffset At { get; set; }

        public ResourceSet? Given { get; set; }

        public DateTimeOffset? GivenAt { get; set; }

        /// <summary>How often <see cref="Given"/> was the answer since it was acknowledged last.</summary>
        public int Offers { get; set; }

        public ResourceSet? Acked { get; set; }

        public DateTimeOffset? AckedAt { get; set; }

        public TimeSpan? ResponseTime { get; set; }

        /// <summary>Why <see cref="Given"/> was refused; null if it was not.</summary>
        public string? Refusal { get; set; }

        public string? LastRefusal { get; set; }

        public DateTimeOffset? LastRefusalAt { get; set; }

        public bool IsUnanswered => Given is not null && Given != Acked && Refusal is null;

        public bool AsksFor(string name) => Names == Everything || Names.Contains(name);

        /// <summary>What the node refused: all that it was given and has not acknowledged, since it does not say which part.</summary>
        public IEnumerable<Refusal> Refusals() =>
            Refusal is null
                ? []
                : ResourceSet
                    .Differences(Acked ?? ResourceSet.Empty(Given!.Type), Given!)
                    .Order(StringComparer.Ordinal)
                    .Select(name => RefusalOf(name, Given!.Find(name)));

        public Refusal RefusalOf(string name, EncodedResource? refused) =>
            new(name, refused?.Version ?? "", Acked?.Find(name)?.Version, Refusal!, LastRefusalAt!.Value);
    }

    /// <inheritdoc/>
    public NodeIdentity? Node { get; set; } = node;

    /// <inheritdoc/>
    public string Protocol => "rest";

    /// <inheritdoc/>
    public string Service => "REST";

    /// <summary>When it polled last. Written by <see cref="DiscoveryServer"/> under its lock.</summary>
    public DateTimeOffset PolledAt { get; set; }

    /// <summary>Takes down one poll and what it is answered.</summary>
    /// <param name="type">What is asked for.</param>
    /// <param name="names">The canonical names asked for, in order; null is everything.</param>
    /// <param name="version"><c>version_info</c>: what the node goes on with; empty for none.</param>
    /// <param name="error"><c>error_detail.message</c>; null without.</param>
    /// <param name="set">The answer.</param>
    /// <returns>False if the node asks for more names than are remembered of one.</returns>
    public bool Take(ResourceType type, ImmutableArray<string>? names, string version, string? error, ResourceSet set)
    {
        var now = server.Time.GetUtcNow();
        Answer answer;
        lock (_lock)
        {
            Forget(now);
            var key = (type, names is null ? "*" : string.Join('\0', names.Value));
            if (!_polls.TryGetValue(key, out var poll))
            {
                if (!HasRoomFor(names ?? Everything))
                {
                    return false;
                }

                _polls[key] = poll = new Poll { Names = names ?? Everything };
            }

            poll.At = now;
            answer = AnswerIn(poll, version, error, set, now);
            if (version != set.Version)
            {
                Give(poll, set, now);
            }
        }

        server.Answered(Node!.Id, _since, answer);
        return true;
    }

    private static Answer AnswerIn(Poll poll, string version, string? error, ResourceSet set, DateTimeOffset now)
    {
        if (version.Length == 0)
        {
            // It starts, perhaps anew, and has nothing.
            poll.Acked = null;
        }

        if (error is null && (version == poll.Given?.Version || version == set.Version))
        {
            var given = version == set.Version ? set : poll.Given!;
            var before = poll.Acked;
            (poll.Given, poll.Acked, poll.Refusal, poll.Offers) = (given, given, null, 0);
            if (before?.Version == version)
            {
                return new Answer();
            }

            poll.AckedAt = now;
            poll.ResponseTime = now - poll.GivenAt;
            return new Answer(AnswerKind.Ack, set.Type, given.Digest)
            {
                Elapsed = poll.ResponseTime ?? TimeSpan.Zero,
                IsMove = before is not null,
            };
        }

        if (poll.Given is not { } refused || poll.Refusal is not null || (error is null && poll.Offers < OffersOfRefused))
        {
            return new Answer();
        }

        poll.Refusal = poll.LastRefusal = error is not null
            ? RefusalText.Redact(error)
            : $"It was given this {poll.Offers} times and goes on with what it had. A proxy that polls does not say why; its log does.";
        poll.LastRefusalAt = now;
        return new Answer(AnswerKind.Nack, set.Type, refused.Digest)
        {
            Elapsed = now - poll.GivenAt!.Value,
            Names = [.. poll.Refusals().Select(refusal => refusal.Name)],
            Text = poll.Refusal,
        };
    }

    private static void Give(Poll poll, ResourceSet set, DateTimeOffset now)
    {
        if (set.Version == poll.Given?.Version)
        {
            poll.Offers++;
            return;
        }

        (poll.Given, poll.GivenAt, poll.Offers, poll.Refusal) = (set, now, 1, null);
    }

    private bool HasRoomFor(ImmutableArray<string> names)
    {
        var all = _polls.Values.SelectMany(poll => poll.Names).Concat(names);
        return all.Count() <= server.Options.MaxNames && all.Sum(name => (long)name.Length) <= server.Options.MaxNamesLength;
    }

    /// <summary>Forgets what is not asked for any more. Looks now and then only: a node may have thousands of subscriptions, each with polls of its own.</summary>
    private void Forget(DateTimeOffset now)
    {
        if (now - _forgotAt < GoneAfter / 10)
        {
            return;
        }

        _forgotAt = now;
        foreach (var (key, poll) in _polls)
        {
            if (now - poll.At > GoneAfter)
            {
                _polls.Remove(key);
            }
        }
    }

    /// <inheritdoc/>
    public Delivery DeliveryOf(ResourceType type, string name)
    {
        var current = server.Snapshots.ViewFor(Node!).Current[type].Find(name);
        lock (_lock)
        {
            // Who asks otherwise than before asked last counts.
            var poll = _polls
                .Where(entry => entry.Key.Type == type && entry.Value.AsksFor(name))
                .Select(entry => entry.Value)
                .MaxBy(poll => poll.At);
            if (poll is null || (current is null && (poll.Acked is null || !type.IsFullState)))
            {
                return default;
            }

            var given = poll.Given?.Find(name)?.Version;
            return given != current?.Version ? new Delivery(DeliveryState.Pending, given, null)
                : poll.Acked is not null && poll.Acked.Find(name)?.Version == given ? new Delivery(DeliveryState.Acked, given, null)
                : poll.Refusal is not null ? new Delivery(DeliveryState.Nacked, given, poll.RefusalOf(name, current))
                : new Delivery(DeliveryState.Pending, given, null);
        }
    }

    /// <inheritdoc/>
    public bool IsStaleAt(DateTimeOffset now)
    {
        lock (_lock)
        {
            return _polls.Values.Any(poll => poll.IsUnanswered && now - poll.GivenAt > DiscoverySession.StaleAfter);
        }
    }

    /// <inheritdoc/>
    public StreamStatus Status(DateTimeOffset now)
    {
        var view = server.Snapshots.ViewFor(Node!);
        lock (_lock)
        {
            Forget(now);
            return new StreamStatus
            {
                Id = _id,
                Protocol = Protocol,
                Service = Service,
                Since = _since,
                Peer = peer,
                View = view.Key.Value,
                Revision = view.Current.Revision,
                Subscriptions =
                [
                    .. _polls
                        .GroupBy(entry => entry.Key.Type, entry => entry.Value)
                        .OrderBy(type => type.Key.Index)
                        .Select(type => StatusOf(type.Key, [.. type.OrderBy(poll => poll.At)])),
                ],
                Warming = null,
            };
        }
    }

    /// <summary>All polls of a type as one subscription.</summary>
    private static SubscriptionStatus StatusOf(ResourceType type, List<Poll> polls)
    {
        var unanswered = polls.FindAll(poll => poll.IsUnanswered);
        var refused = polls.MaxBy(poll => poll.LastRefusalAt);
        return new SubscriptionStatus
        {
            Type = type,
            Wildcard = polls.Exists(poll => poll.Names == Everything),
            Names =
            [
                .. polls.Where(poll => poll.Names != Everything).SelectMany(poll => poll.Names).Distinct().Order(StringComparer.Ordinal),
            ],
            SentVersion = VersionOf(type, polls.Select(poll => poll.Given)),
            AckedVersion = VersionOf(type, polls.Select(poll => poll.Acked)),
            SentAt = polls.Max(poll => poll.GivenAt),
            AckedAt = polls.Max(poll => poll.AckedAt),
            ResponseTime = polls.MaxBy(poll => poll.AckedAt)?.ResponseTime,
            Unanswered = unanswered.Count,
            UnansweredSince = unanswered.Min(poll => poll.GivenAt),
            LastRefusal = refused?.LastRefusal,
            LastRefusalAt = refused?.LastRefusalAt,
            Refusals = [.. polls.SelectMany(poll => poll.Refusals())],
            Gates = [],
        };
    }

    /// <summary>The version of all sets as one; null if there is none.</summary>
    private static string? VersionOf(ResourceType type, IEnumerable<ResourceSet?> sets)
    {
        var all = sets.OfType<ResourceSet>().ToList();
        return all switch
        {
            [] => null,
            [var only] => only.Version,
            _ => ResourceSet.Empty(type).With(all.SelectMany(set => set.Resources), []).Version,
        };
    }
}
