namespace ControlPlane.Resources.Validation;

/// <summary>How bad a problem is.</summary>
public enum ProblemSeverity
{
    /// <summary>The object is refused.</summary>
    Error,

    /// <summary>The object is taken, and its author is told.</summary>
    Warning,
}

/// <summary>One thing that is wrong with an object: where, what, and how to mend it.</summary>
/// <param name="Pointer">JSON pointer (RFC 6901) from the manifest's root, for example <c>/spec/endpoints/static/0/port</c>.</param>
/// <param name="Code">Stable, documented, kebab-case, for example <c>unknown-field</c>.</param>
/// <param name="Message">A sentence that says what was wrong and how to mend it; never holds a secret's value.</param>
/// <param name="Severity">Whether the object is refused.</param>
/// <param name="Line">Line in the document, from 1; 0 where the document's text is not at hand.</param>
/// <param name="Column">Column in the line, from 1; 0 where the document's text is not at hand.</param>
public sealed record ValidationProblem(
    string Pointer,
    string Code,
    string Message,
    ProblemSeverity Severity = ProblemSeverity.Error,
    int Line = 0,
    int Column = 0
);

/// <summary>Gathers all problems of an object, so that its author sees them in one answer.</summary>
public sealed class ProblemCollector
{
    private readonly List<ValidationProblem> _problems = [];

    /// <summary>All that was found, in the order of finding.</summary>
    public IReadOnlyList<ValidationProblem> Problems => _problems;

    /// <summary>Whether the object must be refused.</summary>
    public bool HasErrors => _problems.Exists(p => p.Severity == ProblemSeverity.Error);

    /// <summary>Records a fault for which the object is refused.</summary>
    public void Error(string pointer, string code, string message) => _problems.Add(new ValidationProblem(pointer, code, message));

    /// <summary>Records something that its author should know and that does not keep the object out.</summary>
    public void Warning(string pointer, string code, string message) =>
        _problems.Add(new ValidationProblem(pointer, code, message, ProblemSeverity.Warning));

    /// <summary>Takes over a problem found elsewhere.</summary>
    public void Add(ValidationProblem problem) => _problems.Add(problem);
}
