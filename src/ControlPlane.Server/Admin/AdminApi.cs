using System.Collections.Immutable;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Security;
using Microsoft.AspNetCore.Http.Timeouts;
using Scalar.AspNetCore;

namespace ControlPlane.Server.Admin;

/// <summary>The REST API: its table of contents. docs/api.md has its conventions.</summary>
internal static class AdminApi
{
    /// <summary>A request may take this long, body included; watches and waits have limits of their own.</summary>
    private static readonly TimeSpan RequestTimeout = TimeSpan.FromSeconds(60);

    private static readonly ImmutableArray<ResourceKind> Kinds =
    [
        ResourceKind.Upstream,
        ResourceKind.RouteTable,
        ResourceKind.Listener,
        ResourceKind.Secret,
        ResourceKind.NodeGroup,
        ResourceKind.EnvoyResource,
    ];

    /// <summary>The words that can follow <c>/api/v1/</c>.</summary>
    public static ImmutableArray<string> Collections { get; } =
    [
        .. Kinds.Select(ApiPaths.Collection),
        "overrides",
        "evidence",
        "health",
        "apply",
        "validate",
        "diff",
        "export",
        "revisions",
        "nodes",
        "watch",
    ];

    /// <summary>Adds what the API needs. <see cref="ReadinessCheck"/>s are added by the parts that they are about.</summary>
    public static WebApplicationBuilder AddAdmin(this WebApplicationBuilder builder)
    {
        builder.Services.AddSingleton<ObjectViews>();
        builder.Services.AddSingleton<ObjectWrites>();
        builder.Services.AddSingleton<ObjectLists>();
        builder.Services.AddSingleton<ListSnapshots>();
        builder.Services.AddSingleton<Propagations>();
        builder.Services.AddSingleton<NodeViews>();
        builder.Services.AddSingleton<NodePeers>();
        builder.Services.AddSingleton<NodePeerServer>();
        builder.Services.AddSingleton<WatchRoutes>();
        builder.Services.AddSingleton<WatchLimit>();
        builder.Services.AddSingleton<UpstreamHealthRoutes>();
        builder.Services.AddRequestTimeouts(o =>
            o.DefaultPolicy = new RequestTimeoutPolicy { Timeout = RequestTimeout, TimeoutStatusCode = StatusCodes.Status408RequestTimeout }
        );
        builder.AddApiDocument();
        return builder;
    }

    /// <summary>Answers in problems, and in time. Goes before everything else.</summary>
    public static WebApplication UseAdmin(this WebApplication app)
    {
        app.UseMiddleware<ProblemResponses>();
        // HEAD is wherever GET is (RFC 9110, 9.1): it finds the same handlers, and Kestrel leaves the body out.
        app.Use(
            (http, next) =>
            {
                if (HttpMethods.IsHead(http.Request.Method))
                {
                    http.Request.Method = HttpMethods.Get;
                    http.Items[HttpMethods.Head] = true;
                }

                return next(http);
            }
        );
        app.UseRouting();
        app.Use(
            (http, next) =>
            {
                if (http.Items.ContainsKey(HttpMethods.Head))
                {
                    http.Request.Method = HttpMethods.Head;
                }

                return next(http);
            }
        );
        app.UseRequestTimeouts();
        return app;
    }

    /// <summary>The documentation's page loads nothing from elsewhere and tells nobody.</summary>
    private static void StayHere(ScalarOptions page)
    {
        page.Title = "ControlPlane API";
        page.DefaultFonts = false;
        page.Telemetry = false;
        page.Agent = new ScalarAgentOptions { Disabled = true };
        page.Mcp = new ScalarMcpOptions { Disabled = true };
    }

    /// <summary>Maps the API, its documentation and the health endpoints.</summary>
    public static WebApplication MapAdmin(this WebApplication app)
    {
        var api = app.MapGroup(ApiPaths.Root).OnAdminListener();
        api.AddEndpointFilter(QueryFilter.Instance);
        api.AddEndpointFilter<LoadedFilter>();
        foreach (var kind in Kinds)
        {
            ResourceRoutes.Map(api, kind);
        }

        EndpointRoutes.Map(api);
        OverrideRoutes.Map(api);
        UpstreamHealthRoutes.Map(api);
        EvidenceRoutes.Map(api);
        ApplyRoutes.Map(api);
        ExportRoutes.Map(api);
        RevisionRoutes.Map(api);
        NodeRoutes.Map(api);
        WatchRoutes.Map(api);
        HealthRoutes.Map(app);
        app.MapGrpcService<NodePeerServer>().OnPeerListener();
        app.MapApiDocument();
        app.MapScalarApiReference("/docs", StayHere).OnAdminListener().ExcludeFromDescription();
        app.MapGet("/", () => Results.Redirect("/docs/")).OnAdminListener().ExcludeFromDescription();
        return app;
    }
}

/// <summary>Nothing is answered from a state that is not there yet.</summary>
internal sealed class LoadedFilter(CurrentState current) : IEndpointFilter
{
    public ValueTask<object?> InvokeAsync(EndpointFilterInvocationContext context, EndpointFilterDelegate next) =>
        current.Loaded.IsCompletedSuccessfully ? next(context) : ValueTask.FromResult<object?>(Problems.NotReady());
}

/// <summary>Refuses what a handler would pass over: unknown parameters, and conditions where it has none.</summary>
internal sealed class QueryFilter : IEndpointFilter
{
    public static QueryFilter Instance { get; } = new();

    public ValueTask<object?> InvokeAsync(EndpointFilterInvocationContext context, EndpointFilterDelegate next) =>
        (QueryCheck.Explain(context.HttpContext) ?? Preconditions.ExplainUnheeded(context.HttpContext)) is { } problem
            ? ValueTask.FromResult<object?>(problem)
            : next(context);
}
