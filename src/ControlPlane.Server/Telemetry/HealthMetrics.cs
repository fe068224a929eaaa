using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Text.Json;
using ControlPlane.Core.Health;
using ControlPlane.Resources;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.Publishing;

namespace ControlPlane.Server.Telemetry;

/// <summary>What is known of endpoints' health, and what was made of it.</summary>
internal sealed class HealthMetrics
{
    public const string MeterName = "ControlPlane.Health";

    private static readonly string[] Kinds = ["active", "traffic", "owner"];

    private readonly ConcurrentDictionary<string, HealthCounts> _counts = [];
    private readonly CurrentState _state;
    private readonly TimeProvider _time;
    private readonly Counter<long> _received;
    private readonly Counter<long> _transitions;
    private readonly Counter<long> _guards;
    private readonly Histogram<double> _age;
    private readonly Histogram<double> _evaluation;

    // Negative: not known here.
    private int _quarantined;
    private int _leads;

    public HealthMetrics(IMeterFactory factory, CurrentState state, TimeProvider time)
    {
        _state = state;
        _time = time;
        var meter = factory.Create(MeterName);
        _received = meter.CreateCounter<long>(
            "health.evidence.received",
            "{evidence}",
            "Pieces of evidence about endpoints, by what became of them."
        );
        _age = meter.CreateHistogram(
            "health.evidence.age",
            "s",
            "Time from the beginning of a check, or of the time that a load report covers, until it was received.",
            advice: Buckets.Seconds
        );
        _evaluation = meter.CreateHistogram(
            "health.evaluation.duration",
            "s",
            "Time of one evaluation of the evidence.",
            advice: Buckets.Seconds
        );
        meter.CreateObservableGauge(
            "health.observers.quarantined",
            () =>
                Volatile.Read(ref _quarantined) is >= 0 and var quarantined
                    ? [new Measurement<int>(quarantined)]
                    : Array.Empty<Measurement<int>>(),
            "{observer}",
            "Observers whose failures do not count, because the others contradict them."
        );
        meter.CreateObservableGauge(
            "health.leader",
            () => Volatile.Read(ref _leads),
            description: "1 while this server decides about health, 0 while it follows another one."
        );
        _transitions = meter.CreateCounter<long>("upstream.transitions", "{transition}", "Steps of endpoints' state machines.");
        _guards = meter.CreateCounter<long>(
            "upstream.guard.activations",
            "{activation}",
            "Endpoints that the evidence condemns, and that a guard began to keep in service."
        );
        meter.CreateObservableGauge(
            "upstream.healthy_ratio",
            () => Ratios().Select(r => Of(r.Upstream, r.Ratio)),
            description: "Share of the endpoints that the evidence does not condemn, of those that no operator took out; under central health."
        );
        meter.CreateObservableGauge(
            "upstream.healthy_ratio_floor",
            () => Ratios().Select(r => Of(r.Upstream, r.Floor)),
            description: "The share of endpoints that is to stay healthy (minimumHealthyPercent)."
        );
        meter.CreateObservableGauge("upstream.overrides", CountOverrides, "{override}", "Operators' orders in force.");

        // A rate must not begin with the first event: every usual series is there from the start.
        foreach (var kind in Kinds)
        {
            _received.Add(0, Tag("kind", kind), Tag("outcome", Word(EvidenceOutcome.Accepted)));
        }

        foreach (
            var guard in Enum.GetValues<HealthGuard>().Where(g => g is not (HealthGuard.None or HealthGuard.SourceLoss or HealthGuard.Ramp))
        )
        {
            _guards.Add(0, Tag("guard", guard.Name()));
        }

        foreach (var (from, to, rule) in UsualTransitions)
        {
            _transitions.Add(0, Tag("from", Word(from)), Tag("to", Word(to)), Tag("rule", rule.Name()));
        }
    }

    private static IReadOnlyList<(HealthState From, HealthState To, HealthRule Rule)> UsualTransitions { get; } =
    [
        (HealthState.New, HealthState.Up, HealthRule.FirstPass),
        (HealthState.Up, HealthState.Down, HealthRule.ActiveQuorum),
        (HealthState.Up, HealthState.Down, HealthRule.FleetOutlier),
        (HealthState.Up, HealthState.Suspect, HealthRule.Partial),
        (HealthState.Suspect, HealthState.Down, HealthRule.ActiveQuorum),
        (HealthState.Suspect, HealthState.Up, HealthRule.Up),
        (HealthState.Down, HealthState.Probation, HealthRule.UpVote),
        (HealthState.Probation, HealthState.Up, HealthRule.RampDone),
        (HealthState.Probation, HealthState.Down, HealthRule.ActiveQuorum),
    ];

    /// <summary>Evidence was taken.</summary>
    public void Received(HealthEvidence evidence, EvidenceOutcome outcome, DateTimeOffset receivedAt)
    {
        _received.Add(1, Tag("kind", KindOf(evidence)), Tag("outcome", Word(outcome)));
        var age = evidence switch
        {
            CheckResult { BegunAt: { } begun } => receivedAt - begun,
            LoadReport report => report.Interval,
            _ => (TimeSpan?)null,
        };
        if (age is { } known)
        {
            // Never negative: the author's clock is its own.
            _age.Record(Math.Max(0, known.TotalSeconds), Tag("kind", KindOf(evidence)));
        }
    }

    /// <summary>Evidence was dropped, because too much was waiting.</summary>
    public void Dropped(IReadOnlyList<HealthEvidence> evidence)
    {
        foreach (var kind in evidence.GroupBy(KindOf))
        {
            _received.Add(kind.Count(), Tag("kind", kind.Key), Tag("outcome", "dropped"));
        }
    }

    /// <summary>An evaluation ended.</summary>
    public void Evaluated(TimeSpan duration) => _evaluation.Record(duration.TotalSeconds);

    /// <summary>An endpoint changed its state.</summary>
    public void Moved(HealthTransition transition) =>
        _transitions.Add(1, Tag("from", Word(transition.From)), Tag("to", Word(transition.To)), Tag("rule", transition.Rule.Name()));

    /// <summary>A guard began to keep an endpoint.</summary>
    public void Guarded(HealthGuard guard) => _guards.Add(1, Tag("guard", guard.Name()));

    /// <summary>Whether this server decides now.</summary>
    public void Led(bool leads) => Volatile.Write(ref _leads, leads ? 1 : 0);

    /// <summary>How many observers are in quarantine now; null where another server decides that.</summary>
    public void Quarantined(int? observers) => Volatile.Write(ref _quarantined, observers ?? -1);

    /// <summary>How an upstream's endpoints stand now; null if its health is not decided here any more.</summary>
    public void Count(string upstream, HealthCounts? counts)
    {
        if (counts is not null)
        {
            _counts[upstream] = counts;
        }
        else
        {
            _counts.TryRemove(upstream, out _);
        }
    }

    /// <summary>How an upstream's endpoints stand; null if its health is not decided here.</summary>
    public HealthCounts? CountsOf(string upstream) => _counts.GetValueOrDefault(upstream);

    private IEnumerable<(string Upstream, double Ratio, double Floor)> Ratios()
    {
        foreach (var (upstream, counts) in _counts)
        {
            if (
                counts.HealthyRatio is { } ratio
                && _state.Desired.Find(new ResourceKey(ResourceKind.Upstream, upstream))?.Manifest.Spec is UpstreamSpec spec
            )
            {
                yield return (upstream, ratio, spec.Health.MinimumHealthyPercent / 100.0);
            }
        }
    }

    private IEnumerable<Measurement<int>> CountOverrides()
    {
        var desired = _state.Desired;
        var now = _time.GetUtcNow();
        var counts = Enum.GetValues<OverrideAction>().ToDictionary(action => action, _ => 0);
        foreach (var upstream in desired.List(ResourceKind.Upstream).Keys)
        {
            foreach (var (_, order) in desired.Children(ResourceKind.Override, upstream))
            {
                var spec = (OverrideSpec)order.Manifest.Spec;
                counts[spec.Action] += spec.ExpiresAt <= now ? 0 : 1;
            }
        }

        return counts.Select(c => new Measurement<int>(c.Value, Tag("action", Word(c.Key))));
    }

    private static Measurement<double> Of(string upstream, double value) => new(value, Tag("upstream", upstream));

    private static string KindOf(HealthEvidence evidence) => Kinds[(int)evidence.Kind];

    private static string Word<T>(T value)
        where T : struct, Enum => JsonNamingPolicy.SnakeCaseLower.ConvertName(value.ToString());

    private static KeyValuePair<string, object?> Tag(string name, string value) => KeyValuePair.Create<string, object?>(name, value);
}
