using System.Globalization;
using System.Net;
using ControlPlane.TestKit;

namespace ControlPlane.EnvoyTests.EndToEnd;

/// <summary>The example of filters does in a real Envoy what it says.</summary>
[Trait("Category", "Slow")]
public sealed class FilterExampleTests
{
    public static TheoryData<EnvoyRelease> Releases => [EnvoyRelease.Current, EnvoyRelease.Oldest];

    [Theory]
    [MemberData(nameof(Releases))]
    public async Task The_filters_of_the_example_limit_rates_and_ask_for_tokens_and_permission(EnvoyRelease release)
    {
        await using var server = await ControlPlaneHost.StartAsync();
        await using var edge = await Edge.StartAsync(server.Xds.Port, release, backends: 1);
        var applied = await server.Client.ApplyAsync(
            Edge.Example("filters.yaml")
                .Replace("port: 10000", $"port: {edge.ListenerPort}", StringComparison.Ordinal)
                .Replace(
                    "port: 9001",
                    string.Create(CultureInfo.InvariantCulture, $"port: {edge.Backends[0].Port}"),
                    StringComparison.Ordinal
                )
        );
        Assert.Empty(applied.Warnings);
        await edge.AnswerAsync((status, _) => status == 200, TimeSpan.FromSeconds(10));

        Assert.Equal(HttpStatusCode.Unauthorized, await StatusAsync("account"));
        // Nobody is there to ask.
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync("admin"));
        Assert.Equal(HttpStatusCode.OK, await StatusAsync("search"));
        var answers = await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => StatusAsync("search")));
        Assert.Contains(HttpStatusCode.TooManyRequests, answers);
        Assert.Equal(HttpStatusCode.OK, await StatusAsync("other"));

        async Task<HttpStatusCode> StatusAsync(string path)
        {
            using var response = await edge.Http.GetAsync(new Uri(edge.Url, path));
            return response.StatusCode;
        }
    }
}
