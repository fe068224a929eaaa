using System.Text.Json;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Api;

namespace ControlPlane.Server.Health;

/// <summary>Explanations of the health model in the words of the API.</summary>
internal static class HealthViews
{
    public static UpstreamHealthView Of(UpstreamExplanation x, long index, string? zone) =>
        new()
        {
            Index = index,
            Upstream = x.Upstream,
            Zone = zone is not null && x.ZoneViews.Contains(zone) ? zone : null,
            Sentence = x.Sentence,
            EvaluatedAt = x.EvaluatedAt,
            FrozenSince = x.FrozenSince,
            TotalFailure = x.IsTotalFailure,
            UniformErrors = x.HasUniformErrors,
            ZoneViews = x.ZoneViews,
            Endpoints = [.. x.Endpoints.Select(Of)],
        };

    /// <summary>What is published, where the evidence for it is with another server, which cannot be asked.</summary>
    public static UpstreamHealthView SecondHand(UpstreamExplanation x, long index, string? zone, SecondHandView why)
    {
        var routable = x.Endpoints.Count(e => e.Status is PublishedStatus.Healthy or PublishedStatus.Degraded);
        return Of(x, index, zone) with
        {
            Sentence =
                $"{routable} of the {x.Endpoints.Length} endpoints of {x.Upstream} are given requests, as another server decided; its evidence is not known here: {why.Reason}.",
            EvaluatedAt = null,
            SecondHand = why,
            Endpoints = [.. x.Endpoints.Select(SecondHand)],
        };
    }

    private static EndpointHealthView SecondHand(EndpointExplanation x)
    {
        var since = x.Since is { } moment ? $" since {moment.UtcDateTime:yyyy-MM-dd HH:mm:ss}Z" : "";
        var order = x.Override is { } given ? $" by order of {given.Author}" : "";
        var state = x.Override is null ? $"{x.State.Name()}{since} by rule {x.Rule.Name()}" : $"{x.State.Name()}{since}";
        return Of(x) with
        {
            Sentence = $"{x.Endpoint} is {x.Status?.Name() ?? "left out"}{order}: {state}, as another server decided.",
            Factor = null,
            Guards = [],
            Active = new ObserversView(),
            Traffic = new TrafficView(),
            Next = null,
            Lints = [],
        };
    }

    public static EndpointHealthView Of(EndpointExplanation x) =>
        new()
        {
            Endpoint = x.Endpoint,
            Sentence = x.Sentence,
            Status = x.Status?.Name(),
            Weight = x.Weight,
            Factor = Finite(x.Factor),
            State = x.State.Name(),
            Since = x.Since,
            Rule = x.Rule.Name(),
            Cause = NameOf(x.Cause),
            Hard = x.IsHard,
            Guards = [.. x.Guards.Select(g => new GuardView(g.Guard.Name(), g.Overruled, g.Text))],
            Active = new ObserversView
            {
                Share = x.Active.Share is { } share ? Finite(share) : null,
                FewObservers = x.Active.FewObservers,
                Zones = [.. x.Active.Zones.Select(z => new ZoneOpinionView(z.Zone, z.Passing, z.Failing, Finite(z.Share)))],
                Quarantined = x.Active.Quarantined,
                Stuck = x.Active.Stuck,
                NewestAt = x.Active.NewestAt,
                OldestAt = x.Active.OldestAt,
                Evidence = [.. x.Active.Evidence.Select(Of)],
            },
            Traffic = new TrafficView
            {
                Requests = x.Traffic.Requests,
                Errors = x.Traffic.Errors,
                ErrorRate = Finite(x.Traffic.ErrorRate),
                ReferenceRate = Finite(x.Traffic.ReferenceRate),
                Deviations = Finite(x.Traffic.Deviations),
                Windows = x.Traffic.Windows,
                Outlier = x.Traffic.IsOutlier,
                Client = x.Traffic.Client,
                Cut = Finite(x.Traffic.Cut),
                Evidence = [.. x.Traffic.Evidence.Select(Of)],
            },
            Override = x.Override is { } order
                ? new HealthOrderView(Word(order.Order), order.Author, order.Reason, order.StartedAt, order.ExpiresAt)
                : null,
            Penalty = Finite(x.Penalty),
            Suppressed = x.IsSuppressed,
            Ejections = x.Ejections,
            Next = x.Next is { } next ? new NextTransitionView(next.At, next.Text) : null,
            Lints = [.. x.Lints.Select(l => Word(l))],
        };

    public static HealthTransitionView Of(HealthTransition step, long id, EndpointExplanation? explanation) =>
        new()
        {
            Id = id,
            At = step.At,
            Upstream = step.Upstream,
            Endpoint = step.Endpoint,
            From = step.From.Name(),
            To = step.To.Name(),
            Rule = step.Rule.Name(),
            Cause = NameOf(step.Cause),
            Hard = step.IsHard,
            Explanation = explanation is null ? null : Of(explanation),
        };

    private static EvidenceRowView Of(EvidenceRow row) =>
        new()
        {
            Author = row.Author,
            Zone = row.Zone,
            Verdict = row.Verdict,
            Class = row.Class == FailureClass.None ? null : Word(row.Class),
            Text = row.Text.Length > 0 ? row.Text : null,
            ReceivedAt = row.ReceivedAt,
            ExpiresAt = row.ExpiresAt,
        };

    private static string? NameOf(HealthCause cause) => cause == HealthCause.None ? null : Word(cause);

    private static string Word<T>(T value)
        where T : struct, Enum => JsonNamingPolicy.CamelCase.ConvertName(value.ToString());

    // JSON has no number for these: where nobody else fails, the distance in standard errors is without bound; before the first look there is none.
    private static double Finite(double value) =>
        double.IsNaN(value) ? 0
        : double.IsPositiveInfinity(value) ? double.MaxValue
        : value;
}
