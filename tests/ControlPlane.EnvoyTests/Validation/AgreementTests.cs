using System.Collections.Immutable;
using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources.RouteTables;
using ControlPlane.Resources.Validation;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.Validation;

/// <summary>Where we know a grammar of Envoy's, we take what every supported Envoy takes, and refuse what one of them refuses.</summary>
[Trait("Category", "slow")]
public sealed class AgreementTests
{
    [Theory]
    [InlineData("%NOPE%")]
    [InlineData("%REQ%")]
    [InlineData("%REQ()%")]
    [InlineData("%REQ(x)%")]
    [InlineData("%REQ(X-A?:PATH):10%")]
    [InlineData("%REQ(a?b?c)%")]
    [InlineData("%REQ(a b)%")]
    [InlineData("100%")]
    [InlineData("100%%")]
    [InlineData("%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%")]
    [InlineData("%START_TIME%")]
    [InlineData("%PROTOCOL(x)%")]
    [InlineData("%PROTOCOL:3%")]
    [InlineData("%protocol%")]
    [InlineData("%PROTOCOL")]
    [InlineData("% PROTOCOL %")]
    [InlineData("%UPSTREAM_CLUSTER%/%ROUTE_NAME%")]
    [InlineData("%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:sub)%")]
    [InlineData("%FILTER_STATE(key:PLAIN)%")]
    [InlineData("%ENVIRONMENT(HOSTNAME)%")]
    [InlineData("%DOWNSTREAM_PEER_CERT_V_END(%F)%")]
    [InlineData("%QUERY_PARAM(page)%")]
    [InlineData("%TRACE_ID%")]
    public Task On_command_operators_we_agree_with_Envoy(string value) =>
        AgreeAsync(new RouteTableSpec { VirtualHosts = [Host(new RouteMatchSpec { Prefix = "/" }, requestHeader: value)] });

    [Theory]
    [InlineData("/")]
    [InlineData("/a/")]
    [InlineData("/a/{x}/{y}/{z}/{a}/{b}")]
    [InlineData("/a/{x}/{y}/{z}/{a}/{b}/{c}")]
    [InlineData("/{abcdefghijklmnop}")]
    [InlineData("/{abcdefghijklmnopq}")]
    [InlineData("/{x}/{x}")]
    [InlineData("/{1x}")]
    [InlineData("/{x_1}")]
    [InlineData("/{x")]
    [InlineData("/{x=}")]
    [InlineData("/{x=/b}")]
    [InlineData("/{x=a/}")]
    [InlineData("/{x=*a}")]
    [InlineData("/{x=a*}")]
    [InlineData("/{x=***}")]
    [InlineData("/{x=a=b}")]
    [InlineData("/{x=**}.mp4")]
    [InlineData("/{x=**}/b")]
    [InlineData("/{x=a/**}/{y}")]
    [InlineData("/{x}a{y}")]
    [InlineData("/{x=a}b/c")]
    [InlineData("/a{x}")]
    [InlineData("/**/b")]
    [InlineData("/**/*")]
    [InlineData("/**/{x}")]
    [InlineData("/**/")]
    [InlineData("/***")]
    [InlineData("/*a")]
    [InlineData("/*.x/y")]
    [InlineData("/*{x}")]
    [InlineData("/a*")]
    [InlineData("/a=b")]
    [InlineData("/a~b;c,d@e")]
    [InlineData("/a b")]
    [InlineData("/a\"b")]
    [InlineData("/ä")]
    [InlineData("/a//b")]
    [InlineData("a")]
    public Task On_path_templates_we_agree_with_Envoy(string template) =>
        AgreeAsync(new RouteTableSpec { VirtualHosts = [Host(new RouteMatchSpec { PathTemplate = template })] });

    [Theory]
    [InlineData("/b")]
    [InlineData("/{x}/")]
    [InlineData("/{x}{x}")]
    [InlineData("/a{x}b")]
    [InlineData("/*")]
    [InlineData("/a=b")]
    [InlineData("/{y}")]
    [InlineData("/{x}}")]
    [InlineData("/{x")]
    [InlineData("/{}")]
    [InlineData("/b//c")]
    [InlineData("/b c")]
    [InlineData("/b?x")]
    [InlineData("b")]
    public Task On_rewrites_by_template_we_agree_with_Envoy(string template) =>
        AgreeAsync(
            new RouteTableSpec
            {
                VirtualHosts = [Host(new RouteMatchSpec { PathTemplate = "/a/{x}" }, new RewriteSpec { PathTemplate = template })],
            }
        );

    [Theory]
    [InlineData(":path")]
    [InlineData(":authority")]
    [InlineData("Host")]
    [InlineData("x-a")]
    [InlineData("X_A")]
    public Task On_headers_that_may_be_changed_we_agree_with_Envoy(string name) =>
        AgreeAsync(
            new RouteTableSpec
            {
                VirtualHosts = [Host(new RouteMatchSpec { Prefix = "/" })],
                ResponseHeaders = new HeaderEditsSpec { Remove = [name] },
            }
        );

    private static VirtualHostSpec Host(RouteMatchSpec match, RewriteSpec? rewrite = null, string? requestHeader = null) =>
        new()
        {
            Domains = ["*"],
            Routes =
            [
                new RouteSpec
                {
                    Match = match,
                    Upstream = "web",
                    Rewrite = rewrite,
                    RequestHeaders = requestHeader is null
                        ? null
                        : new HeaderEditsSpec
                        {
                            Set = new Dictionary<string, string> { ["x-test"] = requestHeader }.ToImmutableSortedDictionary(),
                        },
                },
            ],
        };

    private static async Task AgreeAsync(RouteTableSpec spec)
    {
        var problems = new ProblemCollector();
        RouteTableValidator.Validate(spec, problems);
        JsonNode compiled = ProtoJsonWriter.Write(RouteTableCompiler.Compile("test", spec, problems), redact: false);
        string?[] refusals =
        [
            await EnvoyVerdict.RefusalOfRoutesAsync(EnvoyRelease.Current, compiled),
            await EnvoyVerdict.RefusalOfRoutesAsync(EnvoyRelease.Oldest, compiled),
        ];

        var ours = string.Join('\n', problems.Problems.Select(p => $"{p.Pointer}: {p.Message}"));
        Assert.True(
            problems.HasErrors == refusals.Any(r => r is not null),
            $"ours: {(ours.Length == 0 ? "taken" : ours)}\nEnvoy's: {refusals.FirstOrDefault(r => r is not null) ?? "taken"}"
        );
    }
}
