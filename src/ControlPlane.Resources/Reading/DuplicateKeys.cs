using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Reading;

/// <summary>Finds keys that an object holds twice: which of the two is meant, nobody can know. Each is a problem; the first is kept, to read on.</summary>
internal sealed class DuplicateKeys
{
    private const int ScanLimit = 8;

    /// <summary>What was found. The pointer is empty: where several documents are read at once the line says more.</summary>
    public ProblemCollector Problems { get; } = new();

    public void Check(List<MappingEntry> entries)
    {
        if (entries.Count <= 1)
        {
            return;
        }

        // Most objects are small: comparing pairs is cheaper than hashing.
        var seen = entries.Count > ScanLimit ? new Dictionary<string, MappingEntry>(entries.Count, StringComparer.Ordinal) : null;
        var kept = 0;
        for (var i = 0; i < entries.Count; i++)
        {
            var entry = entries[i];
            if (FindEarlier(entries, kept, seen, entry) is { } first)
            {
                Problems.Add(
                    new ValidationProblem(
                        "",
                        "duplicate-key",
                        $"The key {TextExcerpt.Quote(entry.Key)} stands twice in one object (first in line {first.Line}). Remove one.",
                        Line: entry.Line,
                        Column: entry.Column
                    )
                );
                continue;
            }

            entries[kept++] = entry;
        }

        entries.RemoveRange(kept, entries.Count - kept);
    }

    private static MappingEntry? FindEarlier(
        List<MappingEntry> entries,
        int kept,
        Dictionary<string, MappingEntry>? seen,
        MappingEntry entry
    )
    {
        if (seen is not null)
        {
            return seen.TryAdd(entry.Key, entry) ? null : seen[entry.Key];
        }

        for (var i = 0; i < kept; i++)
        {
            if (entries[i].Key == entry.Key)
            {
                return entries[i];
            }
        }

        return null;
    }
}
