using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Security;
using ControlPlane.Server.Storage;

namespace ControlPlane.Server.Admin;

/// <summary>
/// Endpoints of an upstream, a sub-resource: those that are registered here one by one, and, to read and to drain, those that stand in the upstream's spec.
/// </summary>
internal static class EndpointRoutes
{
    private static readonly TimeSpan DefaultExpiry = TimeSpan.FromHours(1);
    private static readonly TimeSpan MaxExpiry = TimeSpan.FromDays(3650);

    private static readonly ImmutableSortedDictionary<string, OverrideAction> Orders = Enum.GetValues<OverrideAction>()
        .ToImmutableSortedDictionary(
            action => JsonNamingPolicy.CamelCase.ConvertName(action.ToString()),
            action => action,
            StringComparer.Ordinal
        );

    public static void Map(RouteGroupBuilder api)
    {
        const ResourceKind Kind = ResourceKind.Endpoint;
        var group = api.MapGroup("/upstreams/{name}/endpoints").WithTags(nameof(ResourceKind.Endpoint));
        group
            .MapGet("/", (HttpContext http, string name, ObjectLists lists) => lists.ListEndpoints(http, name))
            .Takes(Query.Limit, Query.Continue, Query.Selector)
            .Describe("listEndpoints", "Lists the endpoints of an upstream: those that are registered, or those that stand in its spec.")
            .AnswersList(Kind)
            .RequireAuthorization(Access.Read);
        group
            .MapPost("/", RegisterAsync)
            .Takes(Query.OfWrites)
            .Describe(
                "registerEndpoint",
                "Registers an endpoint under the id ADDRESS:PORT. One that is registered already is a conflict: PUT replaces it."
            )
            .TakesObject(Kind)
            .Answers(Kind, created: true)
            .RequireAuthorization(Access.Write);
        group
            .MapGet("/{id}", Get)
            .Describe("getEndpoint", "Reads one endpoint with its state and the operator's order in force.")
            .Answers(Kind)
            .RequireAuthorization(Access.Read);
        group
            .MapGet(
                "/{id}/history",
                (HttpContext http, string name, string id, IDesiredStateStore store) =>
                    ResourceRoutes.HistoryAsync(http, ResourceKey.Sub(Kind, name, id), store)
            )
            .Takes(Query.Limit, Query.Continue)
            .Describe(
                "getEndpointHistory",
                "The kept states of one registered endpoint, newest first. They outlive it. What stands in the upstream's spec is in the upstream's history."
            )
            .Answers<HistoryList>()
            .RequireAuthorization(Access.Read);
        group
            .MapGet("/{id}/xds", Xds)
            .Describe("getEndpointXds", "The Envoy messages that the endpoint is in: its upstream's assignment, with its version.")
            .Answers<XdsView>()
            .RequireAuthorization(Access.Read);
        group
            .MapPut(
                "/{id}",
                (HttpContext http, string name, string id, ObjectWrites writes, CurrentState current) =>
                    RefuseStatic(name, id, current) is { } problem
                        ? Task.FromResult<IResult>(problem)
                        : ResourceRoutes.PutAsync(http, ResourceKey.Sub(Kind, name, id), writes, current)
            )
            .Takes(Query.OfWrites)
            .Describe("putEndpoint", "Registers or replaces one endpoint under an id of your choice.")
            .TakesObject(Kind)
            .Answers(Kind, created: true)
            .RequireAuthorization(Access.Write);
        group
            .MapPatch(
                "/{id}",
                (HttpContext http, string name, string id, ObjectWrites writes, CurrentState current) =>
                    RefuseStatic(name, id, current) is { } problem
                        ? Task.FromResult<IResult>(problem)
                        : ResourceRoutes.PatchAsync(http, ResourceKey.Sub(Kind, name, id), writes)
            )
            .Takes(Query.OfWrites)
            .Describe("patchEndpoint", "Changes parts of one registered endpoint.")
            .TakesPatch()
            .Answers(Kind)
            .RequireAuthorization(Access.Write);
        group
            .MapDelete(
                "/{id}",
                (HttpContext http, string name, string id, ObjectWrites writes, CurrentState current) =>
                    RefuseStatic(name, id, current) is { } problem
                        ? Task.FromResult<IResult>(problem)
                        : ResourceRoutes.DeleteAsync(http, ResourceKey.Sub(Kind, name, id), writes, current)
            )
            .Takes(Query.OfWrites)
            .Describe("deleteEndpoint", "Takes one registered endpoint away at once. ':drain' does it gently.")
            .Answers(Kind)
            .RequireAuthorization(Access.Write);
        group
            .MapPost("/{id}", OrderAsync)
            .Takes(Query.OfWrites)
            .Describe(
                "orderEndpoint",
                "The path ends in ':drain' (no new requests for the upstream's drain time, then left out), ':disable' (left out at once), ':forceHealthy' or ':forceUnhealthy' (whatever the evidence), ':freeze' (as it is published now) or ':clear' (takes the order back). Works on any endpoint of the upstream."
            )
            .Takes(typeof(EndpointOrder))
            .Answers(ResourceKind.Override, created: true)
            .RequireAuthorization(Access.Write);
    }

    private static IResult Get(HttpContext http, string name, string id, CurrentState current, ObjectViews views)
    {
        var key = ResourceKey.Sub(ResourceKind.Endpoint, name, id);
        if (current.Desired.Find(key) is { } registered)
        {
            http.Response.Headers.ETag = Preconditions.ETag(registered);
            return new ApiResult<ObjectView>(views.WithStatus(registered));
        }

        return FindStatic(name, key.Id, current) is { } found
            ? new ApiResult<ObjectView>(views.OfStatic(found.Upstream, found.Endpoint))
            : Problems.NotFound($"{key} does not exist.");
    }

    private static IResult Xds(string name, string id, CurrentState current)
    {
        var key = ResourceKey.Sub(ResourceKind.Endpoint, name, id);
        return current.Desired.Find(key) is null && FindStatic(name, key.Id, current) is null
            ? Problems.NotFound($"{key} does not exist.")
            : ResourceRoutes.XdsOf(key, current);
    }

    private static async Task<IResult> RegisterAsync(HttpContext http, string name, ObjectWrites writes, CurrentState current)
    {
        // The id follows from the body, which is read under a name that stands for it.
        var placeholder = ResourceKey.Sub(ResourceKind.Endpoint, name, "ADDRESS:PORT");
        var (document, problem) = await RequestBody.ReadManifestAsync(http, placeholder, current.Desired.Find);
        if (problem is not null)
        {
            return problem;
        }

        if ((document!.Manifest ?? document.Draft) is not { } manifest)
        {
            return await writes.RunOneAsync(http, RequestBody.ChangeOf(document, placeholder, null), document);
        }

        var key = ResourceKey.Sub(ResourceKind.Endpoint, name, ((EndpointSpec)manifest.Spec).DefaultId());
        manifest = manifest with { Metadata = manifest.Metadata with { Name = key.Name } };
        var existing = current.Desired.Find(key);
        problem = Preconditions.Read(http, null, existing, out var expected);
        if (problem is null && expected is null && existing is not null)
        {
            var taken = new Fault(
                "address-taken",
                $"{key} is registered already. PUT {ApiPaths.Of(key)} replaces it.",
                Pointer: "/spec/address"
            );
            return Problems.Conflict(taken.Message, [taken]);
        }

        // Without a condition it is to be new, also where somebody else registers it meanwhile.
        return problem
            ?? await writes.RunOneAsync(http, RequestBody.ChangeOf(document, key, expected ?? 0) with { Manifest = manifest }, document);
    }

    private static async Task<IResult> OrderAsync(
        HttpContext http,
        string name,
        string id,
        ObjectWrites writes,
        CurrentState current,
        ObjectViews views,
        TimeProvider time
    )
    {
        var colon = id.LastIndexOf(':');
        var verb = colon < 0 ? "" : id[(colon + 1)..];
        if (verb != "clear" && !Orders.ContainsKey(verb))
        {
            return Problems.NotFound(
                $"POST takes an order: the path ends in :{string.Join(", :", Orders.Keys)} or :clear, for example {Uri.EscapeDataString(id)}:drain."
            );
        }

        var endpoint = ResourceKey.Sub(ResourceKind.Endpoint, name, id[..colon]);
        var key = new ResourceKey(ResourceKind.Override, endpoint.Name);
        var isKnown = current.Desired.Find(endpoint) is not null || FindStatic(name, endpoint.Id, current) is not null;
        // An order that an earlier version left behind can be taken back without its endpoint.
        if (!isKnown && (verb != "clear" || current.Desired.Find(key) is null))
        {
            return Problems.NotFound($"{endpoint} does not exist.");
        }

        var (order, problem) = await ReadOrderAsync(http);
        if (problem is not null)
        {
            return problem;
        }

        if (verb == "clear")
        {
            // Without an order the endpoint is as it is asked to be.
            return current.Desired.Find(key) is null
                ? Get(http, name, id[..colon], current, views)
                : await writes.RunOneAsync(http, new ObjectChange(key, null), reason: order!.Reason ?? $"{verb} {endpoint}");
        }

        var now = WriteBatch.ToMicrosecond(time.GetUtcNow());
        problem = ReadExpiry(order!, now, out var expiresAt);
        if (problem is not null)
        {
            return problem;
        }

        var spec = new OverrideSpec
        {
            Action = Orders[verb],
            Reason = order!.Reason ?? "",
            StartedAt = now,
            ExpiresAt = expiresAt,
        };
        var manifest = new Manifest(ResourceKind.Override, new ResourceMetadata { Name = key.Name }, spec);
        return await writes.RunOneAsync(http, new ObjectChange(key, manifest), reason: $"{verb} {endpoint}: {order.Reason}");
    }

    private static async Task<(EndpointOrder? Order, ProblemResult? Problem)> ReadOrderAsync(HttpContext http)
    {
        var bytes = await RequestBody.ReadBytesAsync(http);
        if (bytes.IsEmpty)
        {
            return (new EndpointOrder(), null);
        }

        if (ManifestReader.FormatOf(http.Request.ContentType) is not { } format)
        {
            return (null, RequestBody.Unsupported(http));
        }

        var problems = new ProblemCollector();
        return ManifestReader.ReadRecord<EndpointOrder>(bytes, format, problems) is { } order
            ? (order, null)
            : (
                null,
                Problems.Invalid(
                    RequestBody.Count(problems.Problems.Count),
                    [.. problems.Problems.Select(p => RequestBody.ToFault(p, null))]
                )
            );
    }

    private static ProblemResult? RefuseStatic(string name, string id, CurrentState current)
    {
        var key = ResourceKey.Sub(ResourceKind.Endpoint, name, id);
        var place =
            FindStatic(name, key.Id, current) is not null ? $"stands in the spec of Upstream/{name}, at /spec/endpoints/static"
            : current.Desired.Resolved.GetValueOrDefault(name)?.Endpoints?.ContainsKey(key.Id) == true
                ? $"comes from DNS, by a name in the spec of Upstream/{name}, at /spec/endpoints/hosts"
            : null;
        return place is null
            ? null
            : Problems.Conflict($"This endpoint {place}. Change it there; ':drain' and ':disable' work on it here.");
    }

    private static (StoredResource Upstream, EndpointSpec Endpoint)? FindStatic(string name, string id, CurrentState current) =>
        current.Desired.Find(new ResourceKey(ResourceKind.Upstream, name))
            is { Manifest.Spec: UpstreamSpec { Endpoints.Source: EndpointSource.Static } spec } upstream
        && spec.Endpoints.Static.FirstOrDefault(e => e.DefaultId() == id) is { } endpoint
            ? (upstream, endpoint)
            : null;

    private static ProblemResult? ReadExpiry(EndpointOrder order, DateTimeOffset now, out DateTimeOffset? expiresAt)
    {
        expiresAt = null;
        switch (order.ExpiresIn, order.ExpiresAt)
        {
            case (null, null):
                expiresAt = now + DefaultExpiry;
                return null;
            case ({ }, { }):
                return Wrong("/expiresAt", "'expiresIn' and 'expiresAt' exclude each other. Give one.");
            case ("never", null) or (null, "never"):
                return null;
            case ({ } text, null):
                if (!DurationText.TryParse(text, out var duration) || duration <= TimeSpan.Zero || duration > MaxExpiry)
                {
                    return Wrong("/expiresIn", "'expiresIn' is a duration such as 30m or 2h, or 'never'.");
                }

                expiresAt = now + duration;
                return null;
            default:
                if (!DateTimeOffset.TryParse(order.ExpiresAt, null, DateTimeStyles.AssumeUniversal, out var time) || time <= now)
                {
                    return Wrong("/expiresAt", "'expiresAt' is a time to come, such as 2030-01-31T08:00:00Z, or 'never'.");
                }

                expiresAt = time.ToUniversalTime();
                return null;
        }

        static ProblemResult Wrong(string pointer, string message) =>
            Problems.Invalid(message, [new Fault("invalid-expiry", message, Pointer: pointer)]);
    }
}
