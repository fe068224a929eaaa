using Envoy.Type.Matcher.V3;
using static ControlPlane.Core.Compilation.Rules.SemanticRules;
using UriTemplateMatch = Envoy.Extensions.Path.Match.UriTemplate.V3.UriTemplateMatchConfig;
using XdsRegexMatcher = Xds.Type.Matcher.V3.RegexMatcher;

namespace ControlPlane.Core.Compilation.Rules;

/// <summary>Regular expressions and path templates.</summary>
internal static class MatcherRules
{
    /// <summary>Envoy's default of the runtime key <c>re2.max_program_size.error_level</c>.</summary>
    private const int MaxProgramSize = 100;

    public static IEnumerable<MessageRule> All() =>
        [
            On<RegexMatcher>((m, path) => CheckRegex(m.Regex, path)),
            On<XdsRegexMatcher>((m, path) => CheckRegex(m.Regex, path)),
            On<RegexMatchAndSubstitute>(CheckSubstitution),
            On<UriTemplateMatch>(
                (m, path) =>
                {
                    if (UriTemplateSyntax.Explain(m.PathTemplate) is { } fault)
                    {
                        path.Error("/pathTemplate", "invalid-path-template", fault);
                    }
                }
            ),
        ];

    private static void CheckRegex(string regex, MessagePath path)
    {
        var check = Re2Syntax.Check(regex);
        if (check.Fault is { } fault)
        {
            path.Error("/regex", "invalid-regex", fault);
        }
        else if (check.ProgramSize > MaxProgramSize)
        {
            path.Warning(
                "/regex",
                "regex-size",
                $"The expression compiles to about {check.ProgramSize} steps; Envoy refuses more than {MaxProgramSize}, unless its runtime raises re2.max_program_size.error_level. Simplify it, or raise the limit in the bootstrap."
            );
        }
    }

    private static void CheckSubstitution(RegexMatchAndSubstitute rewrite, MessagePath path)
    {
        if (rewrite.Pattern is null || Re2Syntax.Check(rewrite.Pattern.Regex) is not { Fault: null } pattern)
        {
            return;
        }

        for (var i = 0; i < rewrite.Substitution.Length - 1; i++)
        {
            if (rewrite.Substitution[i] != '\\')
            {
                continue;
            }

            var next = rewrite.Substitution[++i];
            if (char.IsAsciiDigit(next) && next - '0' > pattern.Groups)
            {
                path.Warning(
                    "/substitution",
                    "substitution-group",
                    $"The substitution names group \\{next}, and the pattern has {pattern.Groups}: Envoy leaves the text unchanged."
                );
                return;
            }
        }
    }
}
