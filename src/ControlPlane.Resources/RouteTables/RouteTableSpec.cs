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
                foreach (var (field, upstream) in route.NamedUpstreams())
                {
                    yield return new SpecReference(
                        $"/spec/virtualHosts/{h}/routes/{r}/{field}",
                        new ResourceKey(ResourceKind.Upstream, upstream)
                    );
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

/// <summary>
/// What to do with the requests that match: exactly one of upstream, upstreams, redirect, directResponse and nonForwarding. Timeouts, retries and all that
/// is about forwarding go with upstream and upstreams alone.
/// </summary>
public sealed record RouteSpec
{
    /// <summary>
    /// Unique in the table. Access logs carry it (<c>%ROUTE_NAME%</c>, <c>route_name</c>), and a request that met no endpoint can be attributed to its
    /// upstream by nothing else. When not given it is made of the table, the virtual host and the path, and does not change when routes are inserted.
    /// </summary>
    public string? Name { get; init; }

    /// <summary>Which requests this route is for.</summary>
    public required RouteMatchSpec Match { get; init; }

    /// <summary>Sends the requests to this upstream.</summary>
    public string? Upstream { get; init; }

    /// <summary>Sends the requests to several upstreams, each with its share; for canary releases.</summary>
    public ImmutableArray<WeightedUpstreamSpec> Upstreams { get; init; } = [];

    /// <summary>Only endpoints whose metadata has these keys and values; the upstream must have subsets of these keys.</summary>
    public ImmutableSortedDictionary<string, string> Subset { get; init; } = ImmutableSortedDictionary<string, string>.Empty;

    /// <summary>
    /// From the end of the request to the end of the response, retries included; 15 s when not given, <c>0s</c> is none. Long answers and streams need
    /// none.
    /// </summary>
    public TimeSpan? Timeout { get; init; }

    /// <summary>The longest pause of a stream in both directions; the listener's <c>streamIdleTimeout</c> when not given, <c>0s</c> is none.</summary>
    public TimeSpan? IdleTimeout { get; init; }

    /// <summary>The longest life of a stream, whatever happens on it; <c>0s</c> is none. For gRPC it also takes the place of the timeout.</summary>
    public TimeSpan? MaxStreamDuration { get; init; }

    /// <summary>
    /// The longest time that a gRPC client may ask for in <c>grpc-timeout</c>, which then takes the place of the timeout; <c>0s</c> is no bound. Without it
    /// the header has no effect.
    /// </summary>
    public TimeSpan? GrpcTimeoutHeaderMax { get; init; }

    /// <summary>When and how a request is tried again; takes the place of the virtual host's.</summary>
    public RetrySpec? Retry { get; init; }

    /// <summary>
    /// What is hashed to choose the endpoint, for upstreams with ring hash or Maglev; all that apply are combined. Without it such an upstream chooses at
    /// random.
    /// </summary>
    public ImmutableArray<HashPolicySpec> HashPolicy { get; init; } = [];

    /// <summary>Copies of the requests, whose answers nobody sees.</summary>
    public ImmutableArray<MirrorSpec> Mirror { get; init; } = [];

    /// <summary>Changes of path and host on the way to the upstream.</summary>
    public RewriteSpec? Rewrite { get; init; }

    /// <summary>Switches protocol upgrades on or off against what the listener says.</summary>
    public ImmutableArray<RouteUpgradeSpec> Upgrades { get; init; } = [];

    /// <summary>What is sent to a rate-limit service for requests of this route.</summary>
    public ImmutableArray<RateLimitSpec> RateLimits { get; init; } = [];

    /// <summary>Which circuit-breaker limits of the upstream the requests count against.</summary>
    public RoutePriority Priority { get; init; }

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

    /// <summary>Every upstream that the route names, with its place below the route.</summary>
    internal IEnumerable<(string Field, string Upstream)> NamedUpstreams() =>
        [
            .. Upstream is null ? Array.Empty<(string, string)>() : [("upstream", Upstream)],
            .. Upstreams.Index().Select(u => ($"upstreams/{u.Index}/name", u.Item.Name)),
            .. Mirror.Index().Select(m => ($"mirror/{m.Index}/upstream", m.Item.Upstream)),
        ];
}
