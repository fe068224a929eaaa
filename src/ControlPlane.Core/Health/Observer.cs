namespace ControlPlane.Core.Health;

/// <summary>Somebody who checks endpoints: the probers of one of our zones (under one stable id, whichever server runs them), or an outside observer.</summary>
internal sealed class Observer(string author, int zone, bool isOurs)
{
    /// <summary>How long an observer that says nothing still is one that there is.</summary>
    public static readonly TimeSpan ExistsFor = TimeSpan.FromMinutes(10);

    public string Author { get; } = author;

    /// <summary>Of ours, where it stands: index in the ledger's zones. An outside observer says so with each result.</summary>
    public int Zone { get; private set; } = zone;

    /// <summary>Ours probes every upstream that has checks; an outside observer only what it has spoken of.</summary>
    public bool IsOurs { get; private set; } = isOurs;

    /// <summary>False once it disconnected or was forgotten: its opinions do not count any more.</summary>
    public bool IsPresent { get; set; } = true;

    /// <summary>Last evidence, or when it connected.</summary>
    public Instant SeenAt { get; set; } = Instant.Never;

    /// <summary>Since when its FAILs do not count; not set while they do.</summary>
    public Instant QuarantinedSince { get; set; } = Instant.Never;

    /// <summary>Since when a quarantined observer has been in line with the others.</summary>
    public Instant CleanSince { get; set; } = Instant.Never;

    /// <summary>Since when it has passed too many endpoints that the others fail.</summary>
    public Instant StuckSince { get; set; } = Instant.Never;

    /// <summary>Whether its PASSes do not count either.</summary>
    public bool IsStuck { get; set; }

    /// <summary>Until when it doubts itself: half weight, longer timeouts.</summary>
    public Instant DoubtUntil { get; set; } = Instant.Never;

    /// <summary>How much it doubts itself, 0 to 8: its timeouts are multiplied by one more than this.</summary>
    public double Doubt { get; set; }

    /// <summary>Endpoints on which it can be compared with at least two others.</summary>
    public int Compared { get; set; }

    /// <summary>Of those, how many it fails and the others pass.</summary>
    public int FalseFails { get; set; }

    /// <summary>Of those, how many it passes and the others fail.</summary>
    public int FalsePasses { get; set; }

    public bool IsQuarantined => QuarantinedSince.IsSet;

    public double Weight(Instant now) => now < DoubtUntil ? 0.5 : 1.0;

    /// <summary>Whether what it says now counts: FAILs not in quarantine, PASSes not while it is stuck.</summary>
    public bool IsTrustedWith(OpinionVerdict verdict) => verdict == OpinionVerdict.Fail ? !IsQuarantined : !IsStuck;

    /// <summary>An observer that comes back after it left begins anew.</summary>
    public void Return(int zone, bool isOurs)
    {
        Zone = zone;
        IsOurs = isOurs;
        if (IsPresent)
        {
            return;
        }
        IsPresent = true;
        IsStuck = false;
        QuarantinedSince = CleanSince = StuckSince = DoubtUntil = Instant.Never;
        Doubt = 0;
    }
}

/// <summary>What one observer says of one endpoint.</summary>
internal enum OpinionVerdict : byte
{
    /// <summary>Neither a PASS nor enough FAILs yet.</summary>
    Unknown,
    Pass,
    Fail,
}

/// <summary>How an opinion compares with the majority of the others, as counted in the observer's totals.</summary>
internal enum OpinionComparison : byte
{
    /// <summary>Too few others, or not fresh.</summary>
    None,
    Agrees,
    FalseFail,
    FalsePass,
}

/// <summary>What one observer says of one endpoint: its last results, counted (fall and rise), and what they amount to.</summary>
internal struct Opinion
{
    /// <summary>Of consecutive results, not more than any rule asks for.</summary>
    private const ushort MaxCount = ushort.MaxValue;

    /// <summary>Of a text in characters.</summary>
    private const int MaxText = 200;

    public OpinionVerdict Verdict;
    public FailureClass Class;
    public OpinionComparison Comparison;

    /// <summary>Where it was gathered: index in the ledger's zones.</summary>
    public int Zone;

    /// <summary>Whether it was gathered by the configured checks, and goes with them when they are changed.</summary>
    public bool IsOfCheck;

    /// <summary>Consecutive failures, 0 after a pass.</summary>
    public ushort Fails;

    /// <summary>Consecutive passes, 0 after a failure.</summary>
    public ushort Passes;

    public Instant ReceivedAt;

    /// <summary>The last moment at which the opinion counts.</summary>
    public Instant ExpiresAt;

    /// <summary>When the first failing check of this series began; not set after a pass.</summary>
    public Instant FirstFailAt;

    /// <summary>Since when it contradicts the majority of the others, unbroken; not set while it does not.</summary>
    public Instant ContradictsSince;

    public string Text;

    public static Opinion None =>
        new()
        {
            ReceivedAt = Instant.Never,
            ExpiresAt = Instant.Never,
            FirstFailAt = Instant.Never,
            ContradictsSince = Instant.Never,
            Text = "",
        };

    /// <summary>Adds a result.</summary>
    /// <returns>Whether anything changed that a rule reads; a further pass of what passes, or failure of what has long failed, changes nothing.</returns>
    public bool Apply(CheckResult result, int zone, HealthPolicy policy, Instant now)
    {
        var expires = now + result.TimeToLive;
        var changed = now > ExpiresAt || expires < ExpiresAt || zone != Zone;
        Zone = zone;
        ReceivedAt = now;
        ExpiresAt = expires;
        IsOfCheck = result.CheckDigest.Length > 0;
        changed |= result.Passed ? Pass(policy) : Fail(result, policy, now);
        if (!result.Passed || Verdict == OpinionVerdict.Pass)
        {
            // While a FAIL stands, its words do, too.
            Text = Cleaned(result.Text);
        }
        return changed;
    }

    /// <summary>The words as they may stand in a sentence and a log line.</summary>
    private static string Cleaned(string text)
    {
        text = text.Length <= MaxText ? text : text[..MaxText];
        return text.Any(char.IsControl) ? string.Concat(text.Select(c => char.IsControl(c) ? ' ' : c)) : text;
    }

    private bool Pass(HealthPolicy policy)
    {
        var changed = Fails > 0 || Verdict != OpinionVerdict.Pass;
        Passes = Passes == MaxCount ? MaxCount : (ushort)(Passes + 1);
        Fails = 0;
        FirstFailAt = Instant.Never;
        if (Verdict == OpinionVerdict.Unknown || Passes >= policy.Rise)
        {
            Verdict = OpinionVerdict.Pass;
            Class = FailureClass.None;
        }
        return changed;
    }

    private bool Fail(CheckResult result, HealthPolicy policy, Instant now)
    {
        Fails = Fails == MaxCount ? MaxCount : (ushort)(Fails + 1);
        Passes = 0;
        var failure = result.Class == FailureClass.None ? FailureClass.Unknown : result.Class;
        var changed = Fails <= Math.Max(policy.Fall, policy.FallOfFew) || Class != failure;
        Class = failure;
        if (!FirstFailAt.IsSet)
        {
            FirstFailAt = result.BegunAt is { } begun ? Instant.Earlier(Instant.Of(begun), now) : now;
        }
        if (Fails >= policy.Fall)
        {
            changed |= Verdict != OpinionVerdict.Fail;
            Verdict = OpinionVerdict.Fail;
        }
        return changed;
    }
}

/// <summary>The opinions about one endpoint, in the order in which their observers first spoke of it.</summary>
internal sealed class OpinionList
{
    private Observer[] _observers = [];
    private Opinion[] _opinions = [];

    public int Count { get; private set; }

    public ReadOnlySpan<Observer> Observers => _observers.AsSpan(0, Count);

    public Span<Opinion> Opinions => _opinions.AsSpan(0, Count);

    /// <summary>The opinion of an observer, which is made unknown if there was none.</summary>
    public ref Opinion Of(Observer observer)
    {
        var at = IndexOf(observer);
        if (at >= 0)
        {
            return ref _opinions[at];
        }
        if (Count == _observers.Length)
        {
            var size = Math.Max(2, 2 * Count);
            Array.Resize(ref _observers, size);
            Array.Resize(ref _opinions, size);
        }
        _observers[Count] = observer;
        _opinions[Count] = Opinion.None;
        return ref _opinions[Count++];
    }

    public int IndexOf(Observer observer) => Array.IndexOf(_observers, observer, 0, Count);

    /// <summary>Whether the opinion at an index counts at a moment: of an observer that there is, decided, and within its time to live.</summary>
    public bool IsFresh(int index, Instant now) =>
        _opinions[index].Verdict != OpinionVerdict.Unknown && now <= _opinions[index].ExpiresAt && _observers[index].IsPresent;

    /// <summary>When the first failing check of a series began that goes on, of any observer that counts; not set without one.</summary>
    public Instant FailingSince(Instant now)
    {
        var since = Instant.Forever;
        for (var i = 0; i < Count; i++)
        {
            if (_opinions[i].FirstFailAt.IsSet && now <= _opinions[i].ExpiresAt && _observers[i].IsPresent)
            {
                since = Instant.Earlier(since, _opinions[i].FirstFailAt);
            }
        }
        return since < Instant.Forever ? since : Instant.Never;
    }

    /// <summary>Begins an opinion anew, in its old place.</summary>
    public void Reset(int index)
    {
        Compare(index, OpinionComparison.None);
        _opinions[index] = Opinion.None with { ReceivedAt = _opinions[index].ReceivedAt };
    }

    /// <summary>Forgets the opinions that expired longer ago than an observer exists without a word.</summary>
    public void Forget(Instant now)
    {
        var kept = 0;
        for (var i = 0; i < Count; i++)
        {
            if (now - Instant.Later(_opinions[i].ReceivedAt, _opinions[i].ExpiresAt) > Observer.ExistsFor)
            {
                Compare(i, OpinionComparison.None);
                continue;
            }
            if (kept < i)
            {
                (_observers[kept], _opinions[kept]) = (_observers[i], _opinions[i]);
            }
            kept++;
        }
        Array.Clear(_observers, kept, Count - kept);
        Count = kept;
    }

    /// <summary>Forgets all, for an endpoint that goes.</summary>
    public void Clear()
    {
        for (var i = 0; i < Count; i++)
        {
            Compare(i, OpinionComparison.None);
        }
        Array.Clear(_observers, 0, Count);
        Count = 0;
    }

    /// <summary>Counts how an opinion compares with the others in its observer's totals, instead of how it did.</summary>
    public void Compare(int index, OpinionComparison comparison)
    {
        ref var opinion = ref _opinions[index];
        if (opinion.Comparison == comparison)
        {
            return;
        }
        Add(_observers[index], opinion.Comparison, -1);
        Add(_observers[index], comparison, +1);
        opinion.Comparison = comparison;
    }

    private static void Add(Observer observer, OpinionComparison comparison, int by)
    {
        observer.Compared += comparison == OpinionComparison.None ? 0 : by;
        observer.FalseFails += comparison == OpinionComparison.FalseFail ? by : 0;
        observer.FalsePasses += comparison == OpinionComparison.FalsePass ? by : 0;
    }
}
