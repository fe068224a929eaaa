using System.Collections.Immutable;
using System.Globalization;

namespace ControlPlane.Core.Health;

/// <summary>Verdicts in words, for people who find an endpoint missing and want to know why.</summary>
internal static class HealthSentences
{
    /// <summary>The verdict on an upstream.</summary>
    public static string Of(UpstreamHealth u, ZoneView view, ImmutableArray<EndpointExplanation> endpoints)
    {
        var total = endpoints.Length;
        if (total == 0)
        {
            return $"{u.Name} has no endpoints.";
        }
        var condemned = endpoints
            .Where(e => e.State == HealthState.Down || e.Rule == HealthRule.LinkFault || (e.Rule == HealthRule.NeverPassed && IsFailed(e)))
            .ToImmutableArray();
        if (view.IsTotalFailure)
        {
            var inService = endpoints.Count(e => e.Override is null);
            var all =
                inService == total ? (total == 1 ? "The only endpoint" : $"All {total} endpoints")
                : inService == 1 ? "The only endpoint without an operator's order"
                : $"All {inService} endpoints without an operator's order";
            return $"{all} of {u.Name} {Have(inService)} failed: {Causes([.. condemned.Where(e => e.Override is null)])}. {OnTotalFailure(u.OnTotalFailure)}";
        }
        if (view is { IsFrozen: true, IsIncident: true })
        {
            var (were, them) = condemned.Length == 1 ? ("was", "it") : ("were", "them");
            var atOnce = view.IsFrozenWithOthers ? "condemned at once with many of other upstreams" : "condemned at once";
            return $"{condemned.Length} of {Count(total)} of {u.Name} {were} {atOnce}: {Causes(condemned)}. Guard G6 keeps {them} routable until {(condemned.Length == 1 ? "that" : "each")} is "
                + "confirmed, since the cause is probably shared: a dependency, the check, or the observers.";
        }
        var routable = endpoints.Count(IsRoutable);
        var head = $"{routable} of {Count(total)} of {u.Name} {(routable == 1 ? "takes" : "take")} requests";
        var notes = new List<string>();
        if (u.HasUniformErrors)
        {
            notes.Add("requests fail everywhere alike, so nobody is singled out");
        }
        if (condemned.Length > 0)
        {
            var kept = condemned.Where(IsRoutable).ToList();
            var guards = kept.SelectMany(e => e.Guards.Select(g => g.Guard.Name())).Distinct().Order(StringComparer.Ordinal);
            var by = kept.Exists(e => e.Guards.Length > 0) ? $", of which guard {string.Join(", ", guards)} keeps {kept.Count}" : "";
            notes.Add($"{condemned.Length} condemned: {Causes(condemned)}{by}");
        }
        Add(HealthRule.TrafficVeto, "failed by checks while requests succeed, so the checks are in doubt (rule 4)");
        Add(HealthRule.AwaitsTraffic, "failed by checks, traffic is waited for (rule 4)");
        Add(HealthRule.Partial, "suspect, since observers disagree (rule 8)", e => e.Active.Zones.Any(z => z.Passing > 0));
        Add(HealthRule.Partial, "suspect, not failed often enough yet (rule 8)", e => !e.Active.Zones.Any(z => z.Passing > 0));
        Add(HealthRule.TooFewObservers, "held as published, since too few observers have spoken lately (guard G7)");
        var cut = endpoints.Where(e => e.Traffic.Cut < 1 && IsRoutable(e) && e.State != HealthState.Down).ToList();
        if (cut.Count > 0)
        {
            notes.Add(
                $"{Few(cut)} with less weight, since more requests to {(cut.Count == 1 ? "it" : "them")} fail than to others (rule 6)"
            );
        }
        foreach (var other in view.Zone is null ? u.ZoneViews : [])
        {
            notes.Add($"proxies in zone {other.Zone} have a verdict of their own, since that zone does not reach all that others reach");
        }
        var ordered = endpoints.Count(e => e.Override is not null);
        if (ordered > 0)
        {
            notes.Add($"{ordered} under {(ordered == 1 ? "an operator's order" : "orders of operators")}");
        }
        var waiting = endpoints.Count(e => e is { State: HealthState.New } && !condemned.Contains(e));
        if (waiting > 0)
        {
            notes.Add($"{waiting} not passed yet");
        }
        return notes.Count == 0 ? $"{head}." : $"{head}; {string.Join("; ", notes)}.";

        void Add(HealthRule rule, string note, Func<EndpointExplanation, bool>? isOfThem = null)
        {
            var those = endpoints.Where(e => e.Rule == rule && e.State == HealthState.Suspect && isOfThem?.Invoke(e) != false).ToList();
            if (those.Count > 0)
            {
                notes.Add($"{Few(those)} {note}");
            }
        }
    }

    /// <summary>The verdict on an endpoint.</summary>
    public static string Of(UpstreamHealth u, ZoneView view, EndpointHealth e, EndpointExplanation x)
    {
        var published = Published(x);
        if (x.Override is { } order)
        {
            var until = order.ExpiresAt is { } end ? $" until {Time(end)}" : "";
            var reason = order.Reason.Length > 0 ? $": {order.Reason}" : "";
            return $"{x.Endpoint} is {published} by order of {order.Author} ({Name(order.Order)}{until}){reason}. The evidence says {x.State.Name()}: {Evidence(e, x)}.";
        }
        if (x is { State: HealthState.New, Rule: HealthRule.NeverPassed } && IsRoutable(x) && !IsFailed(x))
        {
            return $"{x.Endpoint} is new and {published}: nobody has passed it yet, and no proven endpoint is there to prefer.";
        }
        if (x.Guards.FirstOrDefault(g => g.Overruled == PublishedStatus.Unhealthy.Name()) is { } guard)
        {
            var next = x.Next is { } step ? $" At {Time(step.At)}: {step.Text}." : "";
            return $"{x.Endpoint} stays {published} although {Charge(e, x)}: guard {guard.Guard.Name()} keeps it, since {guard.Text}.{next}";
        }
        if (view.IsTotalFailure && e.IsCondemned && x.Status == PublishedStatus.Healthy)
        {
            return $"{x.Endpoint} is {published} although {Charge(e, x)}: every endpoint has failed. {OnTotalFailure(u.OnTotalFailure)}";
        }
        return x.State switch
        {
            _ when x.Rule == HealthRule.LinkFault => $"{x.Endpoint} is {published} for zone {view.Zone}: {Charge(e, x)}.",
            HealthState.New when x.Status is null => $"{x.Endpoint} is left out: {Charge(e, x)}.",
            HealthState.New => $"{x.Endpoint} is {published} although {Charge(e, x)}: no proven endpoint is good.",
            HealthState.Down when x.IsSuppressed && IsRoutable(x) =>
                $"{x.Endpoint} is {published} although it went down too often (flap penalty {x.Penalty.ToString("F0", CultureInfo.InvariantCulture)}): nothing better is left, and it passes now.",
            HealthState.Down when x.IsSuppressed =>
                $"{x.Endpoint} is {published}: it went down too often (flap penalty {x.Penalty.ToString("F0", CultureInfo.InvariantCulture)}), so it is held out{Until(x)}; now {Evidence(e, x)}.",
            HealthState.Down when x.Guards.Any(g => g.Guard == HealthGuard.Ramp) =>
                $"{x.Endpoint} is {published} since {Time(x.Since)}, and passes again ({Observers(x)}): it waits for its turn to come back (G9).",
            HealthState.Down => $"{x.Endpoint} is {published} since {Time(x.Since)}: {Charge(e, x)}.",
            HealthState.Probation when x.Factor >= 1 =>
                $"{x.Endpoint} is back since {Time(x.Since)}, {published} at full weight, since too little else is there{Until(x)}.",
            HealthState.Probation => $"{x.Endpoint} is back since {Time(x.Since)}, {published}: its weight is ramped (G9){Until(x)}.",
            HealthState.Suspect when x.Rule == HealthRule.TrafficVeto =>
                $"{x.Endpoint} stays {published} although {Observers(x)}: {Requests(x)} succeed, so the check is wrong, not the endpoint (rule 4).",
            HealthState.Suspect when x.Rule == HealthRule.AwaitsTraffic =>
                $"{x.Endpoint} stays {published} for now although {Observers(x)}: traffic to it is waited for (rule 4){Until(x)}.",
            HealthState.Suspect => $"{x.Endpoint} stays {published}, suspect: {Charge(e, x)}.",
            _ when x.Traffic.Cut < 1 =>
                $"{x.Endpoint} is {published}, its weight cut to {Percent(x.Traffic.Cut)}: {Evidence(e, x)} (rule 6).",
            _ => $"{x.Endpoint} is {published}: {Evidence(e, x)}.",
        };
    }

    /// <summary>Why a guard objects.</summary>
    public static string Why(UpstreamHealth u, HealthGuard guard) =>
        guard switch
        {
            HealthGuard.MinimumHealthy => $"{u.Policy.MinimumHealthyPercent} % of its priority must stay routable",
            HealthGuard.MinimumHealthyOfZone => $"{u.Policy.MinimumHealthyPercent} % of its zone must stay routable",
            HealthGuard.LastEndpoint => "nothing better would be left",
            HealthGuard.PassiveBudget => "traffic alone may take out only 30 % of the endpoints",
            HealthGuard.MassFreeze => "so many were condemned at once that the cause is probably shared",
            HealthGuard.Velocity => "others went within the last ten seconds",
            HealthGuard.Ramp => "what comes back is loaded little by little",
            _ => "",
        };

    /// <summary>Why guard G7 objects: who is missed.</summary>
    public static string WhySourceLoss(FleetHealthPolicy policy, IReadOnlyList<string> silent)
    {
        var missed =
            silent.Count == 0 ? ""
            : silent.Count <= 3 ? $" ({string.Join(", ", silent)} {Have(silent.Count)} not)"
            : $" ({string.Join(", ", silent.Take(3))} and {silent.Count - 3} more have not)";
        return $"too few observers have spoken of it lately{missed}, and a verdict needs those of {policy.QuorumZones} zones or {policy.QuorumObservers} observers: what is published stays";
    }

    private static bool IsFailed(EndpointExplanation x) =>
        x.Active.Zones.Any(z => z.Failing > 0) || x.Active.Evidence.Any(r => r.Class != FailureClass.None);

    private static bool IsRoutable(EndpointExplanation x) => x.Status is PublishedStatus.Healthy or PublishedStatus.Degraded;

    private static string Published(EndpointExplanation x) =>
        x.Status is not { } status ? "left out"
        : status == PublishedStatus.Healthy && x.Factor < 1 ? $"{status.Name()} at {Percent(x.Factor)} of its weight"
        : status.Name();

    private static string Evidence(EndpointHealth e, EndpointExplanation x) =>
        e.Cause == HealthCause.Passive || x.Traffic.Cut < 1 ? Outlier(e, x)
        : x.Active.Share is null && x.Rule == HealthRule.NoChecks
            ? $"nobody checks it{(e.Target.NotChecked is { } reason ? $" ({reason})" : "")}, and traffic has nothing against it"
        : Observers(x);

    private static string Outlier(EndpointHealth e, EndpointExplanation x) =>
        x.Traffic.Requests > 0
            ? $"{Percent(x.Traffic.ErrorRate)} of {x.Traffic.Requests} requests to it fail, against {Percent(x.Traffic.ReferenceRate)}"
            : $"{Percent(e.DownErrorRate)} of the requests to it failed";

    /// <summary>Who says what, for example <c>6 of 6 observers in 3 zones fail it (connection refused)</c>.</summary>
    private static string Observers(EndpointExplanation x)
    {
        var failing = x.Active.Zones.Sum(z => z.Failing);
        var all = failing + x.Active.Zones.Sum(z => z.Passing);
        if (all == 0)
        {
            return "no observer has spoken lately";
        }
        var zones = x.Active.Zones.Length;
        var who = all == 1 ? "one observer" : $"{(failing > 0 ? failing : all)} of {all} observers";
        var where = zones > 1 ? $" in {zones} zones" : "";
        if (failing == 0)
        {
            return $"{who}{where} {(all == 1 ? "passes" : "pass")} it";
        }
        var failure = x.Active.Evidence.FirstOrDefault(r => r.Class != FailureClass.None);
        var text = failure is null ? "" : $" ({Name(failure)})";
        return $"{who}{where} {(all == 1 || failing == 1 ? "fails" : "fail")} it{text}";
    }

    private static string Requests(EndpointExplanation x) =>
        x.Traffic.Requests > 0 ? $"{x.Traffic.Requests - x.Traffic.Errors} of {x.Traffic.Requests} requests to it" : "requests to it";

    private static string Causes(ImmutableArray<EndpointExplanation> condemned) =>
        string.Join(", ", condemned.GroupBy(Cause).OrderByDescending(g => g.Count()).Select(g => $"{Few([.. g])} ({g.Key})"));

    private static string Few(List<EndpointExplanation> endpoints) =>
        endpoints.Count <= 3 ? string.Join(", ", endpoints.Select(x => x.Endpoint)) : $"{endpoints.Count}";

    private static string Cause(EndpointExplanation x) =>
        x.Rule == HealthRule.LinkFault ? "not reached from this zone"
        : x.Cause == HealthCause.Passive ? "requests fail"
        : x.Active.Evidence.FirstOrDefault(r => r.Class != FailureClass.None) is { } row ? Name(row.Class)
        : "not failing now";

    /// <summary>What stands against an endpoint, and by which rule.</summary>
    private static string Charge(EndpointHealth e, EndpointExplanation x) =>
        x.Rule == HealthRule.LinkFault
            ? $"its zone {e.Target.Zone} is not reached from this zone since {Time(x.Since)}, while others reach it (link fault)"
        : x.State == HealthState.New ? $"nobody has passed it yet, {Observers(x)}"
        : $"{Evidence(e, x)} (rule {x.Rule.Name()}{(x.IsHard ? ", hard" : "")})";

    private static string Until(EndpointExplanation x) => x.Next is { } next ? $", until {Time(next.At)} at least" : "";

    private static string OnTotalFailure(TotalFailurePolicy policy) =>
        policy switch
        {
            TotalFailurePolicy.FailFast => "All are UNHEALTHY, so that callers learn at once (FAIL_FAST).",
            TotalFailurePolicy.Fallback => "Another priority takes over where it can (FALLBACK).",
            _ => "Requests are spread over all of them, since trying is better than refusing (SPRAY).",
        };

    private static string Name(EvidenceRow failure)
    {
        var name = Name(failure.Class);
        return failure.Text.Length == 0 ? name
            : failure.Text.Contains(name, StringComparison.OrdinalIgnoreCase) ? failure.Text
            : $"{name}: {failure.Text}";
    }

    private static string Name(FailureClass failure) =>
        failure switch
        {
            FailureClass.Refused => "connection refused",
            FailureClass.Unreachable => "no route",
            FailureClass.ConnectTimeout => "no connection in time",
            FailureClass.TlsTimeout => "no TLS handshake in time",
            FailureClass.Timeout => "no answer in time",
            FailureClass.Reset => "connection closed",
            FailureClass.Tls => "TLS failed",
            FailureClass.Status => "unexpected status",
            FailureClass.Body => "unexpected body",
            FailureClass.Protocol => "another protocol",
            _ => "failed",
        };

    private static string Name(OverrideOrder order) =>
        order switch
        {
            OverrideOrder.Drain => "drain",
            OverrideOrder.Disable => "disable",
            OverrideOrder.ForceHealthy => "force healthy",
            OverrideOrder.ForceUnhealthy => "force unhealthy",
            _ => "freeze",
        };

    private static string Count(int endpoints) => endpoints == 1 ? "1 endpoint" : $"{endpoints} endpoints";

    private static string Have(int endpoints) => endpoints == 1 ? "has" : "have";

    private static string Percent(double share) =>
        (100 * share).ToString(share is > 0 and < 0.1 ? "F1" : "F0", CultureInfo.InvariantCulture) + " %";

    private static string Time(DateTimeOffset? time) => time?.ToString("HH:mm:ss'Z'", CultureInfo.InvariantCulture) ?? "";
}
