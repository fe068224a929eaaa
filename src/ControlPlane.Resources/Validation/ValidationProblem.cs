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

/// <summary>
/// Gathers the problems of an object, so that its author sees them in one answer. Of each severity the first <see cref="MaxOfSeverity"/> are kept and the others counted: a body of some
/// megabytes can hold a million.
/// </summary>
public sealed class ProblemCollector
{
    /// <summary>Most problems of one severity that are kept.</summary>
    public const int MaxOfSeverity = 100;

    /// <summary>Code of the problem that stands for those that were not kept.</summary>
    public const string More = "more-problems";

    private readonly List<ValidationProblem> _kept = [];
    private int _errors;
    private int _warnings;

    /// <summary>What was found, in the order of finding. Where more was found than is kept, the last says how much.</summary>
    public IReadOnlyList<ValidationProblem> Problems =>
        _errors <= MaxOfSeverity && _warnings <= MaxOfSeverity
            ? _kept
            :
            [
                .. _kept,
                .. Rest(ProblemSeverity.Warning, _warnings, "warnings."),
                .. Rest(ProblemSeverity.Error, _errors, "faults. Mend these first."),
            ];

    /// <summary>Whether the object must be refused.</summary>
    public bool HasErrors => _errors > 0;

    /// <summary>Whether a further error would only be counted, so that its message need not be made.</summary>
    public bool IsFull => _errors >= MaxOfSeverity;

    /// <summary>Records a fault for which the object is refused.</summary>
    public void Error(string pointer, string code, string message) => Add(new ValidationProblem(pointer, code, message));

    /// <summary>Records something that its author should know and that does not keep the object out.</summary>
    public void Warning(string pointer, string code, string message) =>
        Add(new ValidationProblem(pointer, code, message, ProblemSeverity.Warning));

    /// <summary>Takes over a problem found elsewhere.</summary>
    public void Add(ValidationProblem problem)
    {
        if (++(problem.Severity == ProblemSeverity.Error ? ref _errors : ref _warnings) <= MaxOfSeverity)
        {
            _kept.Add(problem);
        }
    }

    /// <summary>Takes over all that another found, what it only counted included.</summary>
    /// <param name="other">The other.</param>
    /// <param name="map">What becomes of a problem on the way; null leaves it as it is.</param>
    public void AddAll(ProblemCollector other, Func<ValidationProblem, ValidationProblem>? map = null)
    {
        foreach (var problem in other._kept)
        {
            Add(map is null ? problem : map(problem));
        }

        _errors += Math.Max(0, other._errors - MaxOfSeverity);
        _warnings += Math.Max(0, other._warnings - MaxOfSeverity);
    }

    private static IEnumerable<ValidationProblem> Rest(ProblemSeverity severity, int found, string noun) =>
        found <= MaxOfSeverity
            ? []
            : [new ValidationProblem("", More, $"There are at least {found - MaxOfSeverity} more {noun}", severity)];
}
