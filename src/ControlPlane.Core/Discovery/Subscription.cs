using System.Collections.Immutable;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Core.Discovery;

/// <summary>
/// What a stream knows of one type: what the client asked for, what it was sent, what it has not answered, what it refused. The same for both forms of
/// the protocol; they differ in how a request changes the names (<see cref="SotwRequests"/>, <see cref="DeltaRequests"/>) and in which of the differences
/// a response must hold.
/// </summary>
/// <remarks>
/// One idea carries it all: for each name there is what the client was <em>sent</em> and what it <em>should have</em>; a response is the difference.
/// A refusal moves "sent" back to what the client holds and "should have" likewise, so the good resources of a refused response go out again and the bad
/// one does not (D-33, O-08), without code of its own.
/// Under a wildcard "sent" is an immutable set shared with every other stream, and the few names for which that is not so; without one it is a table of
/// the names asked for.
/// </remarks>
internal sealed class Subscription(ResourceType type, XdsProtocol protocol)
{
    /// <summary>More unanswered responses than this are folded into one: only Envoy's CDS while a cluster warms collects them at all.</summary>
    private const int MaxUnanswered = 32;

    // Without a wildcard: each name asked for and what was sent for it. Under a wildcard: the names whose "sent" differs from what _base says.
    private Dictionary<string, EncodedResource?> _sent = new(StringComparer.Ordinal);

    // Without a wildcard: sum of the digests of what was sent.
    private UInt128 _namedDigest;

    // Under a wildcard: what was sent but for _sent. Otherwise the empty set.
    private ResourceSet _base = ResourceSet.Empty(type);

    // Under a wildcard: the set that the client should have; null if it is _base.
    private ResourceSet? _next;

    // Under a wildcard: names that the client asked for besides.
    private HashSet<string>? _named;

    // Names to compare; _allDirty for all. One change leaves its own array here, shared with the other streams.
    private ImmutableArray<string> _dirty = [];
    private HashSet<string>? _dirtyMore;
    private bool _allDirty;

    // Names to send even if nothing differs: asked for again, or a cluster that needs its endpoints again.
    private HashSet<string>? _resend;

    // Names of a refused response that are to be settled again: the client may hold them already, so no gate applies to them.
    private HashSet<string>? _repair;

    // An answer is due even if there is nothing to say (S-20, D-25) or, in CDS and LDS of state of the world, though no resource differs.
    private bool _answerDue;

    // What the client of a Delta stream said that it holds; null after the first response (D-30).
    private IReadOnlyDictionary<string, string>? _initialVersions;

    // The client of a state-of-the-world stream brought a version from an earlier stream: it holds something, and this server does not know what but as far as the
    // version tells.
    private bool _broughtVersion;

    // Names as the client wrote them, where that is not the canonical form.
    private Dictionary<string, string>? _spelling;

    private List<(string? Name, bool Wanted)>? _interests;

    private readonly List<SentResponse> _unanswered = [];
    private Dictionary<string, Parked>? _parked;

    // Listeners whose address another process had: when each is sent again. Kept over the trial, so that the next wait is longer.
    private Dictionary<string, BindRetry>? _bindRetries;
    private Dictionary<string, Gate>? _held;

    // Innocent names of responses of which the client took nothing for something else that has to be listed: they go with the next change.
    private HashSet<string>? _untaken;

    // Groups of suspects that are to be tried, and the one that is being tried (kinds P and W without a name).
    private Stack<ImmutableArray<string>>? _untried;

    // Names whose content a check of ours doubts: parked until nothing else is under way, then tried one by one. In the company of clusters that warm, the
    // refusal of one that fails late would never come, and nor would any other answer (O-08).
    private Queue<string>? _aside;
    private ImmutableArray<string> _trial = [];
    private bool _trialSent;

    // Versions of clusters that the client does not fail on, though it has not acknowledged them: they are not put back (again).
    private Dictionary<string, string>? _proven;

    private UInt128 _ackedVersion;
    private DateTimeOffset? _ackedAt;
    private UInt128 _sentVersion;
    private DateTimeOffset? _sentAt;
    private TimeSpan? _responseTime;
    private string? _lastRefusal;
    private DateTimeOffset? _lastRefusalAt;
    private string _acceptedVersionInfo = "";

    public ResourceType Type => type;

    public bool Wildcard { get; private set; }

    /// <summary>State of the world: the client has named something, so that an empty list no longer means everything (S-17, S-28).</summary>
    public bool HasNamed { get; set; }

    /// <summary>Nonce of the newest response; 0 before the first.</summary>
    public long LastNonce { get; private set; }

    /// <summary>
    /// State of the world: what was learnt from the answer to an older response is acted on with the next fresh request or change, since a request that is
    /// not about the newest response gets none (S-23).
    /// </summary>
    public bool Quiet { get; set; }

    public DateTimeOffset? LastAnswerAt { get; private set; }

    public IReadOnlyList<SentResponse> Unanswered => _unanswered;

    public IReadOnlyCollection<Gate> Gates => (IReadOnlyCollection<Gate>?)_held?.Values ?? [];

    private bool IsDelta => protocol == XdsProtocol.Delta;

    /// <summary>A response lists everything, and what it does not list is gone (S-06).</summary>
    private bool ListsEverything => !IsDelta && type.IsFullState;

    /// <summary>Content that this client refused, or may have: it is not to be sent while it is what the snapshot holds.</summary>
    /// <param name="Content">The content.</param>
    /// <param name="InForce">What the client holds instead.</param>
    /// <param name="Refusal">Null while it is only suspected and waits for its trial.</param>
    private sealed record Parked(EncodedResource Content, EncodedResource? InForce, Refusal? Refusal);

    /// <summary>A listener that the client could not bind.</summary>
    /// <param name="Version">The content that was refused.</param>
    /// <param name="Delay">The wait before the next trial.</param>
    /// <param name="DueAt">When that is; null while the trial is under way.</param>
    private sealed record BindRetry(string Version, TimeSpan Delay, DateTimeOffset? DueAt);

    // ------------------------------------------------------------------------------------------------------------------ what the client asks for

    /// <summary>Marks the first request: it is answered whatever the client says that it holds (S-25).</summary>
    public void Open(ClientRequest request)
    {
        _answerDue = ListsEverything;
        if (IsDelta)
        {
            _initialVersions = request.InitialVersions is { Count: > 0 } versions ? versions : null;
            _answerDue = _initialVersions is not null;
        }
        else
        {
            _broughtVersion = request.VersionInfo.Length > 0;
            _acceptedVersionInfo = request.VersionInfo;
        }
    }

    public bool IsSubscribed(string name) => Wildcard || _sent.ContainsKey(name);

    public bool IsNamed(string name) => Wildcard ? _named?.Contains(name) == true : _sent.ContainsKey(name);

    public int NamedCount => Wildcard ? _named?.Count ?? 0 : _sent.Count;

    public IReadOnlyCollection<string> Named => Wildcard ? (IReadOnlyCollection<string>?)_named ?? [] : _sent.Keys;

    /// <summary>Names are about to be added: the table is given its size at once, since most streams ask once and keep it for hours.</summary>
    public void Expect(int names)
    {
        if (!Wildcard && names > 0)
        {
            _sent.EnsureCapacity(_sent.Count + names);
        }
    }

    /// <summary>Adds a name. What exists is sent even if the client was sent it before (D-12, S-16).</summary>
    /// <param name="name">As the client wrote it.</param>
    /// <param name="current">The newest set; lends its copy of the name.</param>
    public void Subscribe(string name, ResourceSet current)
    {
        var key = ResourceName.Canonical(name);
        if (!ReferenceEquals(key, name) && key != name)
        {
            (_spelling ??= new(StringComparer.Ordinal))[key] = name;
        }
        else if (current.Find(key) is { } resource && resource.Name == key)
        {
            key = resource.Name;
        }

        if (Wildcard)
        {
            (_named ??= new(StringComparer.Ordinal)).Add(key);
        }
        else if (_sent.TryAdd(key, null))
        {
            Note(key, wanted: true);
        }

        if (IsDelta && _initialVersions?.TryGetValue(key, out var held) == true && held == current.Find(key)?.Version)
        {
            MakeDirty([key]);
            return;
        }

        if (IsDelta || !Wildcard)
        {
            Resend(key);
            _answerDue |= ListsEverything;
        }
    }

    /// <summary>Takes a name away. Under a wildcard the client then wants to know what the name is without being named (D-19, D-20).</summary>
    public void Unsubscribe(string name)
    {
        var key = ResourceName.Canonical(name);
        if (Wildcard)
        {
            if (_named?.Remove(key) == true && IsDelta)
            {
                Resend(key);
            }

            return;
        }

        if (_sent.Remove(key, out var sent))
        {
            _namedDigest -= DigestOf(sent);
            Note(key, wanted: false);
            Forget(key);
        }
    }

    /// <summary>Everything from now on, besides the names.</summary>
    public void SubscribeToAll(ResourceSet current)
    {
        if (Wildcard)
        {
            if (IsDelta)
            {
                _next ??= current;
                _allDirty = true;
            }

            return;
        }

        foreach (var name in _sent.Keys)
        {
            Note(name, wanted: false);
        }

        Note(null, wanted: true);
        Wildcard = true;
        _named = _sent.Count > 0 ? new(_sent.Keys, StringComparer.Ordinal) : null;
        _base = ResourceSet.Empty(type);
        _next = current;
        _allDirty = true;
        _answerDue |= IsDelta || type.IsFullState;
    }

    /// <summary>Only the names from now on.</summary>
    public void UnsubscribeFromAll()
    {
        if (!Wildcard)
        {
            return;
        }

        var sent = new Dictionary<string, EncodedResource?>(StringComparer.Ordinal);
        Note(null, wanted: false);
        foreach (var name in _named ?? [])
        {
            sent[name] = SentFor(name);
            Note(name, wanted: true);
        }

        Wildcard = false;
        _named = null;
        _sent = sent;
        _namedDigest = sent.Values.Aggregate(UInt128.Zero, static (sum, resource) => sum + DigestOf(resource));
        _base = ResourceSet.Empty(type);
        _next = null;
        _held = null;
    }

    /// <summary>Sends a name again although it may not differ; ignored if the client did not ask for it.</summary>
    public void Resend(string name)
    {
        if (IsSubscribed(name))
        {
            (_resend ??= new(StringComparer.Ordinal)).Add(name);
        }
    }

    private void Note(string? name, bool wanted) => (_interests ??= []).Add((name, wanted));

    /// <summary>Takes what the client began and ceased to be interested in since the last call: names, and null for everything.</summary>
    public IReadOnlyList<(string? Name, bool Wanted)> TakeInterests()
    {
        IReadOnlyList<(string? Name, bool Wanted)>? interests = _interests;
        _interests = null;
        return interests ?? [];
    }

    private void Forget(string name)
    {
        _held?.Remove(name);
        _resend?.Remove(name);
        _spelling?.Remove(name);
        if (_parked?.TryGetValue(name, out var parked) == true)
        {
            // The client throws away what it holds; what it refused stays refused.
            _parked[name] = parked with
            {
                InForce = null,
            };
        }
    }

    // ------------------------------------------------------------------------------------------------------------------ what there is to send

    /// <summary>Takes in a change. Names that the client did not ask for are passed over.</summary>
    public void Notify(ResourceSet before, ResourceSet after, ImmutableArray<string> names)
    {
        Quiet = false;
        if (_untaken is not null)
        {
            (_dirtyMore ??= new(StringComparer.Ordinal)).UnionWith(_untaken);
            _untaken = null;
        }

        if (Wildcard)
        {
            if (!ReferenceEquals(before, _next ?? _base))
            {
                _allDirty = true;
            }

            _next = after;
            MakeDirty(names);
            return;
        }

        foreach (var name in names)
        {
            if (!_sent.ContainsKey(name))
            {
                continue;
            }

            if (names.Length == 1)
            {
                MakeDirty(names);
            }
            else
            {
                (_dirtyMore ??= new(StringComparer.Ordinal)).Add(name);
            }
        }
    }

    /// <summary>The node is to have other resources from now on.</summary>
    public void NotifyAll(ResourceSet after)
    {
        _allDirty = true;
        if (Wildcard)
        {
            _next = after;
        }
    }

    private void MakeDirty(ImmutableArray<string> names)
    {
        if (_allDirty)
        {
            return;
        }

        if (_dirty.IsEmpty && _dirtyMore is null)
        {
            _dirty = names;
            return;
        }

        _dirtyMore ??= new(StringComparer.Ordinal);
        _dirtyMore.UnionWith(names);
        if (Wildcard && _dirtyMore.Count > 1024 && _dirtyMore.Count > _base.Count / 2)
        {
            // A reader that stalls costs no more than this.
            _allDirty = true;
            _dirty = [];
            _dirtyMore = null;
        }
    }

    /// <summary>True if <see cref="Compose"/> may have something to send.</summary>
    public bool HasWork => !Quiet && (HasChanges || _held is not null || (!_trial.IsEmpty && !_trialSent) || IsAsideDue);

    private bool HasChanges =>
        _answerDue || _allDirty || !_dirty.IsEmpty || _dirtyMore is not null || _resend is not null || _repair is not null;

    private bool IsAsideDue => _aside is not null && _trial.IsEmpty && _unanswered.Count == 0 && !HasChanges;

    /// <summary>What the client was sent last of a name; null for nothing.</summary>
    public EncodedResource? SentFor(string name) => _sent.TryGetValue(name, out var sent) ? sent : _base.Find(name);

    /// <summary>What the client should have of a name: what the snapshot holds, unless the client refused that.</summary>
    private EncodedResource? DueFor(string name, ResourceSet set)
    {
        var current = set.Find(name);
        if (_parked?.TryGetValue(name, out var parked) != true)
        {
            return current;
        }

        if (current is not null && current.Version == parked!.Content.Version)
        {
            return parked.InForce;
        }

        // A different version exists, or none: what was refused no longer matters.
        _parked!.Remove(name);
        if (_parked.Count == 0)
        {
            _parked = null;
        }

        return current;
    }

    private void SetSent(string name, EncodedResource? sent, ResourceSet set)
    {
        if (!Wildcard)
        {
            _namedDigest += DigestOf(sent) - DigestOf(_sent.GetValueOrDefault(name));
            _sent[name] = sent;
        }
        else if (!ReferenceEquals(sent, set.Find(name)))
        {
            _sent[name] = sent;
        }
        else
        {
            _sent.Remove(name);
        }
    }

    private string AsWritten(string name) => _spelling?.GetValueOrDefault(name) ?? name;

    private static bool IsSame(EncodedResource? a, EncodedResource? b) =>
        ReferenceEquals(a, b) || (a is not null && b is not null && a.Version == b.Version);

    /// <summary>Content that the client was told to replace or give up and has not said that it did. A cluster that it refers to must stay until then.</summary>
    public IEnumerable<EncodedResource> Leaving()
    {
        foreach (var response in _unanswered)
        {
            foreach (var item in response.Changes)
            {
                if (item.Before is not null && !IsSame(item.Before, item.Content))
                {
                    yield return item.Before;
                }
            }
        }
    }

    /// <summary>Content that the client will be told to replace or give up: held back, or next to be sent.</summary>
    public IEnumerable<EncodedResource> ToLeave(ResourceSet current)
    {
        var set = Wildcard ? _next ?? _base : current;
        foreach (var name in NamesToCheck(set))
        {
            if (SentFor(name) is { } sent && !IsSame(sent, DueFor(name, set)))
            {
                yield return sent;
            }
        }
    }

    /// <summary>Content that the client goes on with because it refused its successor.</summary>
    public IEnumerable<EncodedResource> KeptInForce() =>
        _parked is null ? [] : _parked.Values.Where(parked => parked.InForce is not null).Select(parked => parked.InForce!);

    private List<string> NamesToCheck(ResourceSet set)
    {
        if (!_trial.IsEmpty && !_trialSent && !ListsEverything)
        {
            // A trial goes alone, so that the answer is about it.
            return [.. _trial];
        }

        if (_allDirty)
        {
            if (!Wildcard)
            {
                return [.. _sent.Keys];
            }

            HashSet<string> all = new(ResourceSet.Differences(_base, set), StringComparer.Ordinal);
            all.UnionWith(_sent.Keys);
            all.UnionWith(_resend ?? []);
            all.UnionWith(_repair ?? []);
            if (_initialVersions is not null)
            {
                all.UnionWith(_initialVersions.Keys);
            }

            return [.. all];
        }

        if (_dirtyMore is null && _resend is null && _repair is null && _held is null && _trial.IsEmpty)
        {
            return [.. _dirty];
        }

        HashSet<string> names = new(_dirty, StringComparer.Ordinal);
        names.UnionWith(_dirtyMore ?? []);
        names.UnionWith(_resend ?? []);
        names.UnionWith(_repair ?? []);
        names.UnionWith(_held?.Keys ?? Enumerable.Empty<string>());
        names.UnionWith(_trial);
        return [.. names];
    }

    /// <summary>Makes the response that is due, and takes it as sent; null if none is.</summary>
    /// <param name="current">The newest set.</param>
    /// <param name="gates">Decides what has to wait.</param>
    /// <param name="nonces">Gives the nonce.</param>
    /// <param name="now">The time.</param>
    /// <param name="sent">What was sent, with what it replaces.</param>
    public ServerResponse? Compose(ResourceSet current, IGates gates, NonceSequence nonces, DateTimeOffset now, out SentResponse? sent)
    {
        sent = null;
        if (!HasWork)
        {
            return null;
        }

        if (IsAsideDue)
        {
            TakeAside(Wildcard ? _next ?? _base : current);
        }

        var isTrial = !_trial.IsEmpty && !_trialSent;
        var alone = isTrial && !ListsEverything;
        var set = (Wildcard, alone) switch
        {
            (false, _) => current,
            (true, true) => _base,
            (true, false) => _next ?? _base,
        };
        var first = LastNonce == 0;
        var lacking = first && _broughtVersion && ListsEverything ? BroughtVersion.Lacking(set, _acceptedVersionInfo) : null;
        if (
            Wildcard
            && _allDirty
            && lacking is not { Count: > 0 }
            && _base.Count == 0
            && _sent.Count == 0
            && _initialVersions is null
            && _parked is null
            && !set.HasDoubted
            && (set.Count > 0 || _answerDue)
        )
        {
            List<string> missing =
                IsDelta && _resend is not null
                    ? [.. _resend.Where(name => set.Find(name) is null).Order(StringComparer.Ordinal).Select(AsWritten)]
                    : [];
            _base = set;
            Settle();
            sent = new SentResponse(nonces.Next(), set.Digest, now, set.Count > 0 ? set : null, [], isTrial: false)
            {
                WholeReplaced = _broughtVersion,
            };
            return Send(sent, set, [], missing);
        }

        if (Wildcard && _initialVersions is not null && _base.Count == 0 && _sent.Count == 0 && _resend is null && !set.HasDoubted)
        {
            return Resume(set, nonces, now, out sent);
        }

        var items = new List<SentItem>();
        var resources = new List<EncodedResource>();
        var removed = new List<string>();
        var differs = false;
        foreach (var name in NamesToCheck(set))
        {
            var repair = _repair?.Contains(name) == true;
            if (!IsSubscribed(name) || (!repair && IsAside(name, set)))
            {
                continue;
            }

            var before = SentFor(name);
            var due = DueFor(name, set);
            var resend = repair || _resend?.Contains(name) == true;
            if (_initialVersions?.TryGetValue(name, out var heldVersion) == true)
            {
                before = due is not null && due.Version == heldVersion ? due : EncodedResource.Unknown;
            }
            else if (first && _broughtVersion && due is not null)
            {
                before =
                    lacking is null ? EncodedResource.Unknown
                    : lacking.Contains(due) ? null
                    : due;
            }

            var same = IsSame(before, due);
            var wasSent = repair || (isTrial && _trial.Contains(name));
            if (!same && !first && !wasSent && gates.Holds(type, name, before, due, _held?.GetValueOrDefault(name), now) is { } gate)
            {
                (_held ??= new(StringComparer.Ordinal))[name] = gate;
                SetSent(name, before, set);
                continue;
            }

            _held?.Remove(name);
            if (due is { IsDoubted: true } && !same && !wasSent)
            {
                Park(new SentItem(name, due, before), refusal: null);
                (_aside ??= new()).Enqueue(name);
                SetSent(name, before, set);
                continue;
            }

            SetSent(name, due, set);
            if ((same && !resend) || ReferenceEquals(due, EncodedResource.Unknown))
            {
                continue;
            }

            if (due is not null)
            {
                resources.Add(due);
            }
            else if (IsDelta)
            {
                removed.Add(AsWritten(name));
            }

            differs |= !same || due is not null;
            if (due is not null || before is not null)
            {
                items.Add(new SentItem(name, due, before));
            }
        }

        if (Wildcard)
        {
            _base = set;
        }

        var answerDue = _answerDue && !alone;
        if (alone)
        {
            _trialSent = true;
        }
        else
        {
            _trialSent |= isTrial;
            Settle();
        }

        var say = IsDelta ? resources.Count + removed.Count > 0 : resources.Count > 0 || (ListsEverything && differs);
        if (!say && !answerDue)
        {
            if (isTrial)
            {
                NextTrial(set);
            }

            return IsAsideDue ? Compose(current, gates, nonces, now, out sent) : null;
        }

        ResourceSet? whole = null;
        if (ListsEverything)
        {
            (whole, resources) = Everything(set);
        }
        else
        {
            resources.Sort(static (a, b) => string.CompareOrdinal(a.Name, b.Name));
            removed.Sort(StringComparer.Ordinal);
        }

        if (isTrial && items.FindAll(item => item.IsUnproven) is [{ Content: { } only }])
        {
            // A cluster that fails late is refused at once if it comes alone.
            (_proven ??= new(StringComparer.Ordinal))[_trial[0]] = only.Version;
        }

        sent = new SentResponse(nonces.Next(), HeldVersion(), now, whole: null, items, isTrial);
        return Send(sent, whole, resources, removed);
    }

    /// <summary>
    /// The first response to a client that says which versions it holds of everything. As a rule it holds all, and so do a thousand others that reconnect at
    /// once.
    /// </summary>
    private ServerResponse Resume(ResourceSet set, NonceSequence nonces, DateTimeOffset now, out SentResponse sent)
    {
        var held = _initialVersions!;
        var items = new List<SentItem>();
        var resources = new List<EncodedResource>();
        var known = 0;
        foreach (var (name, resource) in set.Named)
        {
            if (!held.TryGetValue(name, out var version))
            {
                resources.Add(resource);
                items.Add(new SentItem(name, resource, Before: null));
                continue;
            }

            known++;
            if (version != resource.Version)
            {
                resources.Add(resource);
                items.Add(new SentItem(name, resource, EncodedResource.Unknown));
            }
        }

        var removed = new List<string>();
        if (known < held.Count)
        {
            foreach (var name in held.Keys)
            {
                if (set.Find(name) is null)
                {
                    removed.Add(AsWritten(name));
                    items.Add(new SentItem(name, Content: null, EncodedResource.Unknown));
                }
            }
        }

        resources.Sort(static (a, b) => string.CompareOrdinal(a.Name, b.Name));
        removed.Sort(StringComparer.Ordinal);
        _base = set;
        Settle();
        sent = new SentResponse(nonces.Next(), set.Digest, now, whole: null, items, isTrial: false);
        return Send(sent, whole: null, resources, removed);
    }

    private void Settle()
    {
        _next = null;
        _allDirty = false;
        _dirty = [];
        _dirtyMore = null;
        _resend = null;
        _repair = null;
        _answerDue = false;
        _initialVersions = null;
        if (_held?.Count == 0)
        {
            _held = null;
        }
    }

    private ServerResponse Send(SentResponse sent, ResourceSet? whole, List<EncodedResource> resources, List<string> removed)
    {
        if (ListsEverything && _unanswered.Count > 0)
        {
            // The newest response holds all that the earlier ones did, and is the one that the client will answer.
            foreach (var earlier in _unanswered.AsEnumerable().Reverse())
            {
                sent.Absorb(earlier);
            }

            _unanswered.Clear();
        }
        else if (_unanswered.Count == MaxUnanswered)
        {
            _unanswered[1].Absorb(_unanswered[0]);
            _unanswered.RemoveAt(0);
        }

        _unanswered.Add(sent);
        LastNonce = sent.Nonce;
        _sentVersion = sent.Version;
        _sentAt = sent.SentAt;
        return new ServerResponse(protocol, type, sent.Nonce, sent.Version, whole, [.. resources], [.. removed]);
    }

    /// <summary>All that the client is to hold, for a response that lists everything.</summary>
    private (ResourceSet? Whole, List<EncodedResource> Resources) Everything(ResourceSet set)
    {
        if (Wildcard && _sent.Count == 0)
        {
            return (set, []);
        }

        var resources = new List<EncodedResource>(Wildcard ? set.Count : _sent.Count);
        if (Wildcard)
        {
            foreach (var resource in set.Resources)
            {
                if (!_sent.ContainsKey(ResourceName.Canonical(resource.Name)))
                {
                    resources.Add(resource);
                }
            }
        }

        foreach (var (name, sent) in _sent)
        {
            // What the client holds but this server does not know cannot be repeated, and leaving it out would delete it.
            var listed = ReferenceEquals(sent, EncodedResource.Unknown) ? set.Find(name) : sent;
            if (listed is not null)
            {
                resources.Add(listed);
            }
        }

        resources.Sort(static (a, b) => string.CompareOrdinal(a.Name, b.Name));
        return (null, resources);
    }

    private UInt128 HeldVersion()
    {
        if (!Wildcard)
        {
            return _namedDigest;
        }

        var digest = _base.Digest;
        foreach (var (name, sent) in _sent)
        {
            digest += DigestOf(sent) - DigestOf(_base.Find(name));
        }

        return digest;
    }

    private static UInt128 DigestOf(EncodedResource? resource) => resource?.Digest ?? UInt128.Zero;

    // ------------------------------------------------------------------------------------------------------------------ what the client answers

    /// <summary>Takes in the answer to a response.</summary>
    public Answer TakeAnswer(long nonce, ClientRequest request, ResourceSet current, DateTimeOffset now)
    {
        var at = _unanswered.FindIndex(sent => sent.Nonce == nonce);
        if (at < 0)
        {
            // Said before; a client may repeat its refusal in each request (S-11).
            return new Answer(AnswerKind.Stale, type, _sentVersion);
        }

        var response = _unanswered[at];
        var elapsed = now - response.SentAt;
        _responseTime = elapsed;
        LastAnswerAt = now;
        var error = request.Error;
        string? earlierRefusal = null;
        if (
            error is not null
            && !IsDelta
            && request.VersionInfo.Length > 0
            && request.VersionInfo == Format(response.Version)
            && request.VersionInfo != _acceptedVersionInfo
        )
        {
            // This response is accepted, an earlier one was not, and has been corrected since (S-10).
            earlierRefusal = RefusalText.Redact(error);
            _lastRefusal = earlierRefusal;
            _lastRefusalAt = now;
            SettlePutBack(response, error, earlierRefusal, Wildcard ? _next ?? _base : current, now);
            error = null;
        }

        if (!IsDelta && error is null)
        {
            _acceptedVersionInfo = request.VersionInfo;
        }

        var set = Wildcard ? _next ?? _base : current;
        if (error is null)
        {
            var isTrial = response.IsTrial;
            var gaveUp = _unanswered.Exists(sent =>
                sent.Nonce <= nonce && sent.Changes.Any(item => !IsSame(item.Before, item.Content) && item.Before is not null)
            );
            if (IsDelta || nonce != LastNonce)
            {
                _unanswered.RemoveAt(at);
            }
            else
            {
                // A client that answers only the newest response has applied the earlier ones.
                isTrial = _unanswered.Exists(sent => sent.IsTrial);
                _unanswered.Clear();
            }

            var isMove = _ackedAt is not null && _ackedVersion != response.Version;
            if (nonce == LastNonce || IsDelta)
            {
                _ackedVersion = response.Version;
                _ackedAt = now;
            }

            if (isTrial)
            {
                NextTrial(set);
            }

            ForgetBindRetries(response);
            Prove(response, set);
            if (type == ResourceType.Listener && gaveUp)
            {
                // Another listener has let go of something, and an address can be had once.
                Retry(static (_, text) => text.Contains("address", StringComparison.OrdinalIgnoreCase));
            }

            return new Answer(AnswerKind.Ack, type, response.Version)
            {
                Elapsed = elapsed,
                Text = earlierRefusal,
                IsMove = isMove,
            };
        }

        _unanswered.RemoveAt(at);
        var text = RefusalText.Redact(error);
        _lastRefusal = text;
        _lastRefusalAt = now;
        var names = Refuse(response, error, text, set, now);
        return new Answer(AnswerKind.Nack, type, response.Version)
        {
            Elapsed = elapsed,
            Names = names,
            Text = text,
        };
    }

    /// <summary>Undoes a refused response, parks what was refused and returns its names; none where that has to be found out.</summary>
    private ImmutableArray<string> Refuse(SentResponse response, string rawText, string text, ResourceSet set, DateTimeOffset now)
    {
        var items = response.Items();
        if (RefusedAgain(rawText, text, items) is { Count: > 0 } again)
        {
            if (RefusalText.IsPerResource(rawText))
            {
                // Envoy takes the good clusters and listeners of a response, and says each time again what it does not take of the rest.
                Prove(response, set);
            }
            else
            {
                // It took nothing. What came with it is innocent, and goes again with the next change, which may be the correction.
                foreach (var item in items)
                {
                    SetSent(item.Name, item.Before, Wildcard ? _base : set);
                    (_untaken ??= new(StringComparer.Ordinal)).Add(item.Name);
                }
            }

            if (response.IsTrial || _trial.IsEmpty)
            {
                NextTrial(set);
            }

            return [.. again];
        }

        var found = SettlePutBack(response, rawText, text, set, now);
        // What was sent again since is judged by the answer to that: the client may hold another content of it by then.
        var sentSince = _unanswered
            .Where(later => later.Nonce > response.Nonce)
            .SelectMany(later => later.Items())
            .Select(item => item.Name)
            .ToHashSet(StringComparer.Ordinal);
        var suspects = items.FindAll(item =>
            item.IsUnproven && IsSame(set.Find(item.Name), item.Content) && !IsParked(item) && !sentSince.Contains(item.Name)
        );
        var names = suspects.ConvertAll(item => item.Name);
        // One suspect is guilty only if nothing else was in the response: what has been replaced since may have been the bad one. Then nothing is wrong with the others.
        var unproven = items.FindAll(item => item.IsUnproven).ConvertAll(item => item.Name);
        var explained = unproven.Count == 1 ? unproven : RefusalText.NamesIn(rawText, unproven);
        var blamed = explained.FindAll(names.Contains);
        if (ListsEverything && suspects.Exists(item => ReferenceEquals(item.Before, EncodedResource.Unknown)))
        {
            // What the client goes on with came from an earlier stream: it cannot be repeated, and leaving it out would delete it. The refused content
            // stays in the list until a different version exists.
            foreach (var item in suspects.Where(item => blamed.Contains(item.Name)))
            {
                Park(item, new Refusal(item.Name, item.Content!.Version, null, text, now));
                PlanBindRetry(item, rawText, now);
                SetSent(item.Name, EncodedResource.Unknown, set);
            }

            return [.. blamed];
        }

        foreach (var item in items)
        {
            foreach (var later in _unanswered)
            {
                if (later.Nonce > response.Nonce)
                {
                    later.Correct(item.Name, item.Content, item.Before);
                }
            }

            // What only took something away is not repeated for its own sake, or a client that refuses it would be sent it for ever.
            if (
                (item.IsUnproven || suspects.Count > 0)
                && IsSubscribed(item.Name)
                && !sentSince.Contains(item.Name)
                && IsSame(SentFor(item.Name), item.Content)
            )
            {
                SetSent(item.Name, item.Before, Wildcard ? _base : set);
                if (explained.Count > 0)
                {
                    (_repair ??= new(StringComparer.Ordinal)).Add(item.Name);
                }
                else
                {
                    (_dirtyMore ??= new(StringComparer.Ordinal)).Add(item.Name);
                }
            }
        }

        if (explained.Count == 0 && suspects.Count > 0)
        {
            _untried ??= new();
            var half = suspects.Count / 2;
            _untried.Push([.. names[half..]]);
            if (half > 0)
            {
                _untried.Push([.. names[..half]]);
            }

            foreach (var item in suspects)
            {
                Park(item, refusal: null);
            }
        }

        foreach (var item in suspects.Where(item => blamed.Contains(item.Name)))
        {
            Park(item, new Refusal(item.Name, item.Content!.Version, item.Before?.Version, text, now));
            PlanBindRetry(item, rawText, now);
            // Of CDS and LDS what is in force is put back, or an Envoy whose cluster failed late answers no CDS any more (O-08).
            _answerDue |= ListsEverything;
            if (!type.IsFullState)
            {
                _repair?.Remove(item.Name);
            }
        }

        if (response.IsTrial || _trial.IsEmpty)
        {
            NextTrial(set);
        }

        return [.. found, .. blamed];
    }

    /// <summary>
    /// The names that a refusal is about, where it is only about what was refused before and is listed all the same, because leaving it out could delete what the client goes on
    /// with; none if it may be about anything new.
    /// </summary>
    private List<string> RefusedAgain(string rawText, string text, IReadOnlyList<SentItem> items)
    {
        if (!ListsEverything || _parked is null || items.Any(item => ReferenceEquals(item.Before, EncodedResource.Unknown)))
        {
            return [];
        }

        var listed = _parked
            .Where(parked => parked.Value.Refusal is not null && ReferenceEquals(SentFor(parked.Key), EncodedResource.Unknown))
            .ToList();
        return !RefusalText.IsPerResource(rawText)
                ? listed.FindAll(parked => parked.Value.Refusal!.Text == text).ConvertAll(parked => parked.Key)
            : RefusalText.NamesIn(rawText, [.. items.Select(item => item.Name)]).Count > 0 ? []
            : RefusalText.NamesIn(rawText, listed.ConvertAll(parked => parked.Key));
    }

    /// <summary>Sends content again that the client refused for a reason which may be gone: no proxy comes back to it by itself.</summary>
    /// <param name="concerns">Whether the reason may be gone, by the content and the client's words.</param>
    public void Retry(Func<EncodedResource, string, bool> concerns)
    {
        foreach (var (name, parked) in _parked ?? [])
        {
            if (parked.Refusal is { } refusal && concerns(parked.Content, refusal.Text))
            {
                _parked!.Remove(name);
                (_dirtyMore ??= new(StringComparer.Ordinal)).Add(name);
            }
        }
    }

    /// <summary>When <see cref="PutBack"/> has something to do; null for never. Envoy answers its first response at once, whatever is in it.</summary>
    public DateTimeOffset? PutBackDueAt =>
        type == ResourceType.Cluster
        && Wildcard
        && !_unanswered.Exists(static sent => sent.HeldWhole)
        && _unanswered.Find(static sent => !sent.IsPutBack && sent.Changes.Any(item => item.IsUnproven)) is { } oldest
            ? oldest.SentAt + DiscoverySession.GateLimit
            : null;

    /// <summary>When clusters were put back last; null for never.</summary>
    public DateTimeOffset? PutBackAt { get; private set; }

    /// <summary>
    /// Puts clusters back to what was in force before responses that the client does not answer. Envoy holds back every answer while a cluster is in its warming list, and one
    /// that failed late stays there until it is taken away or sent with its old content; then the answers come, with its name (O-08).
    /// </summary>
    /// <param name="isBuilt">Whether the client shows in another way that it took a new cluster.</param>
    /// <param name="now">The time.</param>
    public void PutBack(Func<EncodedResource, bool> isBuilt, DateTimeOffset now)
    {
        if (!(PutBackDueAt <= now))
        {
            return;
        }

        var inForce = new Dictionary<string, EncodedResource?>(StringComparer.Ordinal);
        foreach (var response in _unanswered)
        {
            response.IsPutBack = true;
            foreach (var item in response.Changes)
            {
                inForce.TryAdd(item.Name, item.Before);
            }
        }

        var set = _next ?? _base;
        var unproven = inForce
            .Select(known => new SentItem(known.Key, SentFor(known.Key), known.Value))
            .Where(item =>
                item.IsUnproven && !ReferenceEquals(item.Before, EncodedResource.Unknown) && IsSame(set.Find(item.Name), item.Content)
            )
            .ToList();
        if (unproven.Count < 2)
        {
            // One that fails is refused at once if it is alone.
            return;
        }

        foreach (var item in unproven)
        {
            if ((item.Before is null && isBuilt(item.Content!)) || _proven?.GetValueOrDefault(item.Name) == item.Content!.Version)
            {
                continue;
            }

            Quiet = false;
            Park(item, refusal: null);
            (_aside ??= new()).Enqueue(item.Name);
            (_repair ??= new(StringComparer.Ordinal)).Add(item.Name);
            PutBackAt = now;
        }
    }

    /// <summary>
    /// Takes the client's late words about what was put back: parks what they name, and lets the rest of that response go again. All wait to be tried alone if they name
    /// nothing; in state of the world so does what they name, since they may be about an older content of it.
    /// </summary>
    private List<string> SettlePutBack(SentResponse response, string rawText, string text, ResourceSet set, DateTimeOffset now)
    {
        if (_aside is null)
        {
            return [];
        }

        var items = response.Items();
        var waiting = items
            .Where(item => IsAside(item.Name, set) && (!IsDelta || IsSame(item.Content, _parked![item.Name].Content)))
            .Select(item => item.Name)
            .ToList();
        var blamed = items.Count(item => item.IsUnproven) == 1 ? waiting : RefusalText.NamesIn(rawText, waiting);
        foreach (var name in blamed.Count > 0 ? waiting : [])
        {
            var parked = _parked![name];
            if (!blamed.Contains(name))
            {
                SendAfterAll(name, parked.Content);
            }
            else if (IsDelta)
            {
                _parked[name] = parked with { Refusal = new Refusal(name, parked.Content.Version, parked.InForce?.Version, text, now) };
            }
        }

        return IsDelta ? blamed : [];
    }

    /// <summary>Takes an acknowledgement as a proof of what was put back meanwhile.</summary>
    private void Prove(SentResponse accepted, ResourceSet set)
    {
        if (_proven is null && _aside is null)
        {
            return;
        }

        foreach (var item in accepted.Changes)
        {
            if (item.Content is not null && _proven?.GetValueOrDefault(item.Name) == item.Content.Version)
            {
                _proven.Remove(item.Name);
            }

            // State of the world answers only the newest response, and the refusal of an earlier one may have been lost.
            if (IsDelta && IsAside(item.Name, set) && IsSame(item.Content, _parked![item.Name].Content))
            {
                SendAfterAll(item.Name, item.Content!);
            }
        }
    }

    private void SendAfterAll(string name, EncodedResource content)
    {
        _parked!.Remove(name);
        (_dirtyMore ??= new(StringComparer.Ordinal)).Add(name);
        (_proven ??= new(StringComparer.Ordinal))[name] = content.Version;
    }

    /// <summary>
    /// When a listener is sent again that could not be bound: another process on the client's machine may have given the address up, or the machine may have got it,
    /// and nothing tells of that. Null for none.
    /// </summary>
    public DateTimeOffset? NextBindRetry => _bindRetries?.Values.Min(retry => retry.DueAt);

    /// <summary>Takes the listeners out of the park whose wait is over.</summary>
    public void RetryBinds(DateTimeOffset now)
    {
        if (!(NextBindRetry <= now))
        {
            return;
        }

        Quiet = false;
        foreach (var (name, retry) in _bindRetries!.Where(retry => retry.Value.DueAt <= now).ToList())
        {
            if (_parked?.TryGetValue(name, out var parked) == true && parked.Refusal is not null && parked.Content.Version == retry.Version)
            {
                _parked.Remove(name);
                (_dirtyMore ??= new(StringComparer.Ordinal)).Add(name);
                _bindRetries![name] = retry with { DueAt = null };
            }
            else
            {
                _bindRetries!.Remove(name);
            }
        }
    }

    private void PlanBindRetry(SentItem item, string text, DateTimeOffset now)
    {
        if (type != ResourceType.Listener || !RefusalText.IsBindFailure(text))
        {
            return;
        }

        var version = item.Content!.Version;
        var delay =
            _bindRetries?.TryGetValue(item.Name, out var before) != true || before!.Version != version ? DiscoverySession.FirstBindRetry
            : before.Delay * 2 < DiscoverySession.LastBindRetry ? before.Delay * 2
            : DiscoverySession.LastBindRetry;
        (_bindRetries ??= new(StringComparer.Ordinal))[item.Name] = new BindRetry(version, delay, now + delay);
    }

    private void ForgetBindRetries(SentResponse accepted)
    {
        foreach (var item in _bindRetries is null ? [] : accepted.Changes)
        {
            if (_bindRetries!.TryGetValue(item.Name, out var retry) && retry.Version == item.Content?.Version)
            {
                _bindRetries.Remove(item.Name);
            }
        }
    }

    private bool IsParked(SentItem item) =>
        _parked?.TryGetValue(item.Name, out var parked) == true && IsSame(parked.Content, item.Content) && parked.Refusal is not null;

    private void Park(SentItem item, Refusal? refusal) =>
        (_parked ??= new(StringComparer.Ordinal))[item.Name] = new Parked(item.Content!, item.Before, refusal);

    /// <summary>Whether a name's content waits to be tried by itself.</summary>
    private bool IsAside(string name, ResourceSet set) =>
        _aside?.Contains(name) == true
        && _parked?.TryGetValue(name, out var parked) == true
        && parked.Refusal is null
        && IsSame(set.Find(name), parked.Content);

    private void TakeAside(ResourceSet set)
    {
        while (_trial.IsEmpty && _aside is not null)
        {
            _untried = new([
                [_aside.Dequeue()],
            ]);
            if (_aside.Count == 0)
            {
                _aside = null;
            }

            NextTrial(set);
        }
    }

    /// <summary>Takes the next group of suspects out of the park, so that it is sent.</summary>
    private void NextTrial(ResourceSet set)
    {
        _trial = [];
        _trialSent = false;
        while (_untried?.TryPop(out var group) == true)
        {
            var names = ImmutableArray.CreateBuilder<string>();
            foreach (var name in group)
            {
                if (_parked?.TryGetValue(name, out var parked) == true && parked.Refusal is null && IsSame(set.Find(name), parked.Content))
                {
                    _parked.Remove(name);
                    names.Add(name);
                }
            }

            if (names.Count > 0)
            {
                _trial = names.ToImmutable();
                return;
            }
        }

        _untried = null;
    }

    // ------------------------------------------------------------------------------------------------------------------ what others may know

    /// <summary>How far a resource got.</summary>
    public Delivery DeliveryOf(string name, ResourceSet current)
    {
        if (!IsSubscribed(name))
        {
            return default;
        }

        // A whole fleet is asked with each write, and of most streams nothing is under way.
        return _unanswered.Count == 0 && _parked is null && _next is null && _sent.Count == 0 && ReferenceEquals(_base, current)
            ? AnsweredDelivery(current.Find(name))
            : DeliveryUnderWay(name, current);
    }

    private Delivery AnsweredDelivery(EncodedResource? held) =>
        new(held is null && LastNonce == 0 ? DeliveryState.None : DeliveryState.Acked, held?.Version, null);

    private Delivery DeliveryUnderWay(string name, ResourceSet current)
    {
        // Of what this stream was not told of yet, a refusal of what it replaces says nothing.
        if (_parked?.TryGetValue(name, out var parked) == true && parked.Refusal is not null && IsSame(current.Find(name), parked.Content))
        {
            return new Delivery(DeliveryState.Nacked, parked.Content.Version, parked.Refusal);
        }

        var sent = SentFor(name);
        if (!IsSame(sent, current.Find(name)))
        {
            return new Delivery(DeliveryState.Pending, sent?.Version, null);
        }

        foreach (var response in _unanswered)
        {
            if (response.IsWhole || response.Changes.Any(item => item.Name == name && !IsSame(item.Before, item.Content)))
            {
                return new Delivery(DeliveryState.Pending, sent?.Version, null);
            }
        }

        return AnsweredDelivery(sent);
    }

    public SubscriptionStatus Status() =>
        new()
        {
            Type = type,
            Wildcard = Wildcard,
            Names = [.. Named.Order(StringComparer.Ordinal)],
            SentVersion = _sentAt is null ? null : Format(_sentVersion),
            AckedVersion = _ackedAt is null ? null : Format(_ackedVersion),
            SentAt = _sentAt,
            AckedAt = _ackedAt,
            ResponseTime = _responseTime,
            Unanswered = _unanswered.Count,
            UnansweredSince = _unanswered.Count == 0 ? null : _unanswered[0].SentAt,
            LastRefusal = _lastRefusal,
            LastRefusalAt = _lastRefusalAt,
            Refusals =
            [
                .. (_parked?.Values ?? Enumerable.Empty<Parked>())
                    .Where(parked => parked.Refusal is not null)
                    .Select(parked => parked.Refusal!)
                    .OrderBy(refusal => refusal.Name, StringComparer.Ordinal),
            ],
            Gates = [.. Gates.OrderBy(gate => gate.Name, StringComparer.Ordinal)],
        };

    private static string Format(UInt128 version) => version.ToString("x32", null);
}
