using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Secrets;

/// <summary>Rules of a secret by itself. What its values are can only be checked where they are read.</summary>
public static class SecretValidator
{
    /// <summary>Validates a secret.</summary>
    public static void Validate(SecretSpec spec, ProblemCollector problems)
    {
        problems.OneOf(
            "/spec",
            isRequired: true,
            ("certificate", spec.Certificate is not null),
            ("validationContext", spec.ValidationContext is not null),
            ("sessionTicketKeys", !spec.SessionTicketKeys.IsEmpty),
            ("generic", spec.Generic is not null)
        );
        foreach (var (pointer, source) in spec.Sources())
        {
            ValidateSource(source, pointer, problems);
        }
    }

    private static void ValidateSource(SecretSource source, string pointer, ProblemCollector problems)
    {
        problems.OneOf(
            pointer,
            isRequired: true,
            ("file", source.File is not null),
            ("env", source.Env is not null),
            ("inline", source.Inline is not null)
        );
        problems.NotEmpty($"{pointer}/file", source.File);
        problems.NotEmpty($"{pointer}/env", source.Env);
        problems.NotEmpty($"{pointer}/inline", source.Inline);
        if (source.File is { } file && file.Contains('\0', StringComparison.Ordinal))
        {
            problems.Error($"{pointer}/file", "invalid-path", "The path contains a zero byte.");
        }
        if (source.Env is { } env && (env.Contains('=', StringComparison.Ordinal) || env.Contains('\0', StringComparison.Ordinal)))
        {
            problems.Error($"{pointer}/env", "invalid-variable-name", "This cannot be the name of an environment variable.");
        }
    }
}
