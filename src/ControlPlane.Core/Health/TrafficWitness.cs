namespace ControlPlane.Core.Health;

/// <summary>
/// What the newest load reports of an upstream testify about an endpoint that its observers fail (4.4). Only reports that are young enough count, and of
/// each Envoy only the newest one.
/// </summary>
internal sealed class TrafficWitness(UpstreamEvidence evidence, FleetHealth fleet)
{
    /// <summary>Requests without which traffic has no opinion.</summary>
    private const int MinimumRequests = 5;

    /// <summary>How far back a failure counts as a second witness of one observer (4.3).</summary>
    private static readonly TimeSpan FailureCounts = TimeSpan.FromSeconds(30);

    private Instant _totalsOf = Instant.Never;
    private RequestCounts[] _totals = [];
    private RequestCounts[] _own = [];

    /// <summary>How long a report is "the newest": one and a half intervals.</summary>
    private TimeSpan NewestCounts => 1.5 * fleet.Policy.LoadReportInterval;

    private TimeSpan ReporterCounts => 2.5 * fleet.Policy.LoadReportInterval;

    /// <summary>The totals of the newest reports are taken anew at each evaluation.</summary>
    public void Begin() => _totalsOf = Instant.Never;

    /// <summary>4.4: the newest reports show that an endpoint is down, all together and in each zone that sent enough.</summary>
    public bool Agrees(int endpoint)
    {
        SumTotals();
        Array.Clear(_own);
        var own = default(RequestCounts);
        var all = default(RequestCounts);
        foreach (var reporter in evidence.Reporters)
        {
            if (IsNewest(reporter))
            {
                RequestCounts counts = reporter.Newest(endpoint);
                _own[reporter.Zone] += counts;
                own += counts;
                all += reporter.NewestTotal;
            }
        }
        if (LooksDown(own, all - own) != true)
        {
            return false;
        }
        for (var zone = 0; zone < _own.Length; zone++)
        {
            if (LooksDown(_own[zone], _totals[zone] - _own[zone]) == false)
            {
                return false;
            }
        }
        return true;
    }

    /// <summary>4.4: the newest reports show enough requests, less than half of them failed.</summary>
    public bool ShowsSuccess(int endpoint)
    {
        var own = default(RequestCounts);
        foreach (var reporter in evidence.Reporters)
        {
            own += IsNewest(reporter) ? reporter.Newest(endpoint) : default;
        }
        return own.Total >= MinimumRequests && own.Errors < 0.5 * own.Total;
    }

    /// <summary>4.3: any failure within 30 s.</summary>
    public bool ShowsFailure(int endpoint) => fleet.Now - evidence.Endpoints[endpoint].ErrorReportedAt <= FailureCounts;

    /// <summary>4.4, 4.5: what the newest reports that began after a moment say of an endpoint, and how many they are.</summary>
    /// <param name="endpoint">Its index.</param>
    /// <param name="begunAfter">The moment, for example that of the first failing probe.</param>
    /// <param name="windows">How many windows old a report may be.</param>
    public (RequestCounts Counts, int Reports) Since(int endpoint, Instant begunAfter, int windows)
    {
        var counts = default(RequestCounts);
        var reports = 0;
        foreach (var reporter in evidence.Reporters)
        {
            if (fleet.Now - reporter.ReceivedAt <= windows * fleet.Policy.LoadReportInterval && reporter.BegunAt >= begunAfter)
            {
                counts += reporter.Newest(endpoint);
                reports++;
            }
        }
        return (counts, reports);
    }

    /// <summary>Envoys that report about this upstream at present.</summary>
    public int CountReporters()
    {
        var count = 0;
        foreach (var reporter in evidence.Reporters)
        {
            count += fleet.Now - reporter.ReceivedAt <= ReporterCounts ? 1 : 0;
        }
        return count;
    }

    /// <summary>The next moment at which a report becomes too old for one of the answers above.</summary>
    public Instant NextChange(int windows)
    {
        ReadOnlySpan<TimeSpan> ages = [NewestCounts, windows * fleet.Policy.LoadReportInterval, ReporterCounts];
        var next = Instant.Forever;
        foreach (var reporter in evidence.Reporters)
        {
            foreach (var age in ages)
            {
                var at = (reporter.ReceivedAt + age).Next;
                next = at > fleet.Now ? Instant.Earlier(next, at) : next;
            }
        }
        return next;
    }

    /// <summary>The next moment at which a failure becomes too old.</summary>
    public Instant FailureForgotten(int endpoint) => (evidence.Endpoints[endpoint].ErrorReportedAt + FailureCounts).Next;

    public Instant ExpiresAt(LoadReporter reporter) => reporter.ReceivedAt + NewestCounts;

    public bool IsNewest(LoadReporter reporter) => fleet.Now - reporter.ReceivedAt <= NewestCounts;

    /// <summary>4.4: ≥ 90 % failed, or ≥ 50 % and ≥ 25 points more than on the others; null if there are too few requests to tell.</summary>
    private static bool? LooksDown(RequestCounts own, RequestCounts others)
    {
        if (own.Total < MinimumRequests)
        {
            return null;
        }
        var rate = own.ErrorRate;
        var elsewhere = others.Total > 0 ? others.ErrorRate : 1.0;
        return rate >= 0.9 || (rate >= 0.5 && rate - elsewhere >= 0.25);
    }

    private void SumTotals()
    {
        if (_totalsOf == fleet.Now && _totals.Length == fleet.Ledger.Zones.Count)
        {
            return;
        }
        _totalsOf = fleet.Now;
        if (_totals.Length < fleet.Ledger.Zones.Count)
        {
            _totals = new RequestCounts[fleet.Ledger.Zones.Count];
            _own = new RequestCounts[fleet.Ledger.Zones.Count];
        }
        Array.Clear(_totals);
        foreach (var reporter in evidence.Reporters)
        {
            if (IsNewest(reporter))
            {
                _totals[reporter.Zone] += reporter.NewestTotal;
            }
        }
    }
}
