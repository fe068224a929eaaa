using System.Text;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Security;

namespace ControlPlane.Server.Admin;

/// <summary>How a part of the server is.</summary>
internal enum ReadinessState
{
    /// <summary>As it should be.</summary>
    Ok,

    /// <summary>Something is missing, and what the server is for goes on.</summary>
    Degraded,

    /// <summary>The server cannot do what it is for: send no proxy here.</summary>
    Failed,
}

/// <summary>One check behind <c>/readyz</c>. Registered as a service; asked on every request, so it must be quick.</summary>
/// <param name="Name">One word.</param>
/// <param name="Check">Gives the state and, unless it is <see cref="ReadinessState.Ok"/>, why, without secrets.</param>
internal sealed record ReadinessCheck(string Name, Func<(ReadinessState State, string Reason)> Check);

/// <summary>Health of the server itself, in the form of Kubernetes. Open to all, because probes have no token.</summary>
internal static class HealthRoutes
{
    public static void Map(IEndpointRouteBuilder app)
    {
        Probe(app.MapGet("/livez", () => Text(true, "ok\n")), "livez", "The process answers.");
        Probe(
            app.MapGet(
                "/startupz",
                (CurrentState current) => current.Loaded.IsCompletedSuccessfully ? Text(true, "ok\n") : Text(false, "loading\n")
            ),
            "startupz",
            "The first complete state is loaded."
        );
        Probe(
            app.MapGet("/readyz", (HttpContext http, IEnumerable<ReadinessCheck> checks) => Ready(checks, Query.Verbose.Of(http))),
            "readyz",
            "Proxies can be served. A lost database is 'degraded', and still 200, because they are served from memory; ?verbose names every check.",
            Query.Verbose
        );

        static void Probe(RouteHandlerBuilder route, string id, string description, params QueryParameter[] parameters) =>
            route
                .AddEndpointFilter(QueryFilter.Instance)
                .WithTags("Health")
                .Takes([.. parameters])
                .Describe(id, description)
                .Produces<string>(contentType: "text/plain")
                .Produces<string>(StatusCodes.Status503ServiceUnavailable, "text/plain")
                .OnAdminListener();
    }

    private static IResult Ready(IEnumerable<ReadinessCheck> checks, bool verbose)
    {
        var worst = ReadinessState.Ok;
        var lines = new StringBuilder();
        foreach (var check in checks)
        {
            var (state, reason) = check.Check();
            worst = state > worst ? state : worst;
            lines.Append(
                state switch
                {
                    ReadinessState.Ok => $"[+]{check.Name} ok\n",
                    ReadinessState.Degraded => $"[~]{check.Name} degraded: {reason}\n",
                    _ => $"[-]{check.Name} failed: {reason}\n",
                }
            );
        }

        var summary = worst switch
        {
            ReadinessState.Ok => "ok",
            ReadinessState.Degraded => "degraded",
            _ => "not ready",
        };
        return Text(worst != ReadinessState.Failed, verbose ? lines + summary + "\n" : summary + "\n");
    }

    private static IResult Text(bool good, string text) =>
        Results.Text(text, "text/plain", Encoding.UTF8, good ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable);
}
