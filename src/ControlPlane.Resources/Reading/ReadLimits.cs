namespace ControlPlane.Resources.Reading;

/// <summary>Bounds on what one input may cost, whatever is in it.</summary>
public sealed record ReadLimits
{
    /// <summary>The limits that hold unless others are given.</summary>
    public static ReadLimits Default { get; } = new();

    /// <summary>Size of the input in bytes.</summary>
    public int MaxBytes { get; init; } = 10 * 1024 * 1024;

    /// <summary>Objects and lists inside each other, per document.</summary>
    public int MaxDepth { get; init; } = 64;

    /// <summary>Objects, lists and single values in the whole input: each takes many times its two bytes of text to hold.</summary>
    public int MaxValues { get; init; } = 1_000_000;

    /// <summary>
    /// Values that YAML aliases may add to an input: an alias counts as much as what it stands for, so that a few lines cannot
    /// stand for billions of values.
    /// </summary>
    public int MaxAliasExpansion { get; init; } = 10_000;

    /// <summary>The fault of an input with more values than <see cref="MaxValues"/>.</summary>
    internal DocumentSyntaxException TooManyValues(int line, int column) =>
        new("too-many-values", $"The input has more than {MaxValues} values. Split it.", line, column);
}
