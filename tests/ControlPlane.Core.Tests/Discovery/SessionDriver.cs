using System.Collections.Immutable;
using System.Globalization;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Core.V3;
using Envoy.Config.Endpoint.V3;
using Envoy.Config.Listener.V3;
using Envoy.Config.Route.V3;
using Envoy.Extensions.TransportSockets.Tls.V3;
using Envoy.Service.Runtime.V3;
using Google.Protobuf;

namespace ControlPlane.Core.Tests.Discovery;

/// <summary>
/// Plays client and publisher of one session. What comes out is text, such as <c>CDS{a=1,b=2}-{c} EDS{a=1}</c>: type, resources with their content, names
/// taken away; in the order of sending.
/// </summary>
internal sealed class SessionDriver(XdsProtocol protocol)
{
    private readonly Dictionary<ResourceType, ServerResponse> _last = [];
    private readonly Dictionary<(ResourceType, string), string> _contents = [];
    private readonly HashSet<ResourceType> _opened = [];
    private readonly Dictionary<ResourceType, string> _accepted = [];
    private readonly Dictionary<ResourceType, string[]> _names = [];

    public static SessionDriver Delta() => new(XdsProtocol.Delta);

    public static SessionDriver Sotw() => new(XdsProtocol.Sotw);

    public DiscoverySession Session { get; private set; } = new(protocol, new NonceSequence());

    public Snapshot Snapshot { get; private set; } = Snapshot.Empty;

    public DateTimeOffset Now { get; private set; } = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    public List<ServerResponse> Responses { get; } = [];

    public Answer LastAnswer { get; private set; } = new();

    public ServerResponse Last(ResourceType type) => _last[type];

    public bool Has(ResourceType type) => _last.ContainsKey(type);

    public string Nonce(ResourceType type) => _last[type].Nonce.ToString(CultureInfo.InvariantCulture);

    public static string Version(ServerResponse response) => response.Version.ToString("x32", null);

    /// <summary>
    /// One change of the snapshot. Each word adds or replaces, <c>CDS:a=1</c>, or takes away, <c>CDS:a</c>; <c>RDS:r=1>a+b</c> refers to clusters a and b, and a
    /// listener to route tables after <c>></c> unless the name begins with <c>@</c>, which stands for a cluster, or <c>$</c>, for a secret. Content that ends in
    /// <c>?</c> was let past a check.
    /// </summary>
    public string Change(string words)
    {
        var updated = new List<EncodedResource>();
        var removed = new List<ResourceReference>();
        foreach (var word in words.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            var at = word.IndexOf(':', StringComparison.Ordinal);
            var type = ResourceType.All.Single(t => t.ShortName == word[..at]);
            var rest = word[(at + 1)..];
            var equals = rest.IndexOf('=', StringComparison.Ordinal);
            if (equals < 0)
            {
                removed.Add(new ResourceReference(type, rest));
                continue;
            }

            var references = rest.Split('>');
            var name = rest[..equals];
            updated.Add(
                Make(
                    type,
                    name,
                    references[0][(equals + 1)..],
                    references.Length < 2
                        ? []
                        : references[1]
                            .Split('+')
                            .Select(target =>
                                target switch
                                {
                                    ['@', .. var cluster] => new ResourceReference(ResourceType.Cluster, cluster),
                                    ['$', .. var secret] => new ResourceReference(ResourceType.Secret, secret),
                                    _ => new ResourceReference(
                                        type == ResourceType.Listener ? ResourceType.Route
                                            : type == ResourceType.Cluster ? ResourceType.Endpoints
                                            : ResourceType.Cluster,
                                        target
                                    ),
                                }
                            )
                )
            );
        }

        var change = SnapshotChange.Make(Snapshot, Snapshot.Revision + 1, updated, removed);
        Snapshot = change.After;
        if (!change.IsEmpty)
        {
            Session.Apply(change);
        }

        return Drain();
    }

    /// <summary>Changes the snapshot before anyone looks.</summary>
    public SessionDriver With(string words)
    {
        Assert.Equal("", Change(words));
        return this;
    }

    /// <summary>The node is moved to another view.</summary>
    public string Move(SessionDriver other)
    {
        Snapshot = other.Snapshot;
        Session.MoveTo(Snapshot);
        return Drain();
    }

    public EncodedResource Make(ResourceType type, string name, string content, IEnumerable<ResourceReference>? references = null)
    {
        IMessage message = type.ShortName switch
        {
            "CDS" => new Cluster { Name = name, AltStatName = content },
            "EDS" => new ClusterLoadAssignment
            {
                ClusterName = name,
                Endpoints = { new LocalityLbEndpoints { Locality = new Locality { Zone = content } } },
            },
            "SDS" => new Secret
            {
                Name = name,
                GenericSecret = new GenericSecret { Secret = new DataSource { InlineString = content } },
            },
            "LDS" => new Listener { Name = name, StatPrefix = content },
            "RDS" => new RouteConfiguration { Name = name, InternalOnlyHeaders = { content } },
            "ECDS" => new TypedExtensionConfig
            {
                Name = name,
                TypedConfig = new Google.Protobuf.WellKnownTypes.Any { TypeUrl = content },
            },
            "VHDS" => new VirtualHost { Name = name, Domains = { content } },
            "RTDS" => new Runtime
            {
                Name = name,
                Layer = new Google.Protobuf.WellKnownTypes.Struct
                {
                    Fields = { ["v"] = Google.Protobuf.WellKnownTypes.Value.ForString(content) },
                },
            },
            _ => new ScopedRouteConfiguration { Name = name, RouteConfigurationName = content },
        };
        var resource = EncodedResource.Create(type, name, message, references, isDoubted: content.EndsWith('?'));
        _contents[(type, resource.Version)] = content;
        return resource;
    }

    /// <summary>A request with names as words; <c>-name</c> unsubscribes (Delta). State of the world: all names.</summary>
    public string Ask(
        ResourceType type,
        string names = "",
        string nonce = "",
        string? error = null,
        string? version = null,
        string? holds = null
    )
    {
        var words = names.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return Send(
            type,
            new ClientRequest
            {
                TypeUrl = type.TypeUrl,
                Nonce = nonce,
                Error = error,
                VersionInfo = version ?? _accepted.GetValueOrDefault(type, ""),
                Names = [.. words.Where(word => !word.StartsWith('-')).Select(Unquote)],
                Unsubscribed = [.. words.Where(word => word.StartsWith('-')).Select(word => Unquote(word[1..]))],
                InitialVersions = holds
                    ?.Split(' ', StringSplitOptions.RemoveEmptyEntries)
                    .Select(word => word.Split('='))
                    .ToDictionary(pair => pair[0], pair => Make(type, pair[0], pair[1]).Version, StringComparer.Ordinal),
            }
        );
    }

    public string Send(ResourceType type, ClientRequest request)
    {
        _opened.Add(type);
        if (protocol == XdsProtocol.Sotw)
        {
            _names[type] = [.. request.Names];
        }

        LastAnswer = Session.Handle(type, request, Snapshot, Now);
        return Drain();
    }

    /// <summary>Acknowledges the newest response of a type, or an older one.</summary>
    public string Ack(ResourceType type, ServerResponse? response = null)
    {
        response ??= _last[type];
        _accepted[type] = Version(response);
        return Send(
            type,
            new ClientRequest
            {
                TypeUrl = type.TypeUrl,
                Nonce = response.Nonce.ToString(CultureInfo.InvariantCulture),
                VersionInfo = Version(response),
                Names = protocol == XdsProtocol.Sotw ? [.. _names.GetValueOrDefault(type, [])] : [],
            }
        );
    }

    /// <summary>Acknowledges all that is unanswered, and what comes of it, until nothing comes any more.</summary>
    public string AckAll(params ResourceType[] types)
    {
        var all = new List<string>();
        for (var again = true; again; )
        {
            again = false;
            foreach (var type in types.Length == 0 ? [.. _opened] : types)
            {
                while (_last.TryGetValue(type, out var response) && _acked.Add(response))
                {
                    all.Add(Ack(type, response));
                    again = true;
                }
            }
        }

        return string.Join(' ', all.Where(text => text.Length > 0));
    }

    /// <summary>Acknowledges every response of a type that was not answered yet, in order, as a client of a Delta stream does, and what comes of it.</summary>
    public string AckEach(ResourceType type)
    {
        var all = new List<string>();
        while (Responses.Find(response => response.Type == type && _acked.Add(response)) is { } response)
        {
            all.Add(Ack(type, response));
        }

        return string.Join(' ', all.Where(text => text.Length > 0));
    }

    private readonly HashSet<ServerResponse> _acked = [];

    public string Nack(ResourceType type, string error = "it is bad", ServerResponse? response = null, string? names = null)
    {
        response ??= _last[type];
        _acked.Add(response);
        return Send(
            type,
            new ClientRequest
            {
                TypeUrl = type.TypeUrl,
                Nonce = response.Nonce.ToString(CultureInfo.InvariantCulture),
                Error = error,
                VersionInfo = _accepted.GetValueOrDefault(type, ""),
                Names =
                    names is not null ? [.. names.Split(' ', StringSplitOptions.RemoveEmptyEntries)]
                    : protocol == XdsProtocol.Sotw ? [.. _names.GetValueOrDefault(type, [])]
                    : [],
            }
        );
    }

    /// <summary>Time passes.</summary>
    public string Wait(double seconds)
    {
        Now += TimeSpan.FromSeconds(seconds);
        return Drain();
    }

    /// <summary>The client loses its stream and opens another.</summary>
    public void Reconnect()
    {
        Session = new DiscoverySession(protocol, new NonceSequence());
        _last.Clear();
        _opened.Clear();
    }

    private string Drain()
    {
        var text = new List<string>();
        while (Session.Compose(Snapshot, Now) is { } response)
        {
            _last[response.Type] = response;
            Responses.Add(response);
            text.Add(Describe(response));
        }

        return string.Join(' ', text);
    }

    public string Describe(ServerResponse response)
    {
        var resources = ResourcesOf(response).Select(resource => $"{resource.Name}={_contents[(resource.Type, resource.Version)]}");
        var removed = response.Removed.Length == 0 ? "" : "-{" + string.Join(',', response.Removed) + "}";
        return $"{response.Type}{{{string.Join(',', resources)}}}{removed}";
    }

    public static ImmutableArray<EncodedResource> ResourcesOf(ServerResponse response) =>
        response.Whole is null
            ? response.Resources
            : [.. response.Whole.Resources.OrderBy(resource => resource.Name, StringComparer.Ordinal)];

    private static string Unquote(string word) => word == "\"\"" ? "" : word;
}
