using System.Globalization;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Reading;

/// <summary>Where in a document the binder is, and what it found so far. Pointers are only made up when something is wrong.</summary>
internal sealed class BindingContext(ProblemCollector problems, int line, int column)
{
    private readonly List<Frame> _path = [new Frame(null, -1, line, column)];

    private readonly record struct Frame(string? Key, int Index, int Line, int Column);

    /// <summary>Whether a further fault would only be counted.</summary>
    public bool IsFull => problems.IsFull;

    public void Enter(in MappingEntry entry) => _path.Add(new Frame(entry.Key, -1, entry.Line, entry.Column));

    public void Enter(int index, DocumentNode item) => _path.Add(new Frame(null, index, item.Line, item.Column));

    public void Leave() => _path.RemoveAt(_path.Count - 1);

    /// <summary>Records a fault of the value that the binder is in.</summary>
    public void Error(string code, string message) => problems.Add(Problem("", code, message));

    /// <summary>Records a member that nobody knows.</summary>
    /// <param name="entry">The member.</param>
    /// <param name="known">The members that there are, to find the one that is meant.</param>
    /// <param name="hint">What to say where none is near.</param>
    public void UnknownMember(in MappingEntry entry, IEnumerable<string> known, Func<string> hint)
    {
        Enter(entry);
        // Looking for what is meant is dear, and what is only counted is not told.
        var suggestion = IsFull ? "" : Suggestion.For(entry.Key, known);
        Error(
            "unknown-field",
            IsFull ? "" : $"The field {TextExcerpt.Quote(entry.Key)} is not known here.{(suggestion.Length > 0 ? suggestion : hint())}"
        );
        Leave();
    }

    /// <summary>Records a fault of a member that is not there.</summary>
    public void MissingMember(string name, string message) =>
        problems.Add(Problem("/" + JsonPointer.Escape(name), "missing-field", message));

    private ValidationProblem Problem(string tail, string code, string message)
    {
        var pointer = string.Concat(
            _path.Skip(1).Select(f => "/" + (f.Key is { } key ? JsonPointer.Escape(key) : f.Index.ToString(CultureInfo.InvariantCulture)))
        );
        return new ValidationProblem(pointer + tail, code, message, Line: _path[^1].Line, Column: _path[^1].Column);
    }
}
