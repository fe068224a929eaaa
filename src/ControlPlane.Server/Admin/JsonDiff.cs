using System.Collections.Immutable;
using System.Text.Json.Nodes;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Server.Admin;

/// <summary>Finds the values in which two documents differ.</summary>
internal static class JsonDiff
{
    /// <summary>Most differences that are told of one object; the rest adds nothing to a reader.</summary>
    private const int MaxChanges = 1000;

    /// <summary>
    /// Compares two documents that may hold secrets and shows the same places of two that do not. So a changed secret is a change, and nothing of it is seen.
    /// </summary>
    public static ImmutableArray<ValueDiff> Compare(JsonNode? before, JsonNode? after, JsonNode? shownBefore, JsonNode? shownAfter)
    {
        var changes = ImmutableArray.CreateBuilder<ValueDiff>();
        Walk("", before, after, shownBefore, shownAfter, changes);
        return changes.ToImmutable();
    }

    /// <summary>Compares two documents without secrets.</summary>
    public static ImmutableArray<ValueDiff> Compare(JsonNode? before, JsonNode? after) => Compare(before, after, before, after);

    private static void Walk(
        string pointer,
        JsonNode? before,
        JsonNode? after,
        JsonNode? shownBefore,
        JsonNode? shownAfter,
        ImmutableArray<ValueDiff>.Builder changes
    )
    {
        if (changes.Count >= MaxChanges || JsonNode.DeepEquals(before, after))
        {
            return;
        }

        switch (before, after)
        {
            case (JsonObject old, JsonObject now):
                foreach (var name in old.Select(m => m.Key).Union(now.Select(m => m.Key)).Order(StringComparer.Ordinal))
                {
                    Walk(
                        $"{pointer}/{JsonPointer.Escape(name)}",
                        old[name],
                        now[name],
                        Member(shownBefore, name),
                        Member(shownAfter, name),
                        changes
                    );
                }

                break;
            case (JsonArray old, JsonArray now):
                for (var i = 0; i < Math.Max(old.Count, now.Count); i++)
                {
                    Walk($"{pointer}/{i}", At(old, i), At(now, i), At(shownBefore, i), At(shownAfter, i), changes);
                }

                break;
            default:
                changes.Add(new ValueDiff(pointer, shownBefore?.DeepClone(), shownAfter?.DeepClone()));
                break;
        }
    }

    // What is shown can end above what is compared: a whole object may be a secret. Then its marker stands for every place in it.
    private static JsonNode? Member(JsonNode? node, string name) => node is JsonObject members ? members[name] : node;

    private static JsonNode? At(JsonNode? node, int index) =>
        node is not JsonArray items ? node
        : index < items.Count ? items[index]
        : null;
}
