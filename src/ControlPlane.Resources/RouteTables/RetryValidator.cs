using System.Collections.Frozen;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.RouteTables;

/// <summary>Rules of retries.</summary>
internal static class RetryValidator
{
    /// <summary>The conditions that Envoy knows, of HTTP (<c>x-envoy-retry-on</c>) and of gRPC (<c>x-envoy-retry-grpc-on</c>). It passes over all others in silence.</summary>
    private static readonly FrozenSet<string> Conditions = new[]
    {
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    }.ToFrozenSet(StringComparer.Ordinal);

    public static void Validate(RetrySpec? retry, TimeSpan? timeout, string pointer, ProblemCollector problems)
    {
        if (retry is null)
        {
            return;
        }
        if (retry is { On.IsEmpty: true, StatusCodes.IsEmpty: true, Headers.IsEmpty: true })
        {
            problems.Error(
                $"{pointer}/on",
                "no-retry-condition",
                "Without a condition nothing is tried again. Give some, for example [connect-failure, refused-stream, unavailable]."
            );
        }
        foreach (var (at, condition) in retry.On.Index())
        {
            ValidateCondition(condition, $"{pointer}/on/{at}", problems);
        }
        ValidateNeeds(retry, pointer, problems);
        problems.Timeout($"{pointer}/perTryTimeout", retry.PerTryTimeout);
        problems.Timeout($"{pointer}/perTryIdleTimeout", retry.PerTryIdleTimeout);
        if (retry.PerTryTimeout > TimeSpan.Zero && timeout > TimeSpan.Zero && retry.PerTryTimeout >= timeout)
        {
            problems.Warning(
                $"{pointer}/perTryTimeout",
                "no-time-for-retry",
                $"A try may take as long as the whole request ({DurationText.Format(timeout.Value)}), so that none is left for another. Shorten it, or lengthen the route's timeout."
            );
        }
        if (retry.BackOff is { } backOff)
        {
            problems.Interval($"{pointer}/backOff/baseInterval", backOff.BaseInterval);
            problems.Interval($"{pointer}/backOff/maxInterval", backOff.MaxInterval);
            if (backOff.MaxInterval < backOff.BaseInterval)
            {
                problems.Error(
                    $"{pointer}/backOff/maxInterval",
                    "max-below-base",
                    "The longest pause is shorter than the first. Raise it, or leave it out for ten times the first."
                );
            }
        }
        if (retry.HostSelectionAttempts == 0)
        {
            problems.Error(
                $"{pointer}/hostSelectionAttempts",
                "out-of-range",
                "An endpoint is chosen at least once; say avoidPreviousHosts: false instead."
            );
        }
        foreach (var (at, code) in retry.StatusCodes.Index())
        {
            problems.InRange($"{pointer}/statusCodes/{at}", code, 100u, 599u);
        }
        RouteMatchValidator.Validate(retry.Headers, $"{pointer}/headers", problems);
        RouteMatchValidator.Validate(retry.RequestHeaders, $"{pointer}/requestHeaders", problems);
    }

    private static void ValidateCondition(string condition, string pointer, ProblemCollector problems)
    {
        if (condition.AsSpan().IndexOfAny(", ") >= 0)
        {
            problems.Error(pointer, "several-conditions", "Write each condition as an item of the list.");
        }
        else if (!Conditions.Contains(condition))
        {
            problems.Warning(
                pointer,
                "unknown-retry-condition",
                $"Envoy knows no condition {TextExcerpt.Quote(condition)} and passes over it.{Suggestion.For(condition, Conditions)}"
            );
        }
    }

    private static void ValidateNeeds(RetrySpec retry, string pointer, ProblemCollector problems)
    {
        if (retry.StatusCodes.IsEmpty && retry.On.Contains("retriable-status-codes"))
        {
            problems.Warning(
                $"{pointer}/statusCodes",
                "no-effect",
                "The condition retriable-status-codes does nothing without status codes."
            );
        }
        if (retry.Headers.IsEmpty && retry.On.Contains("retriable-headers"))
        {
            problems.Warning($"{pointer}/headers", "no-effect", "The condition retriable-headers does nothing without headers.");
        }
    }
}
