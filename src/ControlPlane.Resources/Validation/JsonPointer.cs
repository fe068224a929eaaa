namespace ControlPlane.Resources.Validation;

/// <summary>Builds and takes apart JSON pointers (RFC 6901), the form in which problems name a place.</summary>
public static class JsonPointer
{
    /// <summary>A key as it stands in a pointer: <c>~</c> becomes <c>~0</c>, <c>/</c> becomes <c>~1</c>.</summary>
    public static string Escape(string key) =>
        key.AsSpan().IndexOfAny('~', '/') < 0
            ? key
            : key.Replace("~", "~0", StringComparison.Ordinal).Replace("/", "~1", StringComparison.Ordinal);

    /// <summary>
    /// A pointer to be shown: of a very long key only the beginning. Somebody may have pasted a text, even a secret, where a field's name belongs.
    /// </summary>
    public static string Excerpt(string pointer)
    {
        const int LongestKey = 64;
        const int Shown = 40;
        return pointer.Length <= LongestKey
            ? pointer
            : string.Join('/', pointer.Split('/').Select(s => s.Length <= LongestKey ? s : s[..Shown].TrimEnd('~') + "…"));
    }

    /// <summary>The keys and indexes of a pointer, unescaped. The pointer to the whole document has none.</summary>
    public static IEnumerable<string> Segments(string pointer) =>
        pointer.Split('/').Skip(1).Select(s => s.Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal));
}
