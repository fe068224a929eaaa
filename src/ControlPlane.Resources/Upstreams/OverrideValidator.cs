using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Upstreams;

/// <summary>Rules of an operator's order.</summary>
public static class OverrideValidator
{
    private const int LongestReason = 1000;

    // Times are added to it: it must not be near the end of time.
    private static readonly DateTimeOffset Earliest = new(2000, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private static readonly DateTimeOffset Latest = new(9000, 1, 1, 0, 0, 0, TimeSpan.Zero);

    /// <summary>Validates an order by itself.</summary>
    public static void Validate(OverrideSpec spec, ProblemCollector problems)
    {
        if (string.IsNullOrWhiteSpace(spec.Reason))
        {
            problems.Error("/spec/reason", "reason-required", "Say why, for those who find the endpoint out of service.");
        }
        else if (spec.Reason.Length > LongestReason)
        {
            problems.Error("/spec/reason", "too-long", $"The reason is longer than {LongestReason} characters.");
        }
        if (spec.StartedAt < Earliest || spec.StartedAt > Latest)
        {
            problems.Error("/spec/startedAt", "out-of-range", $"The time must lie between {Earliest:yyyy} and {Latest:yyyy}.");
        }
        if (spec.ExpiresAt is { } expiry && expiry <= spec.StartedAt)
        {
            problems.Error(
                "/spec/expiresAt",
                "expires-before-start",
                "The order would end before it begins: give a later time, or null for no end."
            );
        }
    }
}
