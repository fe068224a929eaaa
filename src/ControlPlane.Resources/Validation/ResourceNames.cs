using System.Buffers;

namespace ControlPlane.Resources.Validation;

/// <summary>
/// What a name may look like. Names become names of Envoy resources and with that parts of statistics, logs, URLs and SQL, so that one plain alphabet serves
/// all kinds. Envoy turns <c>:</c> into <c>_</c> in statistics and takes everything else as it is. Where Envoy wants a freer name
/// (<c>xdstp://</c>, SPIFFE ids) an <see cref="ResourceKind.EnvoyResource"/> carries it inside its message.
/// </summary>
public static class ResourceNames
{
    /// <summary>Longest name, in characters; of a sub-resource, longest part.</summary>
    public const int MaxLength = 253;

    private static readonly SearchValues<char> NameCharacters = SearchValues.Create(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:"
    );

    /// <summary>Endpoint ids may moreover hold the brackets of an IPv6 address, because <c>ADDRESS:PORT</c> is the id that an endpoint gets unasked.</summary>
    private static readonly SearchValues<char> IdCharacters = SearchValues.Create(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:[]"
    );

    /// <summary>Says what is wrong with the name of an object and how to mend it; null where nothing is.</summary>
    public static string? Explain(ResourceKind kind, string name)
    {
        if (kind is not (ResourceKind.Endpoint or ResourceKind.Override))
        {
            return ExplainPart("A name", name, NameCharacters, "letters, digits and - _ . :");
        }

        var slash = name.IndexOf('/', StringComparison.Ordinal);
        return slash < 0
            ? $"The name of an {kind} is UPSTREAM/ID, for example cart/10.0.1.11:8080."
            : ExplainPart("The upstream's name", name[..slash], NameCharacters, "letters, digits and - _ . :")
                ?? ExplainPart("The endpoint's id", name[(slash + 1)..], IdCharacters, "letters, digits and - _ . : [ ]");
    }

    private static string? ExplainPart(string what, string part, SearchValues<char> allowed, string inWords)
    {
        if (part.Length is 0 or > MaxLength)
        {
            return $"{what} has 1 to {MaxLength} characters; this one has {part.Length}.";
        }

        var at = part.AsSpan().IndexOfAnyExcept(allowed);
        if (at >= 0)
        {
            return $"{what} is made of {inWords}; the character {at + 1} of this one is something else. Rename the object.";
        }

        return part is "." or ".." ? $"{what} may not be '{part}': in a URL it would mean a folder." : null;
    }
}
