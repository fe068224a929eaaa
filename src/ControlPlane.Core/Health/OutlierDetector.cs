namespace ControlPlane.Core.Health;

/// <summary>
/// Fleet outlier detection on merged load reports (4.6): at each multiple of the report interval all endpoints of an upstream are judged on the reports
/// received since the one before. One instance serves all upstreams; it holds scratch space.
/// </summary>
internal sealed class OutlierDetector(FleetHealth fleet)
{
    /// <summary>Bad windows in a row before anything follows.</summary>
    private const int HitsToAct = 2;

    /// <summary>Clean windows in a row from which a cut weight rises.</summary>
    private const int CleanToRaise = 2;

    /// <summary>4.6: error rate of all together from which errors everywhere alike are an incident.</summary>
    private const double UniformErrorRate = 0.05;

    /// <summary>How long an endpoint must be UP before its ejection multiplier decays.</summary>
    private static readonly TimeSpan DecayAfter = TimeSpan.FromSeconds(10);

    private readonly Dictionary<LoadReporter, RequestCounts> _pooledByEnvoy = [];
    private readonly bool[] _isPooled = new bool[WindowHistory.Length + 1];
    private readonly OutlierJudgement[][] _pooled = new OutlierJudgement[WindowHistory.Length + 1][];
    private EnvoyCounts[] _byEnvoy = [];
    private (LoadReporter, RequestCounts)[] _sources = [];
    private RequestCounts[] _counts = [];
    private RequestCounts[] _pooledCounts = [];
    private bool[] _isDown = [];
    private bool[] _isOutlier = [];
    private OutlierJudgement[] _judgements = [];

    /// <summary>Whether the window of an upstream is over. Windows end at multiples of the report interval, for all upstreams alike.</summary>
    public bool IsDue(UpstreamHealth u)
    {
        if (u.Evidence.HasTraffic && !u.NextWindowAt.IsSet)
        {
            var interval = fleet.Policy.LoadReportInterval.Ticks;
            u.NextWindowAt = u.Evidence.TrafficSince.IsSet
                ? new Instant((u.Evidence.TrafficSince.Ticks + interval - 1) / interval * interval)
                : new Instant(((fleet.Now.Ticks / interval) + 1) * interval);
        }
        return u.NextWindowAt.IsSet && fleet.Now >= u.NextWindowAt;
    }

    /// <summary>Closes the window if it is over.</summary>
    public void CloseWindow(UpstreamHealth u)
    {
        if (!IsDue(u))
        {
            return;
        }
        var interval = fleet.Policy.LoadReportInterval;
        u.NextWindowAt += (((fleet.Now - u.NextWindowAt).Ticks / interval.Ticks) + 1) * interval;
        u.WindowNumber++;
        u.IsUnsettled = true;
        var reporting = Merge(u);
        Judge(u, _counts, _judgements);
        Array.Clear(_isPooled);
        var (all, inService) = (default(RequestCounts), default(RequestCounts));
        var anyOutlier = false;
        for (var i = 0; i < u.Endpoints.Length; i++)
        {
            if (_judgements[i].IsOutlier)
            {
                AskForBreadth(u, ref _judgements[i], SourcesOfWindow(u, i), reporting);
            }
            all += _counts[i];
            inService += _isDown[i] ? default : _counts[i];
            anyOutlier |= _judgements[i].IsOutlier;
        }
        // Who is DOWN says nothing of how the others do.
        u.HasUniformErrors =
            inService.Total >= u.Policy.FleetOutlier.MinimumRequests && inService.ErrorRate >= UniformErrorRate && !anyOutlier;
        foreach (var e in u.Endpoints)
        {
            JudgeEndpoint(u, e, _judgements[e.Index], reporting);
            if (e.State == HealthState.Up && fleet.Now - e.UpSince >= DecayAfter)
            {
                e.Ejections.Decay();
            }
        }
        foreach (var reporter in u.Evidence.Reporters)
        {
            reporter.CloseWindow();
        }
        Rest(u, isIdle: all.Total == 0);
    }

    /// <summary>Sums the open window by endpoint, and keeps it: with its Envoys where it is thin, since it may be judged together with others.</summary>
    /// <returns>Envoys that reported.</returns>
    private int Merge(UpstreamHealth u)
    {
        var n = u.Endpoints.Length;
        Grow(n, u.Evidence.Reporters.Count);
        Array.Clear(_counts, 0, n);
        var reporting = 0;
        foreach (var reporter in u.Evidence.Reporters)
        {
            if (!reporter.IsInWindow)
            {
                continue;
            }
            reporting++;
            var window = reporter.Window;
            for (var i = 0; i < window.Length && i < n; i++)
            {
                _counts[i] += window[i];
            }
        }
        foreach (var e in u.Endpoints)
        {
            _isDown[e.Index] = e.State == HealthState.Down;
            var counts = _counts[e.Index];
            if (counts.Total > 0)
            {
                var isThin = counts.Total < u.Policy.FleetOutlier.MinimumRequests;
                (e.Evidence.Windows ??= new WindowHistory()).Add(u.WindowNumber, counts, isThin ? EnvoysOfWindow(u, e.Index) : []);
            }
        }
        return reporting;
    }

    /// <summary>Judges all endpoints by the policy of the upstream, but for the breadth of the errors.</summary>
    private void Judge(UpstreamHealth u, ReadOnlySpan<RequestCounts> counts, Span<OutlierJudgement> judgements)
    {
        var n = u.Endpoints.Length;
        counts = counts[..n];
        var isDown = _isDown.AsSpan(0, n);
        OutlierStatistics.Judge(u.Policy.FleetOutlier, counts, isDown, judgements[..n]);
        if (u.Policy.OutlierPolicy == OutlierPolicy.Fleet)
        {
            return;
        }
        var isOutlier = _isOutlier.AsSpan(0, n);
        isOutlier.Clear();
        var isGrpc = u.Policy.OutlierPolicy == OutlierPolicy.Grpc;
        EnvoyOutlierDetection.SuccessRate(u.Policy.EnvoyOutlier, counts, isDown, isOutlier);
        EnvoyOutlierDetection.FailurePercentage(u.Policy.EnvoyOutlier, isGrpc, counts, isDown, isOutlier);
        for (var i = 0; i < n; i++)
        {
            // These know no degrees: who is one is out.
            judgements[i].IsOutlier = isOutlier[i];
            judgements[i].Gap = isOutlier[i] ? 1.0 : 0.0;
        }
    }

    /// <summary>A window without judgement is neither clean nor bad; a DOWN endpoint is not judged.</summary>
    private void JudgeEndpoint(UpstreamHealth u, EndpointHealth e, OutlierJudgement judgement, int reporting)
    {
        var minimum = u.Policy.FleetOutlier.MinimumRequests;
        e.Unjudged = Math.Min(WindowHistory.Length, e.Unjudged + 1);
        if (judgement.Counts.Total > 0 && judgement.Counts.Total < minimum && e.State is not (HealthState.Down or HealthState.New))
        {
            judgement = JudgePooled(u, e, reporting) ?? judgement;
        }
        e.Judgement = judgement;
        var isJudged = judgement.Counts.Total >= minimum;
        e.Unjudged = isJudged ? 0 : e.Unjudged;
        if (e.State == HealthState.Down)
        {
            return;
        }
        e.BlindWindows = isJudged || e.Cut >= 1.0 ? 0 : e.BlindWindows + 1;
        if (judgement.IsOutlier)
        {
            CountHit(u, e, judgement);
        }
        else if (isJudged)
        {
            CountClean(u, e);
        }
        else if (e.BlindWindows >= WindowHistory.Length)
        {
            // So little traffic is left that nothing can be said of it any more: absence of evidence must not hold the weight down for ever.
            e.BlindWindows = 0;
            Cut(u, e, WeightSteps.Above(e.Cut));
        }
    }

    /// <summary>A thin endpoint is judged on all its windows since the last judgement, once they hold enough.</summary>
    private OutlierJudgement? JudgePooled(UpstreamHealth u, EndpointHealth e, int reporting)
    {
        var windows = e.Unjudged;
        if (e.Evidence.Windows is not { } history || history.Sum(u.WindowNumber, windows).Total < u.Policy.FleetOutlier.MinimumRequests)
        {
            return null;
        }
        if (!_isPooled[windows])
        {
            foreach (var other in u.Endpoints)
            {
                _pooledCounts[other.Index] = other.Evidence.Windows?.Sum(u.WindowNumber, windows) ?? default;
            }
            if ((_pooled[windows]?.Length ?? 0) < u.Endpoints.Length)
            {
                _pooled[windows] = new OutlierJudgement[_pooledCounts.Length];
            }
            Judge(u, _pooledCounts, _pooled[windows]);
            _isPooled[windows] = true;
        }
        var judgement = _pooled[windows][e.Index];
        judgement.Windows = windows;
        if (judgement.IsOutlier)
        {
            _pooledByEnvoy.Clear();
            history.Sum(u.WindowNumber, windows, _pooledByEnvoy);
            var sources = 0;
            if (_sources.Length < _pooledByEnvoy.Count)
            {
                _sources = new (LoadReporter, RequestCounts)[2 * _pooledByEnvoy.Count];
            }
            foreach (var (reporter, counts) in _pooledByEnvoy)
            {
                _sources[sources++] = (reporter, counts);
            }
            AskForBreadth(u, ref judgement, _sources.AsSpan(0, sources), reporting);
        }
        return judgement;
    }

    /// <summary>Errors that one client has are no outlier of the fleet; Envoy and gRPC do not ask.</summary>
    private static void AskForBreadth(
        UpstreamHealth u,
        ref OutlierJudgement judgement,
        ReadOnlySpan<(LoadReporter, RequestCounts)> sources,
        int reporting
    )
    {
        if (u.Policy.OutlierPolicy == OutlierPolicy.Fleet && OutlierStatistics.NarrowSource(sources, reporting) is { } source)
        {
            (judgement.IsOutlier, judgement.Client) = (false, source.Envoy);
        }
    }

    /// <summary>4.6 response, from the second bad window in a row; G9: the first one in PROBATION halves the weight.</summary>
    private void CountHit(UpstreamHealth u, EndpointHealth e, in OutlierJudgement judgement)
    {
        e.Hits++;
        e.CleanWindows = 0;
        e.LastHitAt = fleet.Now;
        var parameters = u.Policy.FleetOutlier;
        if (e.Hits < HitsToAct)
        {
            e.ProbationFactor = e.State == HealthState.Probation ? 0.5 : e.ProbationFactor;
        }
        else if (e.State == HealthState.Probation || judgement.Gap >= parameters.DownGap || judgement.Rate >= parameters.DownRate)
        {
            e.IsPassiveDown = true;
        }
        else
        {
            Cut(u, e, Math.Min(e.Cut, OutlierStatistics.CutFactor(parameters, judgement.Gap)));
        }
    }

    /// <summary>Takes weight from an endpoint, or gives it back. It stays in its state, but people see its traffic change and ask why.</summary>
    private void Cut(UpstreamHealth u, EndpointHealth e, double cut)
    {
        if (cut != e.Cut)
        {
            e.Cut = cut;
            fleet.Transitions.Add(
                new HealthTransition(u.Name, e.Target.Id, e.State, e.State, fleet.Now.ToTime()!.Value, HealthRule.FleetOutlier)
                {
                    Cut = cut,
                }
            );
        }
    }

    /// <summary>A cut weight rises one step with each clean window from the second in a row on.</summary>
    private void CountClean(UpstreamHealth u, EndpointHealth e)
    {
        e.Hits = 0;
        e.CleanWindows++;
        e.ProbationFactor = 1.0;
        if (e.Cut < 1.0 && e.CleanWindows >= CleanToRaise)
        {
            Cut(u, e, WeightSteps.Above(e.Cut));
        }
    }

    /// <summary>
    /// Windows are closed until nothing of the last traffic is left to judge, or to decay; then not before new traffic comes, so that an idle upstream costs
    /// nothing.
    /// </summary>
    private static void Rest(UpstreamHealth u, bool isIdle)
    {
        u.IdleWindows = isIdle ? u.IdleWindows + 1 : 0;
        if (u.IdleWindows <= WindowHistory.Length)
        {
            return;
        }
        foreach (var e in u.Endpoints)
        {
            if (e.Ejections.Value > 0 || e.Cut < 1.0)
            {
                return;
            }
        }
        u.Evidence.HasTraffic = false;
        u.NextWindowAt = Instant.Never;
        u.IdleWindows = 0;
    }

    private ReadOnlySpan<EnvoyCounts> EnvoysOfWindow(UpstreamHealth u, int endpoint)
    {
        var n = 0;
        foreach (var reporter in u.Evidence.Reporters)
        {
            if (reporter.IsInWindow && endpoint < reporter.Window.Length && reporter.Window[endpoint].Total > 0)
            {
                _byEnvoy[n++] = new EnvoyCounts(reporter, reporter.Window[endpoint]);
            }
        }
        return _byEnvoy.AsSpan(0, n);
    }

    private ReadOnlySpan<(LoadReporter, RequestCounts)> SourcesOfWindow(UpstreamHealth u, int endpoint)
    {
        var n = 0;
        foreach (var (reporter, counts) in EnvoysOfWindow(u, endpoint))
        {
            _sources[n++] = (reporter, counts);
        }
        return _sources.AsSpan(0, n);
    }

    private void Grow(int endpoints, int reporters)
    {
        if (_counts.Length < endpoints)
        {
            _counts = new RequestCounts[endpoints];
            _pooledCounts = new RequestCounts[endpoints];
            _isDown = new bool[endpoints];
            _isOutlier = new bool[endpoints];
            _judgements = new OutlierJudgement[endpoints];
        }
        if (_byEnvoy.Length < reporters)
        {
            _byEnvoy = new EnvoyCounts[reporters];
            _sources = new (LoadReporter, RequestCounts)[reporters];
        }
    }
}
