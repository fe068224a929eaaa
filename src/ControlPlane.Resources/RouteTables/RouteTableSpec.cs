using System.Collections.Immutable;
using System.Text.Json.Nodes;

namespace ControlPlane.Resources.RouteTables;

/// <summary>
/// Virtual hosts and their routes. Compiles to one Envoy RouteConfiguration of the object's name, which listeners fetch by RDS: a change here reaches
/// proxies without touching a listener, and so without costing one connection.
/// </summary>
public sealed record RouteTableSpec : ResourceSpec, INodeScoped
{
    /// <summary>The node groups whose proxies may have this table; empty means all.</summary>
    public ImmutableArray<string> NodeGroups { get; init; } = [];

    /// <summary>The virtual hosts; at least one. Which of them gets a request is decided by the most specific domain, not by their order.</summary>
    public ImmutableArray<VirtualHostSpec> VirtualHosts { get; init; } = [];

    /// <summary>
    /// Whether the port in a request's Host is left out when domains are compared, so that <c>shop.example:8443</c> finds the domain
    /// <c>shop.example</c>. Envoy's own default is false (<c>RouteConfiguration.ignore_port_in_host_matching</c>).
    /// </summary>
    public bool IgnorePortInHostMatching { get; init; } = true;

    /// <summary>Edits of every request's headers. Envoy applies those of the route first, then those of the virtual host, then these.</summary>
    public HeaderEditsSpec? RequestHeaders { get; init; }

    /// <summary>Edits of every response's headers, in the same order as <see cref="RequestHeaders"/>.</summary>
    public HeaderEditsSpec? ResponseHeaders { get; init; }

    /// <summary>
    /// Settings of HTTP filters for the whole table, by the filter's name in the listener: typed configuration in proto-JSON with its <c>@type</c>
    /// (<c>RouteConfiguration.typed_per_filter_config</c>).
    /// </summary>
    public ImmutableSortedDictionary<string, JsonObject> TypedPerFilterConfig { get; init; } =
        ImmutableSortedDictionary<string, JsonObject>.Empty;

    /// <summary>Raw RouteConfiguration in proto-JSON, merged over what is compiled from the rest.</summary>
    public JsonObject? Envoy { get; init; }

    /// <inheritdoc/>
    public override IEnumerable<SpecReference> References()
    {
        foreach (var (at, group) in NodeGroups.Index())
        {
            yield return new SpecReference($"/spec/nodeGroups/{at}", new ResourceKey(ResourceKind.NodeGroup, group));
        }
        foreach (var (h, host) in VirtualHosts.Index())
        {
            foreach (var (r, route) in host.Routes.Index())
            {
                foreach (var reference in route.Route?.References($"/spec/virtualHosts/{h}/routes/{r}/route") ?? [])
                {
                    yield return reference;
                }
            }
        }
    }
}

/// <summary>The routes of a set of domains.</summary>
public sealed record VirtualHostSpec
{
    /// <summary>Appears in Envoy's statistics (<c>vhost.NAME.…</c>) and in the names of routes that have none. The first domain when not given.</summary>
    public string? Name { get; init; }

    /// <summary>
    /// Host names that this virtual host serves: exact (<c>shop.example</c>), with a leading or trailing wildcard (<c>*.shop.example</c>,
    /// <c>shop.*</c>), or <c>*</c> for every host. Case does not matter. A domain may stand once in the whole table.
    /// </summary>
    public ImmutableArray<string> Domains { get; init; } = [];

    /// <summary>Tried in this order; the first that matches gets the request. A request that matches none is answered with 404.</summary>
    public ImmutableArray<RouteSpec> Routes { get; init; } = [];

    /// <summary>When and how requests are tried again; a route's own retry takes the place of the whole of it.</summary>
    public RetrySpec? Retry { get; init; }

    /// <summary>Cross-origin rules for all routes that have none of their own.</summary>
    public CorsSpec? Cors { get; init; }

    /// <summary>What is sent to a rate-limit service for requests of this virtual host.</summary>
    public ImmutableArray<RateLimitSpec> RateLimits { get; init; } = [];

    /// <summary>Edits of the request's headers.</summary>
    public HeaderEditsSpec? RequestHeaders { get; init; }

    /// <summary>Edits of the response's headers.</summary>
    public HeaderEditsSpec? ResponseHeaders { get; init; }

    /// <summary>Settings of HTTP filters for this virtual host; see <see cref="RouteTableSpec.TypedPerFilterConfig"/>.</summary>
    public ImmutableSortedDictionary<string, JsonObject> TypedPerFilterConfig { get; init; } =
        ImmutableSortedDictionary<string, JsonObject>.Empty;

    /// <summary>The name that Envoy sees.</summary>
    public string EffectiveName => Name ?? (Domains.IsEmpty ? "" : Domains[0]);
}

/// <summary>What to do with the requests that match: exactly one of route, redirect, directResponse and nonForwarding.</summary>
public sealed record RouteSpec
{
    /// <summary>
    /// Unique in the table. Access logs carry it (<c>%ROUTE_NAME%</c>, <c>route_name</c>), and a request that met no endpoint can be attributed to its
    /// upstream by nothing else. When not given it is made of the table, the virtual host and the path, and does not change when routes are inserted.
    /// </summary>
    public string? Name { get; init; }

    /// <summary>Which requests this route is for.</summary>
    public required RouteMatchSpec Match { get; init; }

    /// <summary>Sends the request to upstreams.</summary>
    public RouteActionSpec? Route { get; init; }

    /// <summary>Answers with a redirect.</summary>
    public RedirectSpec? Redirect { get; init; }

    /// <summary>Answers with a fixed status and body.</summary>
    public DirectResponseSpec? DirectResponse { get; init; }

    /// <summary>
    /// The request is served by the process that has this table: for gRPC servers that take their configuration by xDS (gRPC proposal A36). Envoy forwards
    /// nothing on such a route, and gRPC clients end at it, so give such a table to gRPC servers only.
    /// </summary>
    public bool NonForwarding { get; init; }

    /// <summary>Cross-origin rules.</summary>
    public CorsSpec? Cors { get; init; }

    /// <summary>Edits of the request's headers.</summary>
    public HeaderEditsSpec? RequestHeaders { get; init; }

    /// <summary>Edits of the response's headers; they apply to redirects and direct responses, too.</summary>
    public HeaderEditsSpec? ResponseHeaders { get; init; }

    /// <summary>Settings of HTTP filters for this route; see <see cref="RouteTableSpec.TypedPerFilterConfig"/>.</summary>
    public ImmutableSortedDictionary<string, JsonObject> TypedPerFilterConfig { get; init; } =
        ImmutableSortedDictionary<string, JsonObject>.Empty;
}
