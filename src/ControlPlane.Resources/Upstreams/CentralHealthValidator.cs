using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Upstreams;

/// <summary>Ranges of what only the control plane's own decisions go by: beyond them a rule of the health model would not do what it is for.</summary>
internal static class CentralHealthValidator
{
    private const string At = "/spec/health";
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Hour = TimeSpan.FromHours(1);

    /// <summary>Times of one check of ours.</summary>
    public static bool HasSoundTiming(HealthCheckSpec check, string pointer, ProblemCollector problems) =>
        Between($"{pointer}/interval", check.Interval, TimeSpan.FromMilliseconds(200), TimeSpan.FromSeconds(60), problems)
        & Between($"{pointer}/edgeInterval", check.EdgeInterval, TimeSpan.FromMilliseconds(100), TimeSpan.FromSeconds(10), problems)
        & Between($"{pointer}/timeout", check.Timeout, TimeSpan.FromMilliseconds(50), TimeSpan.FromSeconds(10), problems)
        & problems.InRange($"{pointer}/rise", check.Rise, 2u, 10u, "one answer proves nothing")
        & problems.InRange($"{pointer}/fall", check.Fall, 2u, 10u, "one lost packet proves nothing");

    public static void Validate(UpstreamSpec spec, ProblemCollector problems)
    {
        var health = spec.Health;
        problems.InRange($"{At}/quorum/downShare", health.Quorum.DownShare, 0, 0.49);
        problems.InRange($"{At}/quorum/upShare", health.Quorum.UpShare, 0.5, 1);
        problems.InRange($"{At}/veto/minimumRequests", health.Veto.MinimumRequests, 10u, 1_000_000u);
        problems.InRange($"{At}/veto/successRate", health.Veto.SuccessRate, 0.5, 1);
        problems.InRange($"{At}/veto/waitWindows", health.Veto.WaitWindows, 0u, 6u);
        ValidateOutlier(health.Outlier, problems);
        ValidateHold(health.Hold, problems);
        ValidateFlapDamping(health.FlapDamping, problems);
        problems.InRange($"{At}/guards/velocityPercent", health.Guards.VelocityPercent, 1u, 100u);
        problems.InRange($"{At}/guards/massPercent", health.Guards.MassPercent, 1u, 100u);
        Between($"{At}/rampTime", health.RampTime, TimeSpan.Zero, Hour, problems);
        if (!spec.IsCentral())
        {
            RefuseUnused(health, problems);
        }
    }

    private static void ValidateOutlier(FleetOutlierSpec outlier, ProblemCollector problems)
    {
        problems.InRange($"{At}/outlier/deviations", outlier.Deviations, 2, 10, "fewer condemn by chance");
        problems.InRange($"{At}/outlier/gap", outlier.Gap, 0.01, 0.5);
        problems.InRange($"{At}/outlier/margin", outlier.Margin, 0, 0.5);
        problems.InRange($"{At}/outlier/minimumRequests", outlier.MinimumRequests, 10u, 1_000_000u);
        problems.InRange($"{At}/outlier/downRate", outlier.DownRate, 0.1, 1);
        if (outlier.DownGap <= outlier.Gap || outlier.DownGap > 1)
        {
            problems.Error(
                $"{At}/outlier/downGap",
                "out-of-range",
                $"{outlier.DownGap} is not above 'gap' ({outlier.Gap}) and at most 1: an endpoint first loses weight, and goes out where it is worse."
            );
        }
        HealthValidator.ValidateRates(outlier.SuccessRate, outlier.FailurePercentage, $"{At}/outlier", problems);
    }

    private static void ValidateHold(HoldSpec hold, ProblemCollector problems)
    {
        Between($"{At}/hold/active", hold.Active, Second, TimeSpan.FromMinutes(10), problems);
        if (Between($"{At}/hold/passive", hold.Passive, Second, Hour, problems))
        {
            Between($"{At}/hold/maxPassive", hold.MaxPassive, hold.Passive, TimeSpan.FromDays(1), problems);
        }
    }

    private static void ValidateFlapDamping(FlapDampingSpec damping, ProblemCollector problems)
    {
        Between($"{At}/flapDamping/halfLife", damping.HalfLife, TimeSpan.FromSeconds(10), Hour, problems);
        if (problems.InRange($"{At}/flapDamping/suppress", damping.Suppress, 2000, 100_000, "each time an endpoint goes down adds 1000"))
        {
            problems.InRange($"{At}/flapDamping/ceiling", damping.Ceiling, damping.Suppress, 1_000_000);
            if (damping.Reuse < 100 || damping.Reuse >= damping.Suppress)
            {
                problems.Error(
                    $"{At}/flapDamping/reuse",
                    "out-of-range",
                    $"{damping.Reuse} is not from 100 and below 'suppress' ({damping.Suppress}): the penalty must fall before the endpoint comes back."
                );
            }
        }
    }

    /// <summary>What a proxy that decides by itself does not know would look as if it had an effect.</summary>
    private static void RefuseUnused(HealthSpec health, ProblemCollector problems)
    {
        var standard = new HealthSpec();
        Refuse(health.Quorum == standard.Quorum, "quorum");
        Refuse(health.Veto == standard.Veto, "veto");
        Refuse(health.Outlier == standard.Outlier, "outlier");
        Refuse(health.Hold == standard.Hold, "hold");
        Refuse(health.FlapDamping == standard.FlapDamping, "flapDamping");
        Refuse(health.Guards == standard.Guards, "guards");
        Refuse(health.RampTime == standard.RampTime, "rampTime");
        Refuse(health.OnTotalFailure == standard.OnTotalFailure, "onTotalFailure");

        void Refuse(bool isStandard, string member)
        {
            if (!isStandard)
            {
                problems.Error(
                    $"{At}/{member}",
                    "needs-central-health",
                    $"'{member}' has no effect where every proxy decides by itself: say 'authority: central', or leave it out."
                );
            }
        }
    }

    private static bool Between(string pointer, TimeSpan value, TimeSpan least, TimeSpan most, ProblemCollector problems)
    {
        if (value >= least && value <= most)
        {
            return true;
        }
        problems.Error(
            pointer,
            "out-of-range",
            $"{Reading.DurationText.Format(value)} is not between {Reading.DurationText.Format(least)} and {Reading.DurationText.Format(most)}."
        );
        return false;
    }
}
