using System.Collections.Immutable;

namespace ControlPlane.Core.Health;

/// <summary>Tells why something is published as it is (4.9), from what the last evaluation left. On request, never in the loop.</summary>
internal sealed class HealthExplainer(FleetHealth fleet, int maxRows = EndpointExplanation.MaxRows)
{
    public UpstreamExplanation Explain(UpstreamHealth u, string? zone)
    {
        var view = u.View(zone) ?? u.Everyone;
        var published = (view.Published.IsDefault ? [] : view.Published).ToDictionary(p => p.Id);
        var endpoints = u
            .Endpoints.Select(e => Explain(u, e, view, published.TryGetValue(e.Target.Id, out var p) ? p : null))
            .ToImmutableArray();
        return new UpstreamExplanation
        {
            Upstream = u.Name,
            Sentence = HealthSentences.Of(u, view, endpoints),
            EvaluatedAt = u.EvaluatedAt.ToTime(),
            FrozenSince = view.FrozenSince.ToTime(),
            IsTotalFailure = view.IsTotalFailure,
            HasUniformErrors = u.HasUniformErrors,
            ZoneViews = [.. u.ZoneViews.Select(v => v.Zone!)],
            Endpoints = endpoints,
        };
    }

    public EndpointExplanation Explain(UpstreamHealth u, EndpointHealth e, ZoneView view)
    {
        PublishedEndpoint? published = null;
        foreach (var candidate in view.Published.IsDefault ? [] : view.Published)
        {
            published = candidate.Id == e.Target.Id ? candidate : published;
        }
        return Explain(u, e, view, published);
    }

    private EndpointExplanation Explain(UpstreamHealth u, EndpointHealth e, ZoneView view, PublishedEndpoint? published)
    {
        var order = e.Order(fleet.Now);
        var entry = view.Entries[e.Index];
        var cutOffSince = order is null ? u.CutOffSince(view, e, fleet.Now) : Instant.Never;
        var explanation = new EndpointExplanation
        {
            Endpoint = e.Target.Id,
            Sentence = "",
            Status = published?.Status,
            Weight = published?.Weight,
            Factor = entry.Factor,
            State = e.State,
            Since = (cutOffSince.IsSet && e.State != HealthState.Down ? cutOffSince : e.Since).ToTime(),
            Rule =
                order is not null ? HealthRule.Operator
                : cutOffSince.IsSet && e.State != HealthState.Down ? HealthRule.LinkFault
                : e.Rule,
            Cause = e.Cause,
            IsHard = e.IsHard,
            Guards = Guards(u, e, view, order),
            Active = Active(u, e),
            Traffic = Traffic(u, e),
            Override = order is null ? null : e.Evidence.Override,
            Penalty = e.Penalty.Now(fleet.Now, u.Policy.FlapDamping),
            IsSuppressed = e.IsSuppressed,
            Ejections = e.Ejections.Value,
            Next = Next(u, e, view, order),
            Lints = Lints(u, e),
        };
        return explanation with { Sentence = HealthSentences.Of(u, view, e, explanation) };
    }

    private ImmutableArray<GuardExplanation> Guards(UpstreamHealth u, EndpointHealth e, ZoneView view, OverrideOrder? order)
    {
        var guards = ImmutableArray.CreateBuilder<GuardExplanation>();
        if (order is not null)
        {
            return [];
        }
        if (view.Entries[e.Index].Guard is not HealthGuard.None and var guard)
        {
            guards.Add(new GuardExplanation(guard, PublishedStatus.Unhealthy.Name(), HealthSentences.Why(u, guard)));
        }
        if (IsHeldBySourceLoss(e))
        {
            guards.Add(
                new GuardExplanation(
                    HealthGuard.SourceLoss,
                    "a verdict on old evidence",
                    HealthSentences.WhySourceLoss(
                        fleet.Policy,
                        [.. Silent(u, e).Select(s => s.Observer.Author).Order(StringComparer.Ordinal)]
                    )
                )
            );
        }
        if ((e.State == HealthState.Probation && view.Entries[e.Index].Factor < 1) || IsQueuedForProbation(u, e))
        {
            guards.Add(new GuardExplanation(HealthGuard.Ramp, "full weight at once", HealthSentences.Why(u, HealthGuard.Ramp)));
        }
        return guards.DrainToImmutable();
    }

    private static bool IsHeldBySourceLoss(EndpointHealth e) =>
        e.State != HealthState.New && e.Rule != HealthRule.NoChecks && e.Vote is ActiveVote.None or ActiveVote.Suspect;

    /// <summary>The observers that are counted on for an endpoint and have nothing fresh to say of it, and when each was last heard.</summary>
    private IEnumerable<(Observer Observer, int Zone, Instant HeardAt)> Silent(UpstreamHealth u, EndpointHealth e) =>
        fleet
            .Existing(u, e)
            .Where(o =>
                e.Evidence.Opinions.IndexOf(o.Observer) is var index && (index < 0 || !e.Evidence.Opinions.IsFresh(index, fleet.Now))
            );

    private bool IsQueuedForProbation(UpstreamHealth u, EndpointHealth e) =>
        e is { State: HealthState.Down, Vote: ActiveVote.Up, IsSuppressed: false } && fleet.Now - e.Since >= StateMachine.Dwell(u, e);

    private ActiveExplanation Active(UpstreamHealth u, EndpointHealth e)
    {
        var list = e.Evidence.Opinions;
        var rows = new List<(Observer Observer, Opinion Opinion)>();
        for (var i = 0; i < list.Count; i++)
        {
            if (fleet.Now <= list.Opinions[i].ExpiresAt && list.Observers[i].IsPresent)
            {
                rows.Add((list.Observers[i], list.Opinions[i]));
            }
        }
        var trusted = rows.Where(r => r.Opinion.Verdict != OpinionVerdict.Unknown && r.Observer.IsTrustedWith(r.Opinion.Verdict)).ToList();
        return new ActiveExplanation
        {
            Share = double.IsNaN(e.Share) ? null : e.Share,
            FewObservers = e.FewObservers > 0 ? e.FewObservers : null,
            Zones =
            [
                .. trusted
                    .GroupBy(r => r.Opinion.Zone)
                    .Select(z => new ZoneExplanation(
                        fleet.Ledger.Zones[z.Key],
                        z.Count(r => r.Opinion.Verdict == OpinionVerdict.Pass),
                        z.Count(r => r.Opinion.Verdict == OpinionVerdict.Fail),
                        z.Sum(r => r.Opinion.Verdict == OpinionVerdict.Pass ? r.Observer.Weight(fleet.Now) : 0)
                            / z.Sum(r => r.Observer.Weight(fleet.Now))
                    ))
                    .OrderBy(z => z.Zone, StringComparer.Ordinal),
            ],
            Quarantined = [.. rows.Where(r => r.Observer.IsQuarantined).Select(r => r.Observer.Author).Order(StringComparer.Ordinal)],
            Stuck = [.. rows.Where(r => r.Observer.IsStuck).Select(r => r.Observer.Author).Order(StringComparer.Ordinal)],
            NewestAt = trusted.Count > 0 ? trusted.Max(r => r.Opinion.ReceivedAt).ToTime() : null,
            OldestAt = trusted.Count > 0 ? trusted.Min(r => r.Opinion.ReceivedAt).ToTime() : null,
            Evidence =
            [
                .. rows.OrderByDescending(r => r.Opinion.Fails > 0 || r.Opinion.Verdict == OpinionVerdict.Fail)
                    .ThenByDescending(r => r.Opinion.ReceivedAt)
                    .Take(maxRows)
                    .Select(r => Row(r.Observer, r.Opinion)),
            ],
        };
    }

    private EvidenceRow Row(Observer observer, Opinion opinion) =>
        new(
            EvidenceKind.Active,
            observer.Author,
            fleet.Ledger.Zones[opinion.Zone],
            opinion.Verdict switch
            {
                OpinionVerdict.Pass => "PASS",
                OpinionVerdict.Fail => "FAIL",
                _ => "unknown",
            },
            opinion.Class,
            opinion.Text,
            opinion.ReceivedAt.ToTime(),
            opinion.ExpiresAt.ToTime()
        );

    private TrafficExplanation Traffic(UpstreamHealth u, EndpointHealth e)
    {
        var judgement = e.Judgement;
        return new TrafficExplanation
        {
            Requests = judgement.Counts.Total,
            Errors = judgement.Counts.Errors,
            ErrorRate = judgement.Rate,
            ReferenceRate = judgement.Reference,
            Deviations = judgement.Deviations,
            Windows = judgement.Windows,
            IsOutlier = judgement.IsOutlier,
            Client = judgement.Client,
            Cut = e.Cut,
            Evidence =
                maxRows == 0
                    ? []
                    :
                    [
                        .. u
                            .Evidence.Reporters.Where(u.Traffic.IsNewest)
                            .Select(r => (Reporter: r, Counts: r.Newest(e.Index)))
                            .Where(r => r.Counts.Total > 0)
                            .OrderByDescending(r => r.Counts.Errors)
                            .ThenByDescending(r => r.Counts.Total)
                            .Take(maxRows)
                            .Select(r => new EvidenceRow(
                                EvidenceKind.Traffic,
                                r.Reporter.Envoy,
                                fleet.Ledger.Zones[r.Reporter.Zone],
                                $"{r.Counts.Errors} of {r.Counts.Total} failed",
                                FailureClass.None,
                                "",
                                r.Reporter.ReceivedAt.ToTime(),
                                u.Traffic.ExpiresAt(r.Reporter).ToTime()
                            )),
                    ],
        };
    }

    /// <summary>The next thing that time alone can change; what evidence changes has no time.</summary>
    private NextTransition? Next(UpstreamHealth u, EndpointHealth e, ZoneView view, OverrideOrder? order)
    {
        if (order is not null)
        {
            var drained = Publication.DrainEnds(u, e);
            var draining = order == OverrideOrder.Drain && drained < e.Evidence.OrderEndsAt ? At(drained, "it is left out") : null;
            var end = e.Evidence.Override?.Order == OverrideOrder.Freeze ? "it thaws, and the evidence decides again" : "the order ends";
            return draining ?? At(Instant.Of(e.Evidence.Override?.ExpiresAt), end);
        }
        return e.State switch
        {
            HealthState.Probation => At(e.ProbationSince + u.Policy.RampTime, "UP at full weight"),
            HealthState.Suspect when e.WaitSince.IsSet => At(
                e.WaitSince + VerdictLattice.WaitTime(fleet, u),
                "DOWN, unless traffic shows success before"
            ),
            HealthState.Down when view.Entries[e.Index].Guard == HealthGuard.MassFreeze => At(
                MassFreeze.ThawsAt(e),
                "its verdict is confirmed, if the evidence stays as it is: UNHEALTHY, unless nothing else is left"
            ),
            HealthState.Down when e.IsSuppressed => At(
                e.Penalty.Below(u.Policy.FlapDamping.Reuse, u.Policy.FlapDamping),
                "its flap penalty has decayed: PROBATION if it passes"
            ),
            HealthState.Down => At(e.Since + StateMachine.Dwell(u, e), "PROBATION if it passes"),
            _ when e.DownVerdictSince.IsSet && !e.HasTurnedDown => At(
                StateMachine.SoftVerdictHolds(fleet, e),
                "DOWN, if the evidence stays as it is"
            ),
            _ when IsHeldBySourceLoss(e) && Silent(u, e).ToList() is { Count: > 0 } silent => At(
                silent.Min(s => s.HeardAt) + Observer.ExistsFor,
                "who is silent is not waited for any more: those who speak decide, if there are any"
            ),
            _ => null,
        };

        NextTransition? At(Instant moment, string text) => moment > fleet.Now && moment.ToTime() is { } at ? new(at, text) : null;
    }

    private static ImmutableArray<HealthLint> Lints(UpstreamHealth u, EndpointHealth e)
    {
        var lints = ImmutableArray.CreateBuilder<HealthLint>();
        if (e.Rule == HealthRule.TrafficVeto)
        {
            lints.Add(HealthLint.CheckDisagreesWithTraffic);
        }
        if (u.Endpoints.Length == 1)
        {
            lints.Add(HealthLint.SingleEndpoint);
        }
        if (e.State == HealthState.New && e.Vote == ActiveVote.Down)
        {
            lints.Add(HealthLint.NeverPassed);
        }
        if (e.FewObservers > 0)
        {
            lints.Add(HealthLint.FewObservers);
        }
        return lints.DrainToImmutable();
    }
}
