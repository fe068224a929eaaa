using System.Collections.Immutable;
using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources.RouteTables;
using ControlPlane.Resources.Validation;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.Compilation;

/// <summary>Where we know a grammar of Envoy's, we take what every supported Envoy takes, and refuse what one of them refuses.</summary>
[Trait("Category", "Slow")]
public sealed class GrammarTests
{
    [Fact]
    public Task On_command_operators_we_agree_with_Envoy() =>
        AgreeAsync(
            [
                "%NOPE%",
                "%REQ%",
                "%REQ()%",
                "%REQ(x)%",
                "%REQ(X-A?:PATH):10%",
                "%REQ(a?b?c)%",
                "%REQ(a b)%",
                "100%",
                "100%%",
                "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
                "%START_TIME%",
                "%PROTOCOL(x)%",
                "%PROTOCOL:3%",
                "%protocol%",
                "%PROTOCOL",
                "% PROTOCOL %",
                "%UPSTREAM_CLUSTER%/%ROUTE_NAME%",
                "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:sub)%",
                "%FILTER_STATE(key:PLAIN)%",
                "%ENVIRONMENT(HOSTNAME)%",
                "%DOWNSTREAM_PEER_CERT_V_END(%F)%",
                "%QUERY_PARAM(page)%",
                "%TRACE_ID%",
            ],
            value => Table(new RouteMatchSpec { Prefix = "/" }, requestHeader: value)
        );

    [Fact]
    public Task On_path_templates_we_agree_with_Envoy() =>
        AgreeAsync(
            [
                "/",
                "/a/",
                "/a/{x}/{y}/{z}/{a}/{b}",
                "/a/{x}/{y}/{z}/{a}/{b}/{c}",
                "/{abcdefghijklmnop}",
                "/{abcdefghijklmnopq}",
                "/{x}/{x}",
                "/{1x}",
                "/{x_1}",
                "/{x",
                "/{x=}",
                "/{x=/b}",
                "/{x=a/}",
                "/{x=*a}",
                "/{x=a*}",
                "/{x=***}",
                "/{x=a=b}",
                "/{x=**}.mp4",
                "/{x=**}/b",
                "/{x=a/**}/{y}",
                "/{x}a{y}",
                "/{x=a}b/c",
                "/a{x}",
                "/**/b",
                "/**/*",
                "/**/{x}",
                "/**/",
                "/***",
                "/*a",
                "/*.x/y",
                "/*{x}",
                "/a*",
                "/a=b",
                "/a~b;c,d@e",
                "/a b",
                "/a\"b",
                "/ä",
                "/a//b",
                "a",
            ],
            template => Table(new RouteMatchSpec { PathTemplate = template })
        );

    [Fact]
    public Task On_rewrites_by_template_we_agree_with_Envoy() =>
        AgreeAsync(
            ["/b", "/{x}/", "/{x}{x}", "/a{x}b", "/*", "/a=b", "/{y}", "/{x}}", "/{x", "/{}", "/b//c", "/b c", "/b?x", "b"],
            template => Table(new RouteMatchSpec { PathTemplate = "/a/{x}" }, new RewriteSpec { PathTemplate = template })
        );

    [Fact]
    public Task On_headers_that_may_be_changed_we_agree_with_Envoy() =>
        AgreeAsync(
            [":path", ":authority", "Host", "x-a", "X_A"],
            name => Table(new RouteMatchSpec { Prefix = "/" }) with { ResponseHeaders = new HeaderEditsSpec { Remove = [name] } }
        );

    private static RouteTableSpec Table(RouteMatchSpec match, RewriteSpec? rewrite = null, string? requestHeader = null) =>
        new()
        {
            VirtualHosts =
            [
                new VirtualHostSpec
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
                                    Set = ImmutableSortedDictionary<string, string>.Empty.Add("x-test", requestHeader),
                                },
                        },
                    ],
                },
            ],
        };

    /// <summary>What we take must pass in both releases, all of it at once; each text that we refuse must be refused by one of them.</summary>
    private static async Task AgreeAsync(string[] texts, Func<string, RouteTableSpec> tableOf)
    {
        await using var current = new EnvoyFixture();
        await using var oldest = new EnvoyFixture(EnvoyRelease.Oldest);
        var taken = new List<JsonNode>();
        foreach (var text in texts)
        {
            var problems = new ProblemCollector();
            var table = tableOf(text);
            RouteTableValidator.Validate(table, problems);
            var listener = StaticConfiguration.Around(
                ProtoJsonWriter.Write(RouteTableCompiler.Compile("shop", table, problems), redact: false)
            );
            if (!problems.HasErrors)
            {
                taken.Add(listener);
                continue;
            }

            var configuration = StaticConfiguration.Of([listener]);
            Assert.True(
                await current.ValidateAsync(configuration) is not null || await oldest.ValidateAsync(configuration) is not null,
                $"'{text}' is refused here ({problems.Problems[0].Message}) and taken by Envoy."
            );
        }

        Assert.True(taken.Count > 1 && taken.Count < texts.Length);
        Assert.Null(await current.ValidateAsync(StaticConfiguration.Of(taken)));
        Assert.Null(await oldest.ValidateAsync(StaticConfiguration.Of(taken)));
    }
}
