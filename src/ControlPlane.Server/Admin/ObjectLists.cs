using System.Collections.Immutable;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.Publishing;

namespace ControlPlane.Server.Admin;

/// <summary>Lists objects in pages that are all of one revision.</summary>
internal sealed class ObjectLists(CurrentState current, ObjectViews views, ListSnapshots snapshots)
{
    /// <summary>Objects of a kind; of overrides those of all upstreams.</summary>
    public IResult List(HttpContext http, ResourceKind kind) =>
        Page(
            http,
            kind.ToString(),
            state =>
                (kind == ResourceKind.Override ? Overrides(state) : state.List(kind).Values).Select(r =>
                    (r.Key.Name, r.Manifest.Metadata, View(r))
                )
        );

    /// <summary>The endpoints of an upstream, whether they are registered or stand in its spec.</summary>
    public IResult ListEndpoints(HttpContext http, string upstream) =>
        current.Desired.Find(new ResourceKey(ResourceKind.Upstream, upstream)) is null
            ? Problems.NotFound($"Upstream/{upstream} does not exist.")
            : Page(http, "Endpoint/" + upstream, state => Endpoints(state, upstream));

    private IEnumerable<(string, ResourceMetadata, Func<ObjectView>)> Endpoints(DesiredState state, string name)
    {
        var upstream = state.Find(new ResourceKey(ResourceKind.Upstream, name));
        return upstream?.Manifest.Spec is UpstreamSpec { Endpoints: { Source: EndpointSource.Static, Static: var endpoints } }
            ? endpoints
                .Select(e =>
                    (e.DefaultId(), new ResourceMetadata { Name = e.DefaultId() }, (Func<ObjectView>)(() => views.OfStatic(upstream, e)))
                )
                .OrderBy(e => e.Item1, StringComparer.Ordinal)
            : state.Children(ResourceKind.Endpoint, name).Select(e => (e.Key, e.Value.Manifest.Metadata, View(e.Value)));
    }

    private Func<ObjectView> View(StoredResource resource) => () => views.WithStatus(resource);

    private static IEnumerable<StoredResource> Overrides(DesiredState state) =>
        state.All.Where(r => r.Key.Kind == ResourceKind.Override).OrderBy(r => r.Key.Name, StringComparer.Ordinal);

    private IResult Page(
        HttpContext http,
        string scope,
        Func<DesiredState, IEnumerable<(string Name, ResourceMetadata Metadata, Func<ObjectView> View)>> list
    )
    {
        var selector = Query.Selector.Of(http);
        scope += "?" + selector.Text;
        var state = current.Desired;
        var after = "";
        if (Query.Continue.Of(http) is { Length: > 0 } text)
        {
            if (PageToken.Decode(text) is not { } token || token.Scope != scope)
            {
                return Problems.Parameter([
                    new Fault("invalid-parameter", "The query parameter 'continue' is not a token of this list with this filter."),
                ]);
            }

            if (token.Revision != state.Revision)
            {
                if (snapshots.Find(token.Revision) is not { } held)
                {
                    return Problems.ContinueExpired((token with { Revision = state.Revision }).Encode());
                }

                state = held;
            }

            after = token.After;
        }

        var limit = Query.Limit.Of(http);
        var page = list(state)
            .Where(o => string.CompareOrdinal(o.Name, after) > 0 && selector.Matches(o.Metadata.Labels))
            .Take(limit + 1)
            .ToList();
        string? next = null;
        if (page.Count > limit)
        {
            page.RemoveAt(limit);
            snapshots.Hold(state);
            next = new PageToken(state.Revision, scope, page[^1].Name).Encode();
        }

        return new ApiResult<ObjectList>(
            new ObjectList
            {
                Revision = state.Revision,
                Continue = next,
                Items = [.. page.Select(o => o.View())],
            }
        );
    }
}
