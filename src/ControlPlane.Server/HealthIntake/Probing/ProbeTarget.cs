using ControlPlane.Core.Compilation.Probes;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>
/// An endpoint that is probed again and again. It waits in the timer wheel for its next probe or, while one runs, for the end of its time. What is not said otherwise is
/// guarded by the engine's lock.
/// </summary>
internal sealed class ProbeTarget(ProbePlan plan, ProbeEndpoint endpoint, long addedTick) : WheelEntry
{
    private ProbeConnection?[]? _kept;

    // Guarded by a lock on this object: it is what one thread uses and another may abort.
    private ProbeConnection? _current;
    private ProbeConnection?[]? _besides;
    private bool _isOverdue;

    private ushort _fails;
    private ushort _passes;
    private Opinion _opinion;

    private enum Opinion : byte
    {
        Unknown,
        Pass,
        Fail,
    }

    public ProbePlan Plan { get; set; } = plan;

    public ProbeEndpoint Endpoint { get; } = endpoint;

    /// <summary>When it became a target.</summary>
    public long AddedTick { get; } = addedTick;

    public bool IsRunning { get; set; }

    /// <summary>Nobody wants to know any more: the result of a probe that still runs is dropped.</summary>
    public bool IsRemoved { get; set; }

    /// <summary>Whether it has passed once, and so is settled: its further probes are spread over the interval.</summary>
    public bool HasPassed { get; private set; }

    /// <summary>Counts a result as the health model does for one observer (section 4.5): who is about to change its opinion looks closer.</summary>
    /// <returns>Whether it is the first pass.</returns>
    public bool Count(bool passed)
    {
        var policy = Plan.Policy;
        if (!passed)
        {
            _passes = 0;
            _fails = (ushort)Math.Min(_fails + 1, ushort.MaxValue);
            if (_fails >= policy.Fall)
            {
                _opinion = Opinion.Fail;
            }
            return false;
        }
        _fails = 0;
        _passes = (ushort)Math.Min(_passes + 1, ushort.MaxValue);
        if (_opinion == Opinion.Unknown || _passes >= policy.Rise)
        {
            _opinion = Opinion.Pass;
        }
        if (_opinion != Opinion.Pass)
        {
            // It failed long enough before that one pass says little: the next one is looked for soon.
            return false;
        }
        var isFirst = !HasPassed;
        HasPassed = true;
        return isFirst;
    }

    /// <summary>Whether the next result can change this prober's opinion, or complete what few observers need to decide.</summary>
    public bool IsChangePending =>
        _opinion switch
        {
            Opinion.Pass => _fails > 0,
            Opinion.Fail => _passes > 0 || _fails < Plan.Policy.FallOfFew,
            _ => true,
        };

    /// <summary>A probe begins: the time of the one before is forgotten.</summary>
    public void BeginTime()
    {
        lock (this)
        {
            _isOverdue = false;
        }
    }

    /// <summary>What is used from now on; it is aborted at once if the time is over already.</summary>
    /// <param name="way">The number of the way to the endpoint: one connection of each is in use at a time.</param>
    /// <param name="connection">The connection; null is none.</param>
    public void Use(int way, ProbeConnection? connection)
    {
        lock (this)
        {
            if (way == 0)
            {
                _current = connection;
            }
            else
            {
                // Nearly all endpoints have one way, and nothing for others.
                (_besides ??= new ProbeConnection?[Endpoint.Ways.Length - 1])[way - 1] = connection;
            }
            if (_isOverdue)
            {
                connection?.Abort();
            }
        }
    }

    /// <summary>The time of the probe that runs is over.</summary>
    public void EndTime()
    {
        lock (this)
        {
            _isOverdue = true;
            _current?.Abort();
            foreach (var connection in _besides ?? [])
            {
                connection?.Abort();
            }
        }
    }

    /// <summary>Takes the connection that an earlier probe left; of the probe that runs.</summary>
    public ProbeConnection? TakeKept(int index)
    {
        var kept = _kept?[index];
        if (kept is not null)
        {
            _kept![index] = null;
        }
        return kept;
    }

    /// <summary>Leaves a connection for the next probe; of the probe that runs.</summary>
    public void Keep(int index, ProbeConnection connection)
    {
        connection.IsReused = true;
        if (_kept is null)
        {
            // Of several ways each may be the first to leave one.
            lock (this)
            {
                _kept ??= new ProbeConnection?[Endpoint.Ways.Sum(w => w.Probes.Length)];
            }
        }
        _kept[index] = connection;
    }

    /// <summary>Closes what was kept; while no probe runs.</summary>
    public void CloseKept()
    {
        foreach (var connection in _kept ?? [])
        {
            connection?.Dispose();
        }
        _kept = null;
    }
}
