using System.Collections.Immutable;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.RouteTables;

/// <summary>Rules of the descriptors for a rate-limit service.</summary>
internal static class RateLimitValidator
{
    public static void Validate(ImmutableArray<RateLimitSpec> limits, string pointer, ProblemCollector problems)
    {
        foreach (var (at, limit) in limits.Index())
        {
            problems.InRange($"{pointer}/{at}/stage", limit.Stage, 0u, 10u);
            problems.NotEmpty($"{pointer}/{at}/disableKey", limit.DisableKey);
            if (limit.Actions.IsEmpty)
            {
                problems.Error($"{pointer}/{at}/actions", "no-actions", "A descriptor has at least one entry.");
            }
            foreach (var (a, action) in limit.Actions.Index())
            {
                Validate(action, $"{pointer}/{at}/actions/{a}", problems);
            }
        }
    }

    private static void Validate(RateLimitActionSpec action, string pointer, ProblemCollector problems)
    {
        problems.OneOf(
            pointer,
            isRequired: true,
            ("sourceCluster", action.SourceCluster),
            ("destinationCluster", action.DestinationCluster),
            ("remoteAddress", action.RemoteAddress),
            ("maskedRemoteAddress", action.MaskedRemoteAddress is not null),
            ("requestHeader", action.RequestHeader is not null),
            ("genericKey", action.GenericKey is not null),
            ("headerValueMatch", action.HeaderValueMatch is not null),
            ("queryParameterValueMatch", action.QueryParameterValueMatch is not null),
            ("metadata", action.Metadata is not null)
        );
        if (action.MaskedRemoteAddress is { } mask)
        {
            problems.InRange($"{pointer}/maskedRemoteAddress/v4PrefixLength", mask.V4PrefixLength, 0u, 32u);
            problems.InRange($"{pointer}/maskedRemoteAddress/v6PrefixLength", mask.V6PrefixLength, 0u, 128u);
        }
        if (action.RequestHeader is { } header)
        {
            problems.HeaderToRead($"{pointer}/requestHeader/name", header.Name);
            problems.NotEmpty($"{pointer}/requestHeader/key", header.Key);
        }
        if (action.GenericKey is { } generic)
        {
            problems.NotEmpty($"{pointer}/genericKey/key", generic.Key);
            problems.NotEmpty($"{pointer}/genericKey/value", generic.Value);
        }
        if (action.HeaderValueMatch is { } headers)
        {
            problems.NotEmpty($"{pointer}/headerValueMatch/key", headers.Key);
            problems.NotEmpty($"{pointer}/headerValueMatch/value", headers.Value);
            RequireAny(headers.Headers.IsEmpty, $"{pointer}/headerValueMatch/headers", problems);
            RouteMatchValidator.Validate(headers.Headers, $"{pointer}/headerValueMatch/headers", problems);
        }
        if (action.QueryParameterValueMatch is { } query)
        {
            problems.NotEmpty($"{pointer}/queryParameterValueMatch/key", query.Key);
            problems.NotEmpty($"{pointer}/queryParameterValueMatch/value", query.Value);
            RequireAny(query.QueryParameters.IsEmpty, $"{pointer}/queryParameterValueMatch/queryParameters", problems);
            RouteMatchValidator.Validate(query.QueryParameters, $"{pointer}/queryParameterValueMatch/queryParameters", problems);
        }
        if (action.Metadata is { } metadata)
        {
            problems.NotEmpty($"{pointer}/metadata/key", metadata.Key);
            problems.NotEmpty($"{pointer}/metadata/namespace", metadata.Namespace);
            RequireAny(metadata.Path.IsEmpty, $"{pointer}/metadata/path", problems);
            foreach (var (at, step) in metadata.Path.Index())
            {
                problems.NotEmpty($"{pointer}/metadata/path/{at}", step);
            }
        }
    }

    private static void RequireAny(bool isEmpty, string pointer, ProblemCollector problems)
    {
        if (isEmpty)
        {
            problems.Error(pointer, "empty-list", "At least one is needed here.");
        }
    }
}
