using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using ControlPlane.AdminClient;
using ControlPlane.Resources.Api;
using ControlPlane.TestKit;

namespace ControlPlane.Server.Tests.Admin;

/// <summary>One server for the tests of a class, which keep apart by the names of their objects.</summary>
public sealed class AdminFixture : IAsyncLifetime
{
    public ControlPlaneHost Host { get; private set; } = null!;

    public AdminApiClient Client => Host.Client;

    public async ValueTask InitializeAsync() => Host = await ControlPlaneHost.StartAsync();

    public ValueTask DisposeAsync() => Host.DisposeAsync();

    /// <summary>Sends a request as it is.</summary>
    public async Task<Answer> SendAsync(
        HttpMethod method,
        string path,
        string? body = null,
        string? contentType = "application/json",
        params (string Name, string Value)[] headers
    )
    {
        using var request = new HttpRequestMessage(method, path);
        if (body is not null)
        {
            request.Content = new StringContent(body, Encoding.UTF8);
            request.Content.Headers.ContentType = contentType is null ? null : MediaTypeHeaderValue.Parse(contentType);
        }

        foreach (var (name, value) in headers)
        {
            request.Headers.TryAddWithoutValidation(name, value);
        }

        using var response = await Host.Http.SendAsync(request);
        return new Answer(
            (int)response.StatusCode,
            response.Headers.ToDictionary(h => h.Key, h => string.Join(", ", h.Value), StringComparer.OrdinalIgnoreCase),
            response.Content.Headers.ContentType?.MediaType ?? "",
            await response.Content.ReadAsStringAsync()
        );
    }

    public Task<Answer> GetAsync(string path, params (string Name, string Value)[] headers) =>
        SendAsync(HttpMethod.Get, path, headers: headers);

    public Task<Answer> PutAsync(string path, string body, params (string Name, string Value)[] headers) =>
        SendAsync(HttpMethod.Put, path, body, headers: headers);
}

/// <summary>What came back.</summary>
public sealed record Answer(int Status, IReadOnlyDictionary<string, string> Headers, string MediaType, string Text)
{
    public JsonObject Json => JsonNode.Parse(Text)!.AsObject();

    /// <summary>The problem, which must be one.</summary>
    public Problem Problem
    {
        get
        {
            Assert.Equal(Problem.MediaType, MediaType);
            var problem = System.Text.Json.JsonSerializer.Deserialize<Problem>(Text, ApiJson.Options)!;
            Assert.Equal(Status, problem.Status);
            Assert.False(string.IsNullOrEmpty(problem.TraceId));
            return problem;
        }
    }

    /// <summary>Checks status and name of a problem, and gives it.</summary>
    public Problem Is(int status, string name)
    {
        Assert.True(Status == status, $"Expected {status} {name}, got {Status}: {Text}");
        Assert.Equal(Resources.Api.Problem.TypePrefix + name, Problem.Type);
        return Problem;
    }
}

/// <summary>Bodies that many tests send.</summary>
internal static class Bodies
{
    public static string Upstream(int port = 8080) =>
        "{'spec': {'endpoints': {'source': 'static', 'static': [{'address': '10.0.0.1', 'port': PORT}, {'address': '10.0.0.2', 'port': PORT}]}}}"
            .Replace('\'', '"')
            .Replace("PORT", port.ToString(), StringComparison.Ordinal);

    public const string Registering = """{"spec": {"endpoints": {"source": "registration"}}}""";

    public static string Endpoint(string address = "10.0.0.1", int port = 8080) =>
        $$$"""{"spec": {"address": "{{{address}}}", "port": {{{port}}}}}""";

    public static string RouteTable(string upstream) =>
        $$$"""{"spec": {"virtualHosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "upstream": "{{{upstream}}}"}]}]}}""";
}
