using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization.Metadata;
using System.Text.RegularExpressions;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;
using ControlPlane.Server.Security;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc.ApiExplorer;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace ControlPlane.Server.Admin;

/// <summary>
/// The OpenAPI document: made from the routes and the spec records, so that it cannot say what the server does not do. Making it takes a second of CPU, so that
/// what is served at <c>/openapi/v1.json</c> is the copy in docs/openapi.json, which a test holds to what is made.
/// </summary>
internal static partial class ApiDocument
{
    private const string Name = "v1";

    private const string TokenScheme = "token";

    private static readonly string[] BodyTypes = ["application/json", "application/yaml"];

    /// <summary>What the body is. Says nothing to routing, which would turn away spellings of a media type that are taken here.</summary>
    private sealed record BodyMetadata(Type Type, IReadOnlyList<string> MediaTypes);

    public static void AddApiDocument(this WebApplicationBuilder builder)
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
            Name,
            options =>
            {
                options.OpenApiVersion = OpenApiSpecVersion.OpenApi3_1;
                options.ShouldInclude = IsOfApi;
                options.CreateSchemaReferenceId = NameOf;
                options.AddDocumentTransformer(Introduce);
                options.AddDocumentTransformer(SayWhatIsLeftOut);
                options.AddOperationTransformer(AddInputAsync);
                options.AddOperationTransformer(AddConditions);
                options.AddOperationTransformer(AddWait);
                options.AddOperationTransformer(NameProblems);
                options.AddOperationTransformer(AddSecurity);
                options.AddSchemaTransformer(SayTexts);
            }
        );
    }

    /// <summary>Serves the document.</summary>
    public static void MapApiDocument(this IEndpointRouteBuilder app) =>
        app.MapGet(
                "/openapi/v1.json",
                () => Results.Stream(typeof(ApiDocument).Assembly.GetManifestResourceStream("openapi.json")!, "application/json")
            )
            .OnAdminListener()
            .ExcludeFromDescription();

    /// <summary>Makes the document of a server, as the text that stands in docs/openapi.json.</summary>
    public static async Task<string> MakeAsync(IServiceProvider services, CancellationToken cancellationToken)
    {
        var provider = services.GetRequiredKeyedService<IOpenApiDocumentProvider>(Name);
        var document = await provider.GetOpenApiDocumentAsync(cancellationToken);
        var json = (await document.SerializeAsJsonAsync(OpenApiSpecVersion.OpenApi3_1, cancellationToken)).ReplaceLineEndings("\n") + "\n";
        return NameInCode().Replace(json, name => JsonNamingPolicy.CamelCase.ConvertName(name.Groups["member"].Value));
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

        if (parameters.Contains(Query.Since) || parameters.Contains(Query.SinceTransition))
        {
            AddHeader(
                operation,
                "Last-Event-ID",
                "The id of the last event that the client had: those after it come first. Goes before 'since'."
            );
        }

        if (context.Description.ActionDescriptor.EndpointMetadata.OfType<BodyMetadata>().FirstOrDefault() is { } body)
        {
            // What answers have as well is named in the document once.
            IOpenApiSchema schema =
                body.Type.IsGenericType && NameOf(JsonTypeInfo.CreateJsonTypeInfo(body.Type, ApiJson.Options)) is { } name
                    ? new OpenApiSchemaReference(name, context.Document)
                    : await context.GetOrCreateSchemaAsync(body.Type, cancellationToken: cancellationToken);
            operation.RequestBody = new OpenApiRequestBody
            {
                Content = body.MediaTypes.ToDictionary(t => t, _ => new OpenApiMediaType { Schema = schema }),
            };
        }
    }

    private static bool IsOfApi(ApiDescription description) =>
        description.ActionDescriptor.EndpointMetadata.OfType<ListenerMetadata>().LastOrDefault()?.Listener == Listener.Admin;

    private static Task Introduce(OpenApiDocument document, OpenApiDocumentTransformerContext context, CancellationToken cancellationToken)
    {
        document.Info = new OpenApiInfo
        {
            Title = "ControlPlane",
            Version = "v1",
            Description = "An xDS control plane for Envoy. Conventions, with examples to copy: docs/api.md.",
        };
        document.Servers = [];
        document.AddComponent(
            TokenScheme,
            new OpenApiSecurityScheme
            {
                Type = SecuritySchemeType.Http,
                Scheme = "bearer",
                Description =
                    "A token of the server's token file, where one is in use: docs/security.md. Without, the API is only for its own machine.",
            }
        );
        return Task.CompletedTask;
    }

    /// <summary>A kind's manifest is called as the kind.</summary>
    private static string? NameOf(JsonTypeInfo type)
    {
        if (type.Type is not { IsGenericType: true, GenericTypeArguments: [var spec] })
        {
            return OpenApiOptions.CreateDefaultSchemaReferenceId(type);
        }

        var definition = type.Type.GetGenericTypeDefinition();
        var kind = spec.Name.EndsWith("Spec", StringComparison.Ordinal) ? spec.Name[..^"Spec".Length] : spec.Name;
        return definition == typeof(ManifestSchema<>) ? kind
            : definition == typeof(ListSchema<>) ? kind + "List"
            : OpenApiOptions.CreateDefaultSchemaReferenceId(type);
    }

    /// <summary>Whether a write heeds If-Match: one of an object that its address, or its body, names.</summary>
    public static bool TakesCondition(IEnumerable<object> metadata, string? method) =>
        method is "PATCH" or "DELETE" || IsManifest(metadata.OfType<BodyMetadata>().FirstOrDefault()?.Type);

    private static bool IsManifest(Type? type) =>
        type is { IsGenericType: true } && type.GetGenericTypeDefinition() == typeof(ManifestSchema<>);

    /// <summary>What comes of ETags: which requests can have a condition, and which answers bear one.</summary>
    private static Task AddConditions(
        OpenApiOperation operation,
        OpenApiOperationTransformerContext context,
        CancellationToken cancellationToken
    )
    {
        var metadata = context.Description.ActionDescriptor.EndpointMetadata;
        var isObject = metadata.OfType<ProducesResponseTypeMetadata>().Any(p => p.StatusCode == 200 && IsManifest(p.Type));
        if (!isObject || operation.Responses is not { } responses)
        {
            return Task.CompletedTask;
        }

        var body = metadata.OfType<BodyMetadata>().FirstOrDefault();
        var method = context.Description.HttpMethod;
        var isRead = method == HttpMethods.Get;
        if (TakesCondition(metadata, method))
        {
            AddHeader(operation, "If-Match", "ETags of states of the object, or *: 412 where it is in none of them.");
        }

        if (isRead)
        {
            AddHeader(operation, "If-None-Match", "ETags of states that the client has: 304 where the object is in one of them.");
            responses["304"] = new OpenApiResponse
            {
                Description = "The object is in the state that the client has. Its status is no part of that.",
            };
        }
        else if (IsManifest(body?.Type))
        {
            AddHeader(operation, "If-None-Match", "*: 412 where the object exists.");
        }

        foreach (var (status, response) in responses)
        {
            if (status is "200" or "201" or "304" && method != HttpMethods.Delete && response is OpenApiResponse answer)
            {
                answer.Headers ??= new Dictionary<string, IOpenApiHeader>();
                answer.Headers["ETag"] = new OpenApiHeader { Description = "metadata.resourceVersion in quotes.", Schema = Text() };
            }
        }

        return Task.CompletedTask;
    }

    private static void AddHeader(OpenApiOperation operation, string name, string description)
    {
        operation.Parameters ??= [];
        operation.Parameters.Add(
            new OpenApiParameter
            {
                Name = name,
                In = ParameterLocation.Header,
                Description = description,
                Schema = Text(),
            }
        );
    }

    private static OpenApiSchema Text() => new() { Type = JsonSchemaType.String };

    /// <summary>What can be waited for can take longer than that.</summary>
    private static Task AddWait(OpenApiOperation operation, OpenApiOperationTransformerContext context, CancellationToken cancellationToken)
    {
        var parameters = context.Description.ActionDescriptor.EndpointMetadata.OfType<QueryMetadata>().FirstOrDefault()?.Parameters ?? [];
        if (parameters.Contains(Query.WaitAcked) && operation.Responses is { } responses && responses.TryGetValue("200", out var done))
        {
            responses["202"] = new OpenApiResponse
            {
                Description =
                    "With wait=acked: the change is done, and proxies that are to have it have not all answered; 'propagation' says which.",
                Content = done.Content,
                Headers = done.Headers,
            };
        }

        return Task.CompletedTask;
    }

    private static Task AddSecurity(
        OpenApiOperation operation,
        OpenApiOperationTransformerContext context,
        CancellationToken cancellationToken
    )
    {
        if (context.Description.ActionDescriptor.EndpointMetadata.OfType<IAuthorizeData>().Any())
        {
            operation.Security =
            [
                new OpenApiSecurityRequirement { [new OpenApiSecuritySchemeReference(TokenScheme, context.Document)] = [] },
            ];
        }

        return Task.CompletedTask;
    }

    private static Task NameProblems(
        OpenApiOperation operation,
        OpenApiOperationTransformerContext context,
        CancellationToken cancellationToken
    )
    {
        if (operation.Responses is { } responses && responses.Remove("0", out var problem))
        {
            ((OpenApiResponse)problem).Description = "A problem (RFC 9457); nothing was done.";
            responses["default"] = problem;
        }

        return Task.CompletedTask;
    }

    /// <summary>What has no value is left out of answers, whatever a constructor asks for.</summary>
    private static Task SayWhatIsLeftOut(
        OpenApiDocument document,
        OpenApiDocumentTransformerContext context,
        CancellationToken cancellationToken
    )
    {
        foreach (var schema in document.Components?.Schemas?.Values.OfType<OpenApiSchema>() ?? [])
        {
            foreach (var (name, property) in schema.Properties ?? new Dictionary<string, IOpenApiSchema>())
            {
                if (MayBeNull(property) || property.OneOf?.Any(MayBeNull) == true)
                {
                    schema.Required?.Remove(name);
                }
            }
        }

        return Task.CompletedTask;

        static bool MayBeNull(IOpenApiSchema schema) => schema.Type?.HasFlag(JsonSchemaType.Null) == true;
    }

    /// <summary>Durations and times are texts of a form of their own, not what the serialiser would make of them.</summary>
    private static Task SayTexts(OpenApiSchema schema, OpenApiSchemaTransformerContext context, CancellationToken cancellationToken)
    {
        var type = Nullable.GetUnderlyingType(context.JsonTypeInfo.Type) ?? context.JsonTypeInfo.Type;
        var isNullable = type != context.JsonTypeInfo.Type;
        if (type == typeof(TimeSpan) || type == typeof(DateTimeOffset))
        {
            schema.Type = isNullable ? JsonSchemaType.String | JsonSchemaType.Null : JsonSchemaType.String;
            schema.Pattern = type == typeof(TimeSpan) ? @"^(\d+(\.\d+)?(h|m|s|ms|us|ns))+$" : null;
            schema.Format = type == typeof(TimeSpan) ? null : "date-time";
        }

        return Task.CompletedTask;
    }

    /// <summary>A field or a word that a doc comment refers to; the generator writes it as C# declares it, such as <c>string? HttpCheckSpec.Host</c>. It may follow an escaped line end.</summary>
    [GeneratedRegex(
        @"(?<=\\n|[^\w\\])((\w+(&lt;.+?&gt;)?\?? )?[A-Z]\w*(Spec|View)|HealthAuthority|EndpointSource)\.(?<member>[A-Z]\w*)",
        RegexOptions.ExplicitCapture,
        matchTimeoutMilliseconds: 10_000
    )]
    private static partial Regex NameInCode();
}

/// <summary>
/// An object. In bodies apiVersion, kind and metadata.name may be left out where the URL says them; what the server adds may be sent back and has no effect but
/// for resourceVersion.
/// </summary>
internal sealed record ManifestSchema<TSpec>
    where TSpec : ResourceSpec
{
    /// <summary>Always controlplane/v1.</summary>
    public string? ApiVersion { get; init; }

    /// <summary>The kind's name.</summary>
    public string? Kind { get; init; }

    /// <summary>What names, describes and dates the object.</summary>
    public ObjectMetadata? Metadata { get; init; }

    /// <summary>The desired state.</summary>
    public required TSpec Spec { get; init; }

    /// <summary>What became of it; only in answers.</summary>
    public ObjectStatus? Status { get; init; }

    /// <summary>In answers to writes: what the author should know.</summary>
    public ImmutableArray<Fault>? Warnings { get; init; }

    /// <summary>In answers to writes with <c>wait=acked</c>: which proxies have it.</summary>
    public Propagation? Propagation { get; init; }
}

/// <summary>A page of objects.</summary>
internal sealed record ListSchema<TSpec>
    where TSpec : ResourceSpec
{
    /// <summary>Always List.</summary>
    public required string Kind { get; init; }

    /// <summary>The revision that the whole list, over all pages, is of.</summary>
    public required long Revision { get; init; }

    /// <summary>Token for the next page; absent on the last one.</summary>
    public string? Continue { get; init; }

    /// <summary>The objects, by name in ordinal order.</summary>
    public required IReadOnlyList<ManifestSchema<TSpec>> Items { get; init; }
}
