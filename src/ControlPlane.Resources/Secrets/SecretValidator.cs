using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Secrets;

/// <summary>Rules of a secret by itself. What its values are can only be checked where they are read.</summary>
public static class SecretValidator
{
    /// <summary>Validates a secret.</summary>
    public static void Validate(SecretSpec spec, ProblemCollector problems)
    {
        if (spec.Content() is null)
        {
            problems.Error("/spec", "one-of", "Give exactly one of 'certificate', 'validationContext', 'sessionTicketKeys' and 'generic'.");
        }
        foreach (var (pointer, source) in spec.Sources())
        {
            ValidateSource(source, pointer, problems);
        }
    }

    private static void ValidateSource(SecretSource source, string pointer, ProblemCollector problems)
    {
        string?[] given = [source.File, source.Env, source.Inline];
        if (given.Count(g => g is not null) != 1)
        {
            problems.Error(pointer, "one-of", "Give exactly one of 'file', 'env' and 'inline'.");
        }
        else if (given.Any(g => g is ""))
        {
            problems.Error(pointer, "empty-value", "The value is empty.");
        }
        else if (source.File is { } file && file.Contains('\0', StringComparison.Ordinal))
        {
            problems.Error($"{pointer}/file", "invalid-path", "The path contains a zero byte.");
        }
        else if (source.Env is { } env && (env.Contains('=', StringComparison.Ordinal) || env.Contains('\0', StringComparison.Ordinal)))
        {
            problems.Error($"{pointer}/env", "invalid-variable-name", "This cannot be the name of an environment variable.");
        }
    }
}
