using System.Collections.Immutable;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources;

/// <summary>Selects proxies. A proxy belongs to the group where any selector matches it.</summary>
public sealed record NodeGroupSpec : ResourceSpec
{
    /// <summary>The selectors; at least one.</summary>
    public required ImmutableArray<NodeSelector> Selectors { get; init; }
}

/// <summary>Conditions on what a proxy says of itself (config.core.v3.Node). All that are given must hold; at least one is given.</summary>
public sealed record NodeSelector
{
    /// <summary><c>Node.id</c> is one of these; a <c>*</c> at the end stands for any rest.</summary>
    public ImmutableArray<string> Ids { get; init; } = [];

    /// <summary><c>Node.cluster</c> is one of these; a <c>*</c> at the end stands for any rest.</summary>
    public ImmutableArray<string> Clusters { get; init; } = [];

    /// <summary><c>Node.locality.region</c>.</summary>
    public string? Region { get; init; }

    /// <summary><c>Node.locality.zone</c>.</summary>
    public string? Zone { get; init; }

    /// <summary><c>Node.locality.sub_zone</c>.</summary>
    public string? SubZone { get; init; }

    /// <summary><c>Node.metadata</c> has each of these values; nested keys are joined by a dot, numbers and booleans are written as text.</summary>
    public ImmutableSortedDictionary<string, string> Metadata { get; init; } = ImmutableSortedDictionary<string, string>.Empty;
}

internal static class NodeGroupValidator
{
    public static void Validate(NodeGroupSpec spec, ProblemCollector problems)
    {
        if (spec.Selectors.IsEmpty)
        {
            problems.Error(
                "/spec/selectors",
                "empty-list",
                "A group without selectors has no proxies. Give at least one; an object for all proxies names no group."
            );
        }

        for (var i = 0; i < spec.Selectors.Length; i++)
        {
            var selector = spec.Selectors[i];
            var pointer = $"/spec/selectors/{i}";
            if (selector is { Ids.IsEmpty: true, Clusters.IsEmpty: true, Region: null, Zone: null, SubZone: null, Metadata.IsEmpty: true })
            {
                problems.Error(
                    pointer,
                    "empty-selector",
                    "A selector without conditions would match every proxy. Give ids, clusters, a locality or metadata."
                );
            }

            CheckPatterns(selector.Ids, pointer + "/ids", problems);
            CheckPatterns(selector.Clusters, pointer + "/clusters", problems);
        }
    }

    private static void CheckPatterns(ImmutableArray<string> patterns, string pointer, ProblemCollector problems)
    {
        for (var i = 0; i < patterns.Length; i++)
        {
            var star = patterns[i].IndexOf('*', StringComparison.Ordinal);
            if (patterns[i].Length == 0 || (star >= 0 && star != patterns[i].Length - 1))
            {
                problems.Error($"{pointer}/{i}", "invalid-pattern", "Write the whole text, or its beginning and a * at the very end.");
            }
        }
    }
}
