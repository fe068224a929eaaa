using System.Text.Json.Nodes;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;
using Microsoft.AspNetCore.Http.Metadata;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace ControlPlane.Server.Admin;

/// <summary>
/// The OpenAPI document at <c>/openapi/v1.json</c>: made from the routes and the spec records, so that it cannot say what the server does not do.
/// </summary>
internal static class OpenApiDocument
{
    private static readonly string[] BodyTypes = ["application/json", "application/yaml"];

    /// <summary>What the body is. Says nothing to routing, which would turn away spellings of a media type that are taken here.</summary>
    private sealed record BodyMetadata(Type Type, IReadOnlyList<string> MediaTypes);

    public static void AddOpenApiDocument(this WebApplicationBuilder builder)
    {
        builder.Services.ConfigureHttpJsonOptions(o =>
        {
            o.SerializerOptions.DefaultIgnoreCondition = ApiJson.Options.DefaultIgnoreCondition;
            o.SerializerOptions.NumberHandling = ApiJson.Options.NumberHandling;
            foreach (var converter in ApiJson.Options.Converters)
            {
                o.SerializerOptions.Converters.Add(converter);
            }
        });
        builder.Services.AddOpenApi(
            "v1",
            options =>
            {
                options.OpenApiVersion = OpenApiSpecVersion.OpenApi3_1;
                options.AddDocumentTransformer(
                    (document, _, _) =>
                    {
                        document.Info = new OpenApiInfo
                        {
                            Title = "ControlPlane",
                            Version = "v1",
                            Description = "An xDS control plane for Envoy. Conventions, with examples to copy: docs/api.md.",
                        };
                        document.Servers = [];
                        return Task.CompletedTask;
                    }
                );
                options.AddOperationTransformer(AddInputAsync);
            }
        );
    }

    /// <summary>Names an operation and says what it does.</summary>
    public static RouteHandlerBuilder Describe(this RouteHandlerBuilder route, string id, string description) =>
        route.WithName(char.ToLowerInvariant(id[0]) + id[1..]).WithSummary(description);

    /// <summary>The body is one object of a kind.</summary>
    public static RouteHandlerBuilder TakesObject(this RouteHandlerBuilder route, ResourceKind kind) => route.Takes(SchemaOf(kind));

    /// <summary>The body is any number of objects.</summary>
    public static RouteHandlerBuilder TakesManifests(this RouteHandlerBuilder route) => route.Takes(typeof(ObjectList));

    /// <summary>The body is a patch.</summary>
    public static RouteHandlerBuilder TakesPatch(this RouteHandlerBuilder route) =>
        route.WithMetadata(new BodyMetadata(typeof(JsonNode), [Patch.MergeType, Patch.OperationsType]));

    /// <summary>The body is a value.</summary>
    public static RouteHandlerBuilder Takes(this RouteHandlerBuilder route, Type body) =>
        route.WithMetadata(new BodyMetadata(body, BodyTypes));

    /// <summary>The answer is an object of a kind.</summary>
    public static RouteHandlerBuilder Answers(this RouteHandlerBuilder route, ResourceKind kind, bool created = false)
    {
        route.Answers(200, SchemaOf(kind));
        if (created)
        {
            route.Answers(201, SchemaOf(kind));
        }

        return route.WithProblems();
    }

    /// <summary>The answer is a page of objects of a kind.</summary>
    public static RouteHandlerBuilder AnswersList(this RouteHandlerBuilder route, ResourceKind kind) =>
        route.Answers(200, typeof(ListSchema<>).MakeGenericType(SpecTypes.TypeOf(kind))).WithProblems();

    /// <summary>The answer is a value.</summary>
    public static RouteHandlerBuilder Answers<T>(this RouteHandlerBuilder route) => route.Answers(200, typeof(T)).WithProblems();

    private static RouteHandlerBuilder Answers(this RouteHandlerBuilder route, int status, Type type) =>
        route.WithMetadata(new ProducesResponseTypeMetadata(status, type, BodyTypes));

    private static RouteHandlerBuilder WithProblems(this RouteHandlerBuilder route) =>
        route.WithMetadata(new ProducesResponseTypeMetadata(0, typeof(Problem), [Problem.MediaType]));

    private static Type SchemaOf(ResourceKind kind) => typeof(ManifestSchema<>).MakeGenericType(SpecTypes.TypeOf(kind));

    private static async Task AddInputAsync(
        OpenApiOperation operation,
        OpenApiOperationTransformerContext context,
        CancellationToken cancellationToken
    )
    {
        var parameters = context.Description.ActionDescriptor.EndpointMetadata.OfType<QueryMetadata>().FirstOrDefault()?.Parameters ?? [];
        foreach (var parameter in parameters)
        {
            operation.Parameters ??= [];
            operation.Parameters.Add(
                new OpenApiParameter
                {
                    Name = parameter.Name,
                    In = ParameterLocation.Query,
                    Description = parameter.Description,
                    Schema = new OpenApiSchema
                    {
                        Type = parameter.Schema switch
                        {
                            "integer" => JsonSchemaType.Integer,
                            "boolean" => JsonSchemaType.Boolean,
                            _ => JsonSchemaType.String,
                        },
                    },
                }
            );
        }

        if (context.Description.ActionDescriptor.EndpointMetadata.OfType<BodyMetadata>().FirstOrDefault() is { } body)
        {
            var schema = await context.GetOrCreateSchemaAsync(body.Type, cancellationToken: cancellationToken);
            operation.RequestBody = new OpenApiRequestBody
            {
                Content = body.MediaTypes.ToDictionary(t => t, _ => new OpenApiMediaType { Schema = schema }),
            };
        }
    }
}

/// <summary>An object of a kind, for the document: <see cref="ObjectView"/> with the kind's own spec.</summary>
internal sealed record ManifestSchema<TSpec>
{
    public string? ApiVersion { get; init; }
    public string? Kind { get; init; }
    public ObjectMetadata? Metadata { get; init; }
    public required TSpec Spec { get; init; }
    public ObjectStatus? Status { get; init; }
}

/// <summary>A page of objects of a kind, for the document.</summary>
internal sealed record ListSchema<TSpec>
{
    public required string Kind { get; init; }
    public required long Revision { get; init; }
    public string? Continue { get; init; }
    public required IReadOnlyList<ManifestSchema<TSpec>> Items { get; init; }
}
