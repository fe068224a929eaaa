using System.Net.Http.Headers;
using System.Text;
using ControlPlane.Server.Security;
using ControlPlane.TestKit;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace ControlPlane.Server.Tests.Admin;

public sealed class RoleTests : IAsyncLifetime
{
    private readonly string _folder = Directory.CreateTempSubdirectory("cp-roles-").FullName;
    private readonly (string Token, string Line) _reader = TokenFile.Create("viewer", TokenRole.Read);
    private readonly (string Token, string Line) _writer = TokenFile.Create("ci", TokenRole.Write);
    private readonly (string Token, string Line) _checker = TokenFile.Create("checker", TokenRole.Evidence);
    private ControlPlaneHost _host = null!;

    public async ValueTask InitializeAsync()
    {
        await File.WriteAllTextAsync(Path.Combine(_folder, "tokens"), string.Join('\n', _reader.Line, _writer.Line, _checker.Line));
        _host = await ControlPlaneHost.StartAsync(o => o with { AdminTokenFile = Path.Combine(_folder, "tokens") });
    }

    public async ValueTask DisposeAsync()
    {
        await _host.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task The_tokens_name_is_the_author()
    {
        using var put = await SendAsync(HttpMethod.Put, "/api/v1/upstreams/a", _writer.Token, Bodies.Upstream());
        Assert.Equal(201, (int)put.StatusCode);

        using var revision = await SendAsync(HttpMethod.Get, "/api/v1/revisions/1", _reader.Token);
        Assert.Contains("\"author\":\"ci\"", await revision.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("PUT", "/api/v1/upstreams/a")]
    [InlineData("PUT", "/api/v1/upstreams/a?dryRun=true")]
    [InlineData("PATCH", "/api/v1/upstreams/a")]
    [InlineData("DELETE", "/api/v1/upstreams/a")]
    [InlineData("POST", "/api/v1/upstreams/a/endpoints")]
    [InlineData("POST", "/api/v1/upstreams/a/endpoints/x:drain")]
    [InlineData("POST", "/api/v1/apply")]
    [InlineData("POST", "/api/v1/revisions/1:rollback")]
    public async Task A_read_token_writes_nothing(string method, string path)
    {
        using var answer = await SendAsync(new HttpMethod(method), path, _reader.Token, "{}");

        Assert.Equal(403, (int)answer.StatusCode);
    }

    [Theory]
    [InlineData("/api/v1/validate")]
    [InlineData("/api/v1/diff")]
    public async Task A_read_token_may_ask_what_a_change_would_do(string path)
    {
        using var answer = await SendAsync(
            HttpMethod.Post,
            path,
            _reader.Token,
            """{"apiVersion": "controlplane/v1", "kind": "NodeGroup", "metadata": {"name": "a"}, "spec": {"selectors": [{"ids": ["a"]}]}}"""
        );

        Assert.Equal(200, (int)answer.StatusCode);
    }

    [Fact]
    public async Task An_evidence_token_posts_evidence_and_does_nothing_else()
    {
        using var posted = await SendAsync(HttpMethod.Post, "/api/v1/evidence", _checker.Token, """{"items": []}""");
        Assert.Equal(422, (int)posted.StatusCode);
        Assert.Contains("/items", await posted.Content.ReadAsStringAsync(), StringComparison.Ordinal);

        foreach (
            var (method, path) in ((string, string)[])[("GET", "/api/v1/upstreams"), ("PUT", "/api/v1/upstreams/a"), ("GET", "/metrics")]
        )
        {
            using var answer = await SendAsync(new HttpMethod(method), path, _checker.Token, method == "PUT" ? Bodies.Upstream() : null);
            Assert.Equal(403, (int)answer.StatusCode);
            Assert.Contains("may post evidence and nothing else", await answer.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_read_token_posts_no_evidence_and_a_write_token_may()
    {
        using var refused = await SendAsync(HttpMethod.Post, "/api/v1/evidence", _reader.Token, """{"items": []}""");
        using var taken = await SendAsync(HttpMethod.Post, "/api/v1/evidence", _writer.Token, """{"items": []}""");

        Assert.Equal(403, (int)refused.StatusCode);
        Assert.Equal(422, (int)taken.StatusCode);
    }

    [Theory]
    [InlineData("/api/v1/watch", false)]
    [InlineData("/api/v1/watch", true)]
    [InlineData("/api/v1/health/watch", false)]
    public async Task A_watch_ends_when_its_token_is_taken_away_or_loses_its_role_and_others_go_on(string path, bool losesRole)
    {
        using var others = await WatchAsync(path, _writer.Token);
        using var watch = await WatchAsync(path, _reader.Token);
        var line = losesRole ? _reader.Line.Replace(" read ", " evidence ", StringComparison.Ordinal) : "";

        await File.WriteAllTextAsync(Path.Combine(_folder, "tokens"), string.Join('\n', line, _writer.Line));

        await watch.ReadToEndAsync(TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromSeconds(20), TimeProvider.System);
        var going = others.ReadToEndAsync(TestContext.Current.CancellationToken);
        using var put = await SendAsync(HttpMethod.Put, "/api/v1/upstreams/a", _writer.Token, Bodies.Upstream());
        Assert.Equal(201, (int)put.StatusCode);
        Assert.False(going.IsCompleted);
    }

    private async Task<StreamReader> WatchAsync(string path, string token)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, path);
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        var response = await _host.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal(200, (int)response.StatusCode);
        return new StreamReader(await response.Content.ReadAsStreamAsync());
    }

    [Fact]
    public void Every_endpoint_of_the_api_asks_for_a_role_and_every_method_that_changes_for_the_role_write()
    {
        var endpoints = _host
            .Services.GetRequiredService<EndpointDataSource>()
            .Endpoints.OfType<RouteEndpoint>()
            .Where(e => e.RoutePattern.RawText!.StartsWith("/api/", StringComparison.Ordinal))
            .ToList();

        Assert.NotEmpty(endpoints);
        foreach (var endpoint in endpoints)
        {
            var roles = endpoint.Metadata.GetOrderedMetadata<IAuthorizeData>().Select(a => a.Policy).ToList();
            var methods = endpoint.Metadata.GetMetadata<IHttpMethodMetadata>()!.HttpMethods;
            var onlyAsks = methods is ["GET"] || endpoint.RoutePattern.RawText is "/api/v1/validate" or "/api/v1/diff";
            var needed =
                endpoint.RoutePattern.RawText == "/api/v1/evidence" ? Access.Evidence
                : onlyAsks ? Access.Read
                : Access.Write;
            Assert.True(roles.SequenceEqual([needed]), $"{endpoint.DisplayName}: {string.Join(',', roles)}");
        }
    }

    private async Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, string token, string? body = null)
    {
        using var request = new HttpRequestMessage(method, path);
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        request.Content = body is null ? null : new StringContent(body, Encoding.UTF8, "application/json");
        return await _host.Http.SendAsync(request);
    }
}
