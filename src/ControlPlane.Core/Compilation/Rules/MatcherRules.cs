using ControlPlane.Resources.RouteTables;
using ControlPlane.Resources.Validation;
using Envoy.Config.Route.V3;
using Envoy.Type.Matcher.V3;
using static ControlPlane.Core.Compilation.Rules.SemanticRules;
using UriTemplateMatch = Envoy.Extensions.Path.Match.UriTemplate.V3.UriTemplateMatchConfig;
using UriTemplateRewrite = Envoy.Extensions.Path.Rewrite.UriTemplate.V3.UriTemplateRewriteConfig;
using XdsRegexMatcher = Xds.Type.Matcher.V3.RegexMatcher;

namespace ControlPlane.Core.Compilation.Rules;

/// <summary>Regular expressions and path templates.</summary>
internal static class MatcherRules
{
    public static IEnumerable<MessageRule> All() =>
        [
            On<RegexMatcher>((m, path) => path.Problems.Re2(path.Pointer + "/regex", m.Regex)),
            On<XdsRegexMatcher>((m, path) => path.Problems.Re2(path.Pointer + "/regex", m.Regex)),
            On<RegexMatchAndSubstitute>(CheckSubstitution),
            On<Route>(CheckTemplateRewrite),
            On<UriTemplateMatch>(
                (m, path) =>
                {
                    if (PathTemplate.ExplainMatch(m.PathTemplate, out _) is { } fault)
                    {
                        path.Error("/pathTemplate", "invalid-path-template", fault);
                    }
                }
            ),
        ];

    private static void CheckTemplateRewrite(Route route, MessagePath path)
    {
        if (EnvoyTypes.Unpack<UriTemplateRewrite>(route.Route_?.PathRewritePolicy?.TypedConfig) is not { } rewrite)
        {
            return;
        }

        var match = EnvoyTypes.Unpack<UriTemplateMatch>(route.Match?.PathMatchPolicy?.TypedConfig);
        if (match is null)
        {
            path.Error(
                "/route/pathRewritePolicy",
                "path-rewrite-template",
                $"A template rewrites only what a template matched. Give the match a pathMatchPolicy of type {UriTemplateMatch.Descriptor.FullName}."
            );
        }
        else if (
            PathTemplate.ExplainMatch(match.PathTemplate, out var variables) is null
            && PathTemplate.ExplainRewrite(rewrite.PathTemplateRewrite, variables) is { } fault
        )
        {
            path.Error("/route/pathRewritePolicy/typedConfig/pathTemplateRewrite", "path-rewrite-template", fault);
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
