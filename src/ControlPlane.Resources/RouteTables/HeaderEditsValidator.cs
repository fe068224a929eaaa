using System.Collections.Immutable;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.RouteTables;

/// <summary>Rules of edits of headers.</summary>
internal static class HeaderEditsValidator
{
    /// <summary>Envoy's limit (<c>request_headers_to_add</c> and its like).</summary>
    private const int MostHeaders = 1000;

    /// <summary>Edits of a response.</summary>
    public static void ValidateResponse(HeaderEditsSpec? edits, string pointer, ProblemCollector problems)
    {
        Validate(edits, pointer, problems);
        var changed = edits is null ? [] : edits.Set.Keys.Concat(edits.Append.Keys).Concat(edits.AddIfAbsent.Keys).Concat(edits.Remove);
        if (changed.Contains("server", StringComparer.OrdinalIgnoreCase))
        {
            problems.Warning(
                pointer,
                "server-header",
                "Envoy writes its own 'server' over it, except on listeners that say serverHeader: passThrough."
            );
        }
    }

    /// <summary>Edits of a request.</summary>
    public static void Validate(HeaderEditsSpec? edits, string pointer, ProblemCollector problems)
    {
        if (edits is null)
        {
            return;
        }
        var owners = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        ValidateValues(edits.Set, $"{pointer}/set", owners, problems);
        ValidateValues(edits.Append, $"{pointer}/append", owners, problems);
        ValidateValues(edits.AddIfAbsent, $"{pointer}/addIfAbsent", owners, problems);
        if (owners.Count > MostHeaders)
        {
            problems.Error(
                pointer,
                "too-many-headers",
                $"Envoy takes at most {MostHeaders} headers to add here; these are {owners.Count}."
            );
        }
        foreach (var (at, name) in edits.Remove.Index())
        {
            problems.HeaderToChange($"{pointer}/remove/{at}", name);
        }
    }

    private static void ValidateValues(
        ImmutableSortedDictionary<string, string> headers,
        string pointer,
        Dictionary<string, string> owners,
        ProblemCollector problems
    )
    {
        foreach (var (name, value) in headers)
        {
            var at = $"{pointer}/{JsonPointer.Escape(name)}";
            if (problems.HeaderToChange(at, name) && !owners.TryAdd(name, at))
            {
                problems.Error(
                    at,
                    "duplicate-header",
                    $"The header {TextExcerpt.Quote(name)} stands at {owners[name]} already. Keep one of them."
                );
            }
            problems.HeaderFormat(at, value);
        }
    }
}
