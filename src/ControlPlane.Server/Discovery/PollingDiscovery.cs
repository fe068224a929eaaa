using System.Buffers;
using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using Envoy.Service.Discovery.V3;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using ResourceName = ControlPlane.Core.Snapshots.ResourceName;

namespace ControlPlane.Server.Discovery;

/// <summary>
/// xDS without streams: <c>POST /v3/discovery:clusters</c> and its siblings, a <c>DiscoveryRequest</c> as JSON in and a <c>DiscoveryResponse</c> as JSON out; 304 where the
/// client's <c>version_info</c> is still that of what it asks for.
/// </summary>
internal static class PollingDiscovery
{
    private static readonly (string Path, ResourceType Type)[] Routes =
    [
        ("clusters", ResourceType.Cluster),
        ("endpoints", ResourceType.Endpoints),
        ("listeners", ResourceType.Listener),
        ("routes", ResourceType.Route),
        ("scoped-routes", ResourceType.ScopedRoute),
        ("secrets", ResourceType.Secret),
        ("runtime", ResourceType.Runtime),
        ("extension_configs", ResourceType.ExtensionConfig),
    ];

    // Envoy's own node and error texts hold Any messages and fields of newer versions, none of which matter here.
    private static readonly JsonParser Parser = new(JsonParser.Settings.Default.WithIgnoreUnknownFields(true));

    public static void Map(IEndpointRouteBuilder endpoints)
    {
        foreach (var (path, type) in Routes)
        {
            endpoints.MapPost("/v3/discovery:" + path, (HttpContext context, DiscoveryServer server) => AnswerAsync(type, context, server));
        }
    }

    private static async Task<IResult> AnswerAsync(ResourceType type, HttpContext context, DiscoveryServer server)
    {
        DiscoveryRequest request;
        NodeIdentity node;
        try
        {
            using var body = new StreamReader(context.Request.Body);
            request = Parser.Parse<DiscoveryRequest>(await body.ReadToEndAsync(context.RequestAborted));
            node = NodeReader.Read(new ReadOnlySequence<byte>((request.Node ?? new()).ToByteArray()));
        }
        catch (Exception e) when (e is InvalidProtocolBufferException or InvalidJsonException or InvalidDataException)
        {
            return Results.Problem($"The body is not a DiscoveryRequest in JSON: {e.Message}", statusCode: StatusCodes.Status400BadRequest);
        }

        if (request.TypeUrl.Length > 0 && request.TypeUrl != type.TypeUrl)
        {
            return Results.Problem($"This path serves {type.TypeUrl}, not {request.TypeUrl}.", statusCode: StatusCodes.Status400BadRequest);
        }

        if (server.Authorize(node, context.Connection.ClientCertificate) is { } refusal)
        {
            server.Nodes.Refused(node, context.Connection.RemoteIpAddress?.ToString() ?? "", refusal);
            return Results.Problem(refusal, statusCode: StatusCodes.Status403Forbidden);
        }

        if (!server.Snapshots.Ready.IsCompleted)
        {
            return Results.Problem("The first load is not done yet.", statusCode: StatusCodes.Status503ServiceUnavailable);
        }

        var set = Select(server.Snapshots.Of(node)[type], request.ResourceNames);
        if (set.Version == request.VersionInfo)
        {
            return Results.StatusCode(StatusCodes.Status304NotModified);
        }

        var response = new DiscoveryResponse
        {
            VersionInfo = set.Version,
            TypeUrl = type.TypeUrl,
            ControlPlane = new Envoy.Config.Core.V3.ControlPlane { Identifier = server.Options.Identifier },
        };
        foreach (var resource in set.InOrder())
        {
            response.Resources.Add(new Any { TypeUrl = type.TypeUrl, Value = UnsafeByteOperations.UnsafeWrap(resource.Payload) });
        }

        JsonObject json = ProtoJsonWriter.Write(response, redact: false);
        PolledSources.Replace(json["resources"]);
        return Results.Text(json.ToJsonString(), "application/json");
    }

    /// <summary>What the names mean: as in state of the world, no names are everything of CDS and LDS and nothing of the other types.</summary>
    private static ResourceSet Select(ResourceSet set, IReadOnlyCollection<string> names)
    {
        if (names.Contains("*") || (names.Count == 0 && set.Type.IsFullState))
        {
            return set;
        }

        return ResourceSet.Create(
            set.Type,
            names.Select(ResourceName.Canonical).Distinct(StringComparer.Ordinal).Select(set.Find).Where(resource => resource is not null)!
        );
    }
}
