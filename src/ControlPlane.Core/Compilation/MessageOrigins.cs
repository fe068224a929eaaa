using System.Diagnostics.CodeAnalysis;

namespace ControlPlane.Core.Compilation;

/// <summary>
/// Where in a manifest the parts of a message come from that was compiled from it. What is wrong with a part may show only in the whole message; it is told where its author wrote it.
/// </summary>
public sealed class MessageOrigins
{
    private readonly Dictionary<string, Origin> _parts = new(StringComparer.Ordinal);

    private readonly record struct Origin(string Pointer, bool IsRaw);

    /// <summary>Says where a part comes from.</summary>
    /// <param name="part">JSON pointer into the message.</param>
    /// <param name="source">JSON pointer into the manifest.</param>
    public void Add(string part, string source) => _parts[part] = new Origin(source, IsRaw: false);

    /// <summary>Says where a part comes from that the manifest has in the words of the message, so that what is inside it stands there under the same names.</summary>
    /// <param name="part">JSON pointer into the message.</param>
    /// <param name="source">JSON pointer into the manifest.</param>
    public void AddRaw(string part, string source) => _parts[part] = new Origin(source, IsRaw: true);

    /// <summary>Takes over the origins of a message that is part of this one.</summary>
    /// <param name="part">Where the message stands in this one.</param>
    /// <param name="inner">Its own origins.</param>
    public void Add(string part, MessageOrigins inner)
    {
        foreach (var (pointer, origin) in inner._parts)
        {
            _parts[part + pointer] = origin;
        }
    }

    /// <summary>Finds where the nearest part around a place comes from.</summary>
    /// <param name="pointer">The place: a JSON pointer into the message.</param>
    /// <param name="source">A JSON pointer into the manifest.</param>
    /// <param name="isExact">Whether <paramref name="source"/> is the very place; else it is where the part around it comes from.</param>
    public bool TryFind(string pointer, [NotNullWhen(true)] out string? source, out bool isExact)
    {
        var parts = _parts.GetAlternateLookup<ReadOnlySpan<char>>();
        for (var end = pointer.Length; end > 0 && _parts.Count > 0; end = pointer.LastIndexOf('/', end - 1))
        {
            if (parts.TryGetValue(pointer.AsSpan(0, end), out var origin))
            {
                source = origin.IsRaw ? origin.Pointer + pointer[end..] : origin.Pointer;
                isExact = origin.IsRaw;
                return true;
            }
        }

        (source, isExact) = (null, false);
        return false;
    }
}
