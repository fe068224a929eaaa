using System.Buffers;
using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using Envoy.Service.Discovery.V3;
using Google.Protobuf;
using Google.Protobuf.Collections;
using Google.Protobuf.WellKnownTypes;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Http.HttpResults;
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

    // Nodes and error texts hold fields of newer versions, none of which matter here.
    private static readonly JsonParser Parser = new(JsonParser.Settings.Default.WithIgnoreUnknownFields(true));

    public static void Map(IEndpointRouteBuilder endpoints)
    {
        foreach (var (path, type) in Routes)
        {
            endpoints.MapPost("/v3/discovery:" + path, (HttpContext context, DiscoveryServer server) => AnswerAsync(type, context, server));
        }

        endpoints.MapPost("/v3/discovery:{type}", Unknown);
    }

    private static ProblemHttpResult Unknown(string type) =>
        TypedResults.Problem(
            $"'{type}' cannot be polled. What can: {string.Join(", ", Routes.Select(route => route.Path))}.",
            statusCode: StatusCodes.Status404NotFound
        );

    private static async Task<IResult> AnswerAsync(ResourceType type, HttpContext context, DiscoveryServer server)
    {
        DiscoveryRequest request;
        NodeIdentity node;
        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } bodySize)
        {
            bodySize.MaxRequestBodySize = server.Options.MaxRequestBytes;
        }

        try
        {
            var body = await JsonNode.ParseAsync(context.Request.Body, cancellationToken: context.RequestAborted);
            request = Parser.Parse<DiscoveryRequest>(WithoutDetails(body).ToJsonString());
            node = NodeReader.Read(new ReadOnlySequence<byte>((request.Node ?? new()).ToByteArray()));
        }
        catch (BadHttpRequestException e) when (e.StatusCode == StatusCodes.Status413PayloadTooLarge)
        {
            return Results.Problem(
                $"The body is larger than {server.Options.MaxRequestBytes} bytes. Ask for fewer names at once.",
                statusCode: StatusCodes.Status413PayloadTooLarge
            );
        }
        catch (Exception e) when (e is InvalidProtocolBufferException or JsonException or InvalidDataException)
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

        var names = NamesOf(type, request.ResourceNames);
        var all = server.Snapshots.Of(node)[type];
        var set = names is null ? all : ResourceSet.Create(type, names.Value.Select(all.Find).OfType<EncodedResource>());
        var peer = $"{context.Connection.RemoteIpAddress}:{context.Connection.RemotePort}";
        if (server.PollsOf(node, peer, starts: request.VersionInfo.Length == 0) is not { } polls)
        {
            return Results.Problem(
                $"This server has {server.Options.MaxStreams} nodes that poll, the most it takes.",
                statusCode: StatusCodes.Status503ServiceUnavailable
            );
        }

        if (!polls.Take(type, names, request.VersionInfo, request.ErrorDetail?.Message, set))
        {
            return Results.Problem(
                $"This node asks for more than {server.Options.MaxNames} names, or for names of more than {server.Options.MaxNamesLength} characters together. Give its clusters and listeners to several nodes.",
                statusCode: StatusCodes.Status413PayloadTooLarge
            );
        }

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

    /// <summary>The details of an error are packed messages of any type, which the parser would have to know; nobody here reads them.</summary>
    private static JsonObject WithoutDetails(JsonNode? json)
    {
        var request = json as JsonObject ?? throw new InvalidDataException("It is no object.");
        foreach (var name in (ReadOnlySpan<string>)["errorDetail", "error_detail"])
        {
            (request[name] as JsonObject)?.Remove("details");
        }

        return request;
    }

    /// <summary>What the names mean: as in state of the world, no names are everything of CDS and LDS and nothing of the other types. Null is everything.</summary>
    private static ImmutableArray<string>? NamesOf(ResourceType type, RepeatedField<string> names) =>
        names.Contains("*") || (names.Count == 0 && type.IsFullState)
            ? null
            : [.. names.Select(ResourceName.Canonical).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];
}
