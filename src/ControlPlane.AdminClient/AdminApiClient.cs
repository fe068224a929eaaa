using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;

namespace ControlPlane.AdminClient;

/// <summary>Typed client of the REST API. What the API refuses is thrown as <see cref="ApiException"/>; a lost connection as <see cref="HttpRequestException"/>.</summary>
/// <param name="http">Has the API's address as its base address and, where tokens are in use, the token in its default headers.</param>
public sealed class AdminApiClient(HttpClient http)
{
    /// <summary>Reads an object.</summary>
    /// <returns>Null if it does not exist.</returns>
    public async Task<ObjectView?> FindAsync(ResourceKey key, CancellationToken cancellationToken = default)
    {
        using var response = await http.GetAsync(ApiPaths.Of(key), cancellationToken);
        return response.StatusCode == HttpStatusCode.NotFound ? null : await ReadAsync<ObjectView>(response, cancellationToken);
    }

    /// <summary>Reads one page of a kind; of endpoints, those of an upstream.</summary>
    public Task<ObjectList> ListAsync(
        ResourceKind kind,
        string? upstream = null,
        string? labelSelector = null,
        int? limit = null,
        string? continueToken = null,
        CancellationToken cancellationToken = default
    )
    {
        var path =
            kind == ResourceKind.Endpoint
                ? $"{ApiPaths.Of(new ResourceKey(ResourceKind.Upstream, upstream ?? throw new ArgumentNullException(nameof(upstream))))}/endpoints"
                : $"{ApiPaths.Root}/{ApiPaths.Collection(kind)}";
        return GetAsync<ObjectList>(
            path + Query(("labelSelector", labelSelector), ("limit", limit?.ToString()), ("continue", continueToken)),
            cancellationToken
        );
    }

    /// <summary>Reads all objects of a kind, page by page, all of one revision.</summary>
    public async IAsyncEnumerable<ObjectView> ListAllAsync(
        ResourceKind kind,
        string? upstream = null,
        string? labelSelector = null,
        [EnumeratorCancellation] CancellationToken cancellationToken = default
    )
    {
        string? next = null;
        do
        {
            var page = await ListAsync(kind, upstream, labelSelector, 1000, next, cancellationToken);
            foreach (var item in page.Items)
            {
                yield return item;
            }

            next = page.Continue;
        } while (next is not null);
    }

    /// <summary>Creates or replaces an object.</summary>
    public Task<ObjectView> PutAsync(Manifest manifest, WriteOptions? options = null, CancellationToken cancellationToken = default) =>
        PutAsync(manifest.Key, CanonicalForm.Write(manifest), options, cancellationToken);

    /// <summary>Creates or replaces an object.</summary>
    /// <param name="key">The object.</param>
    /// <param name="body">A manifest, or only <c>spec: …</c>, in JSON or YAML.</param>
    /// <param name="options">How to write.</param>
    /// <param name="cancellationToken">Ends the wait for the answer, not the write.</param>
    public Task<ObjectView> PutAsync(
        ResourceKey key,
        string body,
        WriteOptions? options = null,
        CancellationToken cancellationToken = default
    ) => SendAsync<ObjectView>(HttpMethod.Put, ApiPaths.Of(key), Manifests(body), options, cancellationToken);

    /// <summary>Registers an endpoint under the id that follows from its address. One that is registered already is a conflict: <c>PutAsync</c> replaces it.</summary>
    public Task<ObjectView> RegisterAsync(
        string upstream,
        string body,
        WriteOptions? options = null,
        CancellationToken cancellationToken = default
    ) =>
        SendAsync<ObjectView>(
            HttpMethod.Post,
            $"{ApiPaths.Of(new ResourceKey(ResourceKind.Upstream, upstream))}/endpoints",
            Manifests(body),
            options,
            cancellationToken
        );

    /// <summary>Changes parts of an object: a merge patch if it is an object, a JSON patch if it is a list.</summary>
    public Task<ObjectView> PatchAsync(
        ResourceKey key,
        JsonNode patch,
        WriteOptions? options = null,
        CancellationToken cancellationToken = default
    ) =>
        SendAsync<ObjectView>(
            HttpMethod.Patch,
            ApiPaths.Of(key),
            new StringContent(
                patch.ToJsonString(),
                Encoding.UTF8,
                patch is JsonArray ? "application/json-patch+json" : "application/merge-patch+json"
            ),
            options,
            cancellationToken
        );

    /// <summary>Deletes an object, and returns it as it was.</summary>
    public Task<ObjectView> DeleteAsync(ResourceKey key, WriteOptions? options = null, CancellationToken cancellationToken = default) =>
        SendAsync<ObjectView>(HttpMethod.Delete, ApiPaths.Of(key), null, options, cancellationToken);

    /// <summary>Gives an order about an endpoint.</summary>
    /// <param name="upstream">The upstream.</param>
    /// <param name="id">The endpoint's id.</param>
    /// <param name="verb"><c>drain</c>, <c>disable</c> or <c>clear</c>.</param>
    /// <param name="order">Reason and end.</param>
    /// <param name="options">How to write.</param>
    /// <param name="cancellationToken">Ends the wait for the answer, not the write.</param>
    public Task<ObjectView> OrderAsync(
        string upstream,
        string id,
        string verb,
        EndpointOrder order,
        WriteOptions? options = null,
        CancellationToken cancellationToken = default
    ) =>
        SendAsync<ObjectView>(
            HttpMethod.Post,
            $"{ApiPaths.Of(ResourceKey.Sub(ResourceKind.Endpoint, upstream, id))}:{verb}",
            JsonContent.Create(order, options: ApiJson.Options),
            options,
            cancellationToken
        );

    /// <summary>Writes any number of objects, in JSON or YAML, in one transaction.</summary>
    public Task<ApplyResult> ApplyAsync(string manifests, WriteOptions? options = null, CancellationToken cancellationToken = default) =>
        SendAsync<ApplyResult>(HttpMethod.Post, $"{ApiPaths.Root}/apply", Manifests(manifests), options, cancellationToken);

    /// <summary>Says what <see cref="ApplyAsync"/> would change.</summary>
    public Task<DiffResult> DiffAsync(string manifests, CancellationToken cancellationToken = default) =>
        SendAsync<DiffResult>(HttpMethod.Post, $"{ApiPaths.Root}/diff", Manifests(manifests), null, cancellationToken);

    /// <summary>Makes everything, or some kinds, as it was at a revision.</summary>
    public Task<ApplyResult> RollbackAsync(
        long revision,
        IEnumerable<ResourceKind>? kinds = null,
        WriteOptions? options = null,
        CancellationToken cancellationToken = default
    ) =>
        SendAsync<ApplyResult>(
            HttpMethod.Post,
            $"{ApiPaths.Root}/revisions/{revision}:rollback" + Query(("kinds", kinds is null ? null : string.Join(',', kinds))),
            null,
            options,
            cancellationToken
        );

    /// <summary>Reads the newest revisions.</summary>
    public Task<RevisionList> RevisionsAsync(
        int? limit = null,
        string? continueToken = null,
        CancellationToken cancellationToken = default
    ) =>
        GetAsync<RevisionList>(
            $"{ApiPaths.Root}/revisions" + Query(("limit", limit?.ToString()), ("continue", continueToken)),
            cancellationToken
        );

    /// <summary>Reads one revision with what it changed.</summary>
    public Task<RevisionView> RevisionAsync(long revision, CancellationToken cancellationToken = default) =>
        GetAsync<RevisionView>($"{ApiPaths.Root}/revisions/{revision}", cancellationToken);

    /// <summary>Reads the Envoy messages that an object became.</summary>
    public Task<XdsView> XdsAsync(ResourceKey key, CancellationToken cancellationToken = default) =>
        GetAsync<XdsView>($"{ApiPaths.Of(key)}/xds", cancellationToken);

    /// <summary>Reads the kept states of an object, newest first, also of one that is gone.</summary>
    public Task<HistoryList> HistoryAsync(
        ResourceKey key,
        int? limit = null,
        string? continueToken = null,
        CancellationToken cancellationToken = default
    ) =>
        GetAsync<HistoryList>(
            $"{ApiPaths.Of(key)}/history" + Query(("limit", limit?.ToString()), ("continue", continueToken)),
            cancellationToken
        );

    /// <summary>Reads why an upstream's endpoints are published as they are.</summary>
    /// <param name="upstream">The upstream.</param>
    /// <param name="index">The index of an earlier answer: waits for another one.</param>
    /// <param name="wait">How long at most; 30 s if not given.</param>
    /// <param name="zone">As the proxies of this zone see it.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    public Task<UpstreamHealthView> HealthAsync(
        string upstream,
        long? index = null,
        TimeSpan? wait = null,
        string? zone = null,
        CancellationToken cancellationToken = default
    ) =>
        GetAsync<UpstreamHealthView>(
            HealthOf(upstream)
                + Query(("index", index?.ToString()), ("wait", wait is { } time ? DurationText.Format(time) : null), ("zone", zone)),
            cancellationToken
        );

    /// <summary>Reads the transitions of an upstream's endpoints, newest first.</summary>
    public Task<HealthTransitionList> HealthHistoryAsync(
        string upstream,
        DateTimeOffset? from = null,
        DateTimeOffset? to = null,
        int? limit = null,
        string? continueToken = null,
        CancellationToken cancellationToken = default
    ) =>
        GetAsync<HealthTransitionList>(
            HealthOf(upstream)
                + "/history"
                + Query(
                    ("from", from?.ToString("O")),
                    ("to", to?.ToString("O")),
                    ("limit", limit?.ToString()),
                    ("continue", continueToken)
                ),
            cancellationToken
        );

    /// <summary>
    /// Yields the transitions of endpoints as they happen, from the start of the enumeration on. Ends when the server ends the stream (it stops, or the reader is too slow); go on with the
    /// id of the last transition, also after a lost connection.
    /// </summary>
    /// <param name="upstream">Only those of this upstream; null for all.</param>
    /// <param name="since">Also those that happened after the transition with this id, as far back as history is kept.</param>
    /// <param name="cancellationToken">Ends the enumeration with an exception.</param>
    public async IAsyncEnumerable<HealthTransitionView> WatchHealthAsync(
        string? upstream = null,
        long? since = null,
        [EnumeratorCancellation] CancellationToken cancellationToken = default
    )
    {
        using var response = await http.GetAsync(
            $"{ApiPaths.Root}/health/watch" + Query(("upstream", upstream), ("since", since?.ToString())),
            HttpCompletionOption.ResponseHeadersRead,
            cancellationToken
        );
        await EnsureSuccessAsync(response, cancellationToken);
        await using var stream = await response.Content.ReadAsStreamAsync(cancellationToken);
        var events = SseParser.Create(stream, (_, data) => JsonSerializer.Deserialize<HealthTransitionView>(data, ApiJson.Options)!);
        await foreach (var item in events.EnumerateAsync(cancellationToken))
        {
            yield return item.Data;
        }
    }

    /// <summary>Says what a checker found about endpoints.</summary>
    /// <param name="items">At most <see cref="EvidencePost.MaxItems"/>.</param>
    /// <param name="cancellationToken">Ends the wait for the answer.</param>
    /// <returns>What became of each.</returns>
    public async Task<EvidenceResult> PostEvidenceAsync(IEnumerable<EvidenceItem> items, CancellationToken cancellationToken = default)
    {
        // Durations are texts of their own form, which only the canonical form writes.
        var body = CanonicalForm.WriteRecord(new EvidencePost { Items = [.. items] });
        return await SendAsync<EvidenceResult>(HttpMethod.Post, $"{ApiPaths.Root}/evidence", Manifests(body), null, cancellationToken);
    }

    /// <summary>Reads the proxies.</summary>
    public Task<NodeList> NodesAsync(CancellationToken cancellationToken = default) =>
        GetAsync<NodeList>($"{ApiPaths.Root}/nodes", cancellationToken);

    private static string HealthOf(string upstream) => $"{ApiPaths.Of(new ResourceKey(ResourceKind.Upstream, upstream))}/health";

    private async Task<T> GetAsync<T>(string path, CancellationToken cancellationToken)
    {
        using var response = await http.GetAsync(path, cancellationToken);
        return await ReadAsync<T>(response, cancellationToken);
    }

    private async Task<T> SendAsync<T>(
        HttpMethod method,
        string path,
        HttpContent? content,
        WriteOptions? options,
        CancellationToken cancellationToken
    )
    {
        var query = options?.Query() ?? "";
        using var request = new HttpRequestMessage(
            method,
            path + (path.Contains('?', StringComparison.Ordinal) ? query.Replace('?', '&') : query)
        )
        {
            Content = content,
        };
        if (options?.IfMatch is { } version)
        {
            request.Headers.IfMatch.Add(new EntityTagHeaderValue($"\"{version}\""));
        }

        if (options?.OnlyCreate == true)
        {
            request.Headers.IfNoneMatch.Add(EntityTagHeaderValue.Any);
        }

        using var response = await http.SendAsync(request, cancellationToken);
        return await ReadAsync<T>(response, cancellationToken);
    }

    private static async Task<T> ReadAsync<T>(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        await EnsureSuccessAsync(response, cancellationToken);
        return (await response.Content.ReadFromJsonAsync<T>(ApiJson.Options, cancellationToken))!;
    }

    private static async Task EnsureSuccessAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        if (response.IsSuccessStatusCode)
        {
            return;
        }

        // Something in between may answer in words of its own.
        var problem =
            response.Content.Headers.ContentType?.MediaType == Problem.MediaType
                ? await response.Content.ReadFromJsonAsync<Problem>(ApiJson.Options, cancellationToken)
                : null;
        throw new ApiException(
            problem
                ?? new Problem
                {
                    Type = "about:blank",
                    Title = response.ReasonPhrase ?? "",
                    Status = (int)response.StatusCode,
                }
        );
    }

    private static StringContent Manifests(string text) =>
        new(text, Encoding.UTF8, text.AsSpan().TrimStart() is ['{' or '[', ..] ? "application/json" : "application/yaml");

    internal static string Query(params ReadOnlySpan<(string Name, string? Value)> parameters)
    {
        var query = new StringBuilder();
        foreach (var (name, value) in parameters)
        {
            if (value is not null)
            {
                query.Append(query.Length == 0 ? '?' : '&').Append(name).Append('=').Append(Uri.EscapeDataString(value));
            }
        }

        return query.ToString();
    }
}

/// <summary>How to write.</summary>
public sealed record WriteOptions
{
    /// <summary>Validate and answer as if it were done, but write nothing.</summary>
    public bool DryRun { get; init; }

    /// <summary>The digest of a confirmation-required problem.</summary>
    public string? Confirm { get; init; }

    /// <summary>Why; the revision records it.</summary>
    public string? Reason { get; init; }

    /// <summary>Take what a rule of Envoy's refuses; needs a reason.</summary>
    public bool ValidationWarn { get; init; }

    /// <summary>Answer when the proxies have it, or after this time.</summary>
    public TimeSpan? WaitAcked { get; init; }

    /// <summary>The resourceVersion that the object must be at; of a patch that names one itself, both must hold.</summary>
    public string? IfMatch { get; init; }

    /// <summary>The object must not exist.</summary>
    public bool OnlyCreate { get; init; }

    internal string Query() =>
        AdminApiClient.Query(
            ("dryRun", DryRun ? "true" : null),
            ("confirm", Confirm),
            ("reason", Reason),
            ("validation", ValidationWarn ? "warn" : null),
            ("wait", WaitAcked is null ? null : "acked"),
            ("timeout", WaitAcked is { } timeout ? DurationText.Format(timeout) : null)
        );
}

/// <summary>The API did not do what was asked.</summary>
public sealed class ApiException : Exception
{
    /// <summary>Creates the exception without a problem.</summary>
    public ApiException()
        : this(
            new Problem
            {
                Type = "about:blank",
                Title = "",
                Status = 0,
            }
        ) { }

    /// <summary>Creates the exception with a message alone.</summary>
    public ApiException(string message)
        : this(message, null!) { }

    /// <summary>Creates the exception with a message and its cause alone.</summary>
    public ApiException(string message, Exception innerException)
        : base(message, innerException) =>
        Problem = new Problem
        {
            Type = "about:blank",
            Title = message,
            Status = 0,
        };

    /// <summary>Creates the exception for a problem.</summary>
    public ApiException(Problem problem)
        : base(Text(problem)) => Problem = problem;

    /// <summary>What the API answered.</summary>
    public Problem Problem { get; }

    private static string Text(Problem problem) =>
        string.Join(
            Environment.NewLine,
            [
                $"{problem.Status} {problem.Title}. {problem.Detail}",
                .. (problem.Errors ?? []).Select(e => $"  {e.Object} {e.Pointer} {e.Code}: {e.Message}"),
            ]
        );
}
