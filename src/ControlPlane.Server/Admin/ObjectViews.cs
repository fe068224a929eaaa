using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Security;
using ControlPlane.Server.Storage;
using Envoy.Config.Core.V3;
using Envoy.Config.Endpoint.V3;
using EnvoySecret = Envoy.Extensions.TransportSockets.Tls.V3.Secret;

namespace ControlPlane.Server.Admin;

/// <summary>Shows objects: manifest, the server's part, and what became of them. Secrets never pass.</summary>
internal sealed class ObjectViews(CurrentState current, Propagations propagations, TimeProvider time)
{
    /// <summary>Read once of each assignment: a list shows each of its endpoints.</summary>
    private readonly ConditionalWeakTable<EncodedResource, FrozenDictionary<Address, HealthStatus>> _published = [];

    /// <summary>An object with its status in the state of now.</summary>
    public ObjectView WithStatus(StoredResource resource) => Of(resource) with { Status = StatusOf(resource) };

    /// <summary>An object as it is, or was, without status.</summary>
    public static ObjectView Of(StoredResource resource) =>
        new()
        {
            Kind = resource.Key.Kind.ToString(),
            Metadata = MetadataOf(resource),
            Spec = SpecOf(resource.Manifest),
        };

    /// <summary>What people wrote of an object's metadata, and what the server added.</summary>
    public static ObjectMetadata MetadataOf(StoredResource resource) =>
        new()
        {
            Name = resource.Key.Name,
            Labels = NotEmpty(resource.Manifest.Metadata.Labels),
            Annotations = NotEmpty(resource.Manifest.Metadata.Annotations),
            Uid = resource.Uid,
            Generation = resource.Generation,
            ResourceVersion = Preconditions.Version(resource),
            Revision = resource.Revision,
            CreatedAt = resource.CreatedAt,
            UpdatedAt = resource.UpdatedAt,
            ManagedBy = resource.ManagedBy,
        };

    /// <summary>An object that a dry run made: it has no state to name yet.</summary>
    public static ObjectView OfDryRun(StoredResource resource)
    {
        var view = Of(resource);
        return view with
        {
            Metadata = view.Metadata with { Uid = null, ResourceVersion = null, Revision = null, CreatedAt = null, UpdatedAt = null },
        };
    }

    /// <summary>An endpoint that stands in its upstream's spec. It has no state of its own, but can be drained like any other.</summary>
    public ObjectView OfStatic(StoredResource upstream, EndpointSpec endpoint) =>
        new()
        {
            Kind = nameof(ResourceKind.Endpoint),
            Metadata = new ObjectMetadata { Name = $"{upstream.Key.Name}/{endpoint.DefaultId()}", Revision = upstream.Revision },
            Spec = SpecOf(new Manifest(ResourceKind.Endpoint, new ResourceMetadata { Name = endpoint.DefaultId() }, endpoint)),
            Status = EndpointStatusOf(
                upstream,
                ResourceKey.Sub(ResourceKind.Endpoint, upstream.Key.Name, endpoint.DefaultId()),
                endpoint,
                "spec"
            ),
        };

    /// <summary>A spec as canonical JSON without secrets.</summary>
    public static JsonObject SpecOf(Manifest manifest)
    {
        Redaction.View(manifest).Remove("spec", out var spec);
        return spec!.AsObject();
    }

    /// <summary>An Envoy message as proto-JSON without secrets.</summary>
    public static JsonObject MessageOf(EncodedResource resource) =>
        ProtoJsonWriter.Write(EnvoyTypes.Find(resource.Type.TypeUrl)!.Parser.ParseFrom(resource.Payload.Span));

    private ObjectStatus StatusOf(StoredResource resource)
    {
        if (resource.Manifest.Spec is EndpointSpec endpoint)
        {
            return current.Desired.Find(new ResourceKey(ResourceKind.Upstream, resource.Key.Parent)) is { } upstream
                ? EndpointStatusOf(upstream, resource.Key, endpoint, resource.Revision == 0 ? "dns" : "registered")
                : new ObjectStatus { Conditions = [] };
        }

        var compiled = current.Compiled.Find(resource.Key);
        if (compiled is null)
        {
            return new ObjectStatus
            {
                Conditions =
                [
                    resource.Manifest.Spec is OverrideSpec { ExpiresAt: { } end } && end <= time.GetUtcNow()
                        ? new Condition(
                            "Accepted",
                            "False",
                            "Expired",
                            $"The order expired at {end.UtcDateTime:u} and has no effect any more. :clear at its endpoint removes it, and any other order replaces it."
                        )
                        : new Condition("Accepted", "True", "Valid", "The object is in force."),
                ],
            };
        }

        var propagation = propagations.Of(compiled);
        return new ObjectStatus
        {
            Conditions = [Accepted(compiled), Programmed(propagation)],
            Propagation = propagation,
            Resources = [.. compiled.Resources.Select(r => new ResourceVersion(r.Type.ShortName, r.Name, r.Version))],
            Warnings = Warnings(compiled),
            Endpoints = resource.Manifest.Spec is UpstreamSpec spec ? CountEndpoints(resource, spec) : null,
            Certificate = resource.Manifest.Spec is Resources.Secrets.SecretSpec ? CertificateOf(compiled) : null,
        };
    }

    private ObjectStatus EndpointStatusOf(StoredResource upstream, ResourceKey key, EndpointSpec endpoint, string source)
    {
        var compiled = current.Compiled.Find(upstream.Key);
        var propagation = compiled is null ? null : propagations.Of(compiled);
        var order = current.Desired.Find(new ResourceKey(ResourceKind.Override, key.Name));
        var origin = ((UpstreamSpec)upstream.Manifest.Spec).Endpoints.Source;
        var isUnused = source == "registered" && origin != EndpointSource.Registration;
        return new ObjectStatus
        {
            Conditions =
                compiled is null ? []
                : isUnused
                    ?
                    [
                        Accepted(compiled),
                        new Condition(
                            "Programmed",
                            "False",
                            "Unused",
                            $"No proxy is to have it: the endpoints of Upstream/{upstream.Key.Name} come from '{JsonNamingPolicy.CamelCase.ConvertName(origin.ToString())}'."
                        ),
                    ]
                : [Accepted(compiled), Programmed(propagation!)],
            State = isUnused ? "unused" : StatesOf(upstream, [KeyValuePair.Create(key.Id, endpoint)]).Single(),
            Source = source,
            Override =
                order?.Manifest.Spec is OverrideSpec spec && !(spec.ExpiresAt <= time.GetUtcNow())
                    ? new OverrideView(Word(spec.Action), spec.Reason, spec.StartedAt, spec.ExpiresAt, order.ManagedBy)
                    : null,
        };
    }

    private ImmutableSortedDictionary<string, int>? CountEndpoints(StoredResource upstream, UpstreamSpec spec)
    {
        if (!spec.Endpoints.AreOurs())
        {
            return null;
        }

        var counts = new SortedDictionary<string, int>(StringComparer.Ordinal)
        {
            ["active"] = 0,
            ["disabled"] = 0,
            ["draining"] = 0,
            ["unhealthy"] = 0,
        };
        foreach (var state in StatesOf(upstream, [.. UpstreamEndpointsOf(upstream, spec)]))
        {
            counts[state] = counts.GetValueOrDefault(state) + 1;
        }

        return counts.ToImmutableSortedDictionary(StringComparer.Ordinal);
    }

    private IEnumerable<KeyValuePair<string, EndpointSpec>> UpstreamEndpointsOf(StoredResource upstream, UpstreamSpec spec) =>
        spec.Endpoints.Source == EndpointSource.Static
            ? spec.Endpoints.Static.Select(e => KeyValuePair.Create(e.DefaultId(), e))
            : current
                .Desired.Children(ResourceKind.Endpoint, upstream.Key.Name)
                .Select(e => KeyValuePair.Create(e.Key, (EndpointSpec)e.Value.Manifest.Spec));

    /// <summary>What becomes of endpoints: what an order makes of each now, and else what proxies are told.</summary>
    private IEnumerable<string> StatesOf(StoredResource upstream, IReadOnlyList<KeyValuePair<string, EndpointSpec>> endpoints)
    {
        var spec = (UpstreamSpec)upstream.Manifest.Spec;
        var orders = current.Desired.Children(ResourceKind.Override, upstream.Key.Name);
        var lifecycle = EndpointLifecycle
            .At(
                spec with
                {
                    Endpoints = spec.Endpoints with { Source = EndpointSource.Registration },
                },
                endpoints.ToDictionary(StringComparer.Ordinal),
                orders.ToDictionary(o => o.Key, o => (OverrideSpec)o.Value.Manifest.Spec, StringComparer.Ordinal),
                time.GetUtcNow()
            )
            .Endpoints.ToDictionary(e => e.Id, e => e.Status, StringComparer.Ordinal);
        var published = spec.Endpoints.AreOurs() ? PublishedOf(upstream) : null;
        foreach (var (id, endpoint) in endpoints)
        {
            if (!lifecycle.TryGetValue(id, out var status))
            {
                var isDrained =
                    orders.TryGetValue(id, out var order) && order.Manifest.Spec is OverrideSpec { Action: OverrideAction.Drain };
                yield return isDrained ? "drained" : "disabled";
            }
            else if (status == EndpointStatus.Active && published is not null)
            {
                yield return published.TryGetValue(EnvoyAddress.Of(endpoint.Address, endpoint.Port), out var told)
                    ? WordOf(told)
                    : "leftOut";
            }
            else
            {
                yield return JsonNamingPolicy.CamelCase.ConvertName(status.ToString());
            }
        }

        static string WordOf(HealthStatus status) =>
            status switch
            {
                HealthStatus.Unhealthy or HealthStatus.Timeout => "unhealthy",
                HealthStatus.Draining => "draining",
                HealthStatus.Degraded => "degraded",
                _ => "active",
            };
    }

    /// <summary>What proxies are told of an upstream's endpoints, by address; null before they are told anything.</summary>
    private FrozenDictionary<Address, HealthStatus>? PublishedOf(StoredResource upstream) =>
        current.Compiled.Find(upstream.Key)?.Resources.FirstOrDefault(r => r.Type == ResourceType.Endpoints) is { } assignment
            ? _published.GetValue(
                assignment,
                static resource =>
                    ClusterLoadAssignment
                        .Parser.ParseFrom(resource.Payload.Span)
                        .Endpoints.SelectMany(l => l.LbEndpoints)
                        .DistinctBy(e => e.Endpoint.Address)
                        .ToFrozenDictionary(e => e.Endpoint.Address, e => e.HealthStatus)
            )
            : null;

    private static Condition Accepted(CompiledObject compiled) =>
        compiled.IsRejected
            ? new Condition(
                "Accepted",
                "False",
                "NotCompiled",
                (
                    compiled.Resources.IsEmpty
                        ? "The newest state is not in force, and this server has had no good one since it started: proxies get nothing of it. "
                        : "The newest state is not in force, the last good one is: "
                ) + string.Join(" ", compiled.Problems.Where(IsError).Select(p => p.Message))
            )
            : new Condition("Accepted", "True", "Compiled", "The newest state is in force.");

    private static Condition Programmed(Propagation propagation)
    {
        var acked = propagation.Acked;
        var all = acked + propagation.Nacked.Select(n => n.Node).Union(propagation.Pending).Count();
        if (all == 0)
        {
            return new Condition("Programmed", "Unknown", "NoNodes", "No node that is connected to this server is to have it.");
        }

        var share =
            $"{acked} of {all} {(all == 1 ? "node" : "nodes")} acknowledged it, of those connected to this server ({propagation.Replica}).";
        return propagation switch
        {
            { Nacked.IsEmpty: false } => new Condition(
                "Programmed",
                "False",
                "Refused",
                share
                    + " "
                    + string.Join(" ", propagation.Nacked.Take(3).Select(n => $"{n.Node} refused {n.Type} {n.Resource}: {n.Message}"))
            ),
            { Pending.IsEmpty: false } => new Condition("Programmed", "False", "Pending", share),
            _ => new Condition("Programmed", "True", "Acked", share),
        };
    }

    private static ImmutableArray<Fault>? Warnings(CompiledObject compiled)
    {
        var warnings = compiled.Problems.Where(p => !IsError(p)).Select(p => RequestBody.ToFault(p, null)).ToImmutableArray();
        return warnings.IsEmpty ? null : warnings;
    }

    private static CertificateView? CertificateOf(CompiledObject compiled)
    {
        if (compiled.Resources.FirstOrDefault(r => r.Type == ResourceType.Secret) is not { } resource)
        {
            return null;
        }

        var chain = EnvoySecret.Parser.ParseFrom(resource.Payload.Span).TlsCertificate?.CertificateChain;
        var pem =
            chain is null ? ""
            : chain.InlineString.Length > 0 ? chain.InlineString
            : chain.InlineBytes.ToStringUtf8();
        if (!PemEncoding.TryFind(pem, out _))
        {
            return null;
        }

        try
        {
            using var certificate = X509Certificate2.CreateFromPem(pem);
            return new CertificateView(
                certificate.Subject,
                PeerIdentity.Of(certificate).Names,
                new DateTimeOffset(certificate.NotBefore),
                new DateTimeOffset(certificate.NotAfter),
                Convert.ToHexStringLower(certificate.GetCertHash(HashAlgorithmName.SHA256))
            );
        }
        catch (CryptographicException)
        {
            // Only an Envoy can say what it makes of such a chain; there is nothing to show of it.
            return null;
        }
    }

    private static bool IsError(ValidationProblem problem) => problem.Severity == ProblemSeverity.Error;

    private static string Word(OverrideAction action) => JsonNamingPolicy.CamelCase.ConvertName(action.ToString());

    private static ImmutableSortedDictionary<string, string>? NotEmpty(ImmutableSortedDictionary<string, string> map) =>
        map.IsEmpty ? null : map;
}
