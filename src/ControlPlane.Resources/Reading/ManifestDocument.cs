using System.Globalization;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Reading;

/// <summary>What an input holds.</summary>
/// <param name="Documents">Its objects, in the order of the input.</param>
/// <param name="Problems">Faults of the input as a whole: syntax, size, duplicate keys.</param>
public sealed record ManifestInput(IReadOnlyList<ManifestDocument> Documents, IReadOnlyList<ValidationProblem> Problems)
{
    /// <summary>Whether anything keeps the input from being taken.</summary>
    public bool HasErrors => Problems.Any(p => p.Severity == ProblemSeverity.Error) || Documents.Any(d => d.Manifest is null);
}

/// <summary>One object of an input.</summary>
public sealed class ManifestDocument
{
    private readonly DocumentNode _root;

    internal ManifestDocument(
        int index,
        DocumentNode root,
        ResourceKind? kind,
        string? name,
        Manifest? manifest,
        string? resourceVersion,
        IReadOnlyList<ValidationProblem> problems
    )
    {
        _root = root;
        Index = index;
        Kind = kind;
        Name = name;
        Manifest = manifest;
        ResourceVersion = resourceVersion;
        Problems = problems;
    }

    /// <summary>Position in the input, from 0.</summary>
    public int Index { get; }

    /// <summary>Line in the input where the object begins, from 1.</summary>
    public int Line => _root.Line;

    /// <summary>The kind, where it could be read.</summary>
    public ResourceKind? Kind { get; }

    /// <summary>The name, where it could be read; it may be an invalid one.</summary>
    public string? Name { get; }

    /// <summary>The object; null where a fault is an error.</summary>
    public Manifest? Manifest { get; }

    /// <summary>The object as far as it could be read, where its faults are of its content; null where they are of its form. Good for finding more faults, never to be stored.</summary>
    public Manifest? Draft { get; internal init; }

    /// <summary><c>metadata.resourceVersion</c>: the state that the author changed; null where the input does not say.</summary>
    public string? ResourceVersion { get; }

    /// <summary>
    /// The revision of the stored object from which values were taken in the place of <see cref="CanonicalForm.Redacted"/>; null if none were. The object must
    /// still be at it when this one is written.
    /// </summary>
    public long? RestoredFrom { get; internal init; }

    /// <summary>Where values of the stored object were taken in, as JSON pointers. Whoever takes the object sees to it that it shows none of them.</summary>
    public IReadOnlyList<string> Restored { get; internal init; } = [];

    /// <summary>All that is wrong with the object, or worth knowing.</summary>
    public IReadOnlyList<ValidationProblem> Problems { get; }

    /// <summary>Gives a problem that was found later the line and column of its pointer, or of the nearest place above it that the text has.</summary>
    public ValidationProblem Locate(ValidationProblem problem) => Locate(_root, problem);

    internal static ValidationProblem Locate(DocumentNode root, ValidationProblem problem)
    {
        var (line, column) = (root.Line, root.Column);
        var node = root;
        foreach (var segment in JsonPointer.Segments(problem.Pointer))
        {
            switch (node)
            {
                case MappingNode mapping when (mapping.Find(segment) ?? mapping.FindWord(segment)) is { } entry:
                    (line, column, node) = (entry.Line, entry.Column, entry.Value);
                    continue;
                case SequenceNode sequence
                    when int.TryParse(segment, NumberStyles.None, CultureInfo.InvariantCulture, out var index)
                        && index < sequence.Items.Count:
                    node = sequence.Items[index];
                    (line, column) = (node.Line, node.Column);
                    continue;
            }

            break;
        }

        return problem with
        {
            Line = line,
            Column = column,
        };
    }
}
