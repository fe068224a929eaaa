using ControlPlane.Resources.Validation;

namespace ControlPlane.Core.Compilation;

/// <summary>
/// A spec that its validator takes and that still cannot be compiled, because something raw in it is not what it says it is, or because another object that
/// it contains is missing.
/// </summary>
/// <param name="pointer">JSON pointer from the manifest's root.</param>
/// <param name="code">Stable, kebab-case.</param>
/// <param name="message">What was wrong and how to mend it.</param>
public sealed class CompilationException(string pointer, string code, string message) : Exception(message)
{
    /// <summary>What to tell the author.</summary>
    public ValidationProblem Problem { get; } = new(pointer, code, message);
}
