using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Upstreams;

/// <summary>Rules of an operator's order.</summary>
public static class OverrideValidator
{
    private const int LongestReason = 1000;

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
