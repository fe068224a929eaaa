using System.Globalization;
using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using CsCheck;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Endpoint.V3;
using Envoy.Config.Listener.V3;
using Envoy.Config.Route.V3;
using Google.Protobuf;

namespace ControlPlane.Core.Tests.Discovery;

/// <summary>
/// Whatever happens in whatever order, a client that answers everything ends with exactly what it should have. The client here behaves like Envoy, in all
/// three ways of refusing.
/// </summary>
public sealed class SessionPropertyTests
{
    /// <summary>More for a longer search: <c>PROPERTY_ITERATIONS=100000</c>.</summary>
    private static readonly int Iterations = int.TryParse(Environment.GetEnvironmentVariable("PROPERTY_ITERATIONS"), out var n) ? n : 2000;

    [Theory]
    [InlineData(XdsProtocol.Delta)]
    [InlineData(XdsProtocol.Sotw)]
    [Trait("Rule", "V-06")]
    [Trait("Rule", "V-09")]
    [Trait("Rule", "O-04")]
    public void In_the_end_the_client_holds_what_it_asked_for_and_the_snapshot_has(XdsProtocol protocol)
    {
        Gen.Int[0, 1_000_000].Array[1, 60].Sample(steps => new Run(protocol, canRefuse: false).Play(steps), iter: Iterations, threads: 1);
    }

    [Theory]
    [InlineData(XdsProtocol.Delta)]
    [InlineData(XdsProtocol.Sotw)]
    [Trait("Rule", "D-33")]
    [Trait("Rule", "S-09")]
    [Trait("Rule", "D-15")]
    public void What_the_client_refuses_holds_up_nothing_else_and_is_not_sent_again(XdsProtocol protocol)
    {
        Gen.Int[0, 1_000_000].Array[1, 60].Sample(steps => new Run(protocol, canRefuse: true).Play(steps), iter: Iterations, threads: 1);
    }

    private sealed class Run(XdsProtocol protocol, bool canRefuse)
    {
        private static readonly ResourceType[] Types =
        [
            ResourceType.Cluster,
            ResourceType.Endpoints,
            ResourceType.Listener,
            ResourceType.Route,
        ];
        private static readonly string[] Names = ["a", "b", "c", "d", "e", "f"];

        private readonly DiscoverySession _session = new(protocol, new NonceSequence());
        private readonly Dictionary<ResourceType, Client> _clients = Types.ToDictionary(type => type, _ => new Client());
        private Snapshot _snapshot = Snapshot.Empty;
        private DateTimeOffset _now = DateTimeOffset.UnixEpoch;
        private readonly List<string> _history = [];
        private long _lastNonce;

        /// <summary>What the simulated client knows of one type.</summary>
        private sealed class Client
        {
            public bool Opened;
            public bool Wildcard;
            public readonly HashSet<string> Asked = new(StringComparer.Ordinal);
            public readonly Dictionary<string, (string Version, string Content)> Held = new(StringComparer.Ordinal);
            public readonly Queue<ServerResponse> Inbox = new();
            public readonly HashSet<(string Name, string Version)> Refused = [];
            public string Accepted = "";
            public string LastNonce = "";

            public bool Wants(string name) => Wildcard || Asked.Contains(name);
        }

        public void Play(int[] steps)
        {
            try
            {
                PlayAll(steps);
            }
            catch (Exception e)
            {
                throw new InvalidOperationException(e.Message + "\n" + string.Join('\n', _history), e);
            }
        }

        private void PlayAll(int[] steps)
        {
            foreach (var step in steps)
            {
                var type = Types[step % 4];
                var name = Names[step / 4 % Names.Length];
                var value = step / 24 % 5;
                switch (step / 120 % 10)
                {
                    case 0 or 1 or 2:
                        Change(type, name, value);
                        break;
                    case 3:
                        Change(type, name, value, Names[step / 2400 % Names.Length], Types[step / 14400 % 4]);
                        break;
                    case 4 or 5:
                        Subscribe(type, name, value);
                        break;
                    case 6 or 7 or 8:
                        Answer(type);
                        break;
                    default:
                        _now += TimeSpan.FromSeconds(value * 4);
                        Receive();
                        break;
                }
            }

            Finish();
        }

        private void Change(ResourceType type, string name, int value, string? other = null, ResourceType? otherType = null)
        {
            List<EncodedResource> updated = [];
            List<ResourceReference> removed = [];
            Put(type, name, value);
            if (other is not null && (other != name || otherType != type))
            {
                Put(otherType!, other, value);
            }

            void Put(ResourceType t, string n, int v)
            {
                if (v == 0)
                {
                    removed.Add(new ResourceReference(t, n));
                    return;
                }

                var content =
                    v == 4 && canRefuse ? "bad"
                    : v == 3 && canRefuse && t.IsFullState ? "blocks"
                    : v.ToString(CultureInfo.InvariantCulture);
                var references =
                    t == ResourceType.Route || t == ResourceType.Listener
                        ? new[] { new ResourceReference(ResourceType.Cluster, Names[v % Names.Length]) }
                        : [];
                updated.Add(EncodedResource.Create(t, n, Message(t, n, content), references));
            }

            _history.Add(
                "change " + string.Join(' ', updated.Select(r => $"{r.Type}:{r.Name}={ContentOf(r)}")) + string.Join(' ', removed)
            );
            var change = SnapshotChange.Make(_snapshot, _snapshot.Revision + 1, updated, removed);
            _snapshot = change.After;
            foreach (var t in Types)
            {
                foreach (var changed in change.Changes[t.Index])
                {
                    // A different version exists now, so the old one may be sent again when it comes back.
                    _clients[t].Refused.RemoveWhere(refused => refused.Name == changed);
                }
            }

            if (!change.IsEmpty)
            {
                _session.Apply(change);
            }

            Receive();
        }

        private void Subscribe(ResourceType type, string name, int value)
        {
            var client = _clients[type];
            if (protocol == XdsProtocol.Delta)
            {
                if (type.IsFullState)
                {
                    if (!client.Opened)
                    {
                        client.Opened = client.Wildcard = true;
                        Send(type, new ClientRequest());
                    }

                    return;
                }

                client.Opened = true;
                if (value == 0 && client.Asked.Remove(name))
                {
                    client.Held.Remove(name);
                    Send(type, new ClientRequest { Unsubscribed = [name] });
                }
                else if (value != 0)
                {
                    client.Asked.Add(name);
                    Send(type, new ClientRequest { Names = [name] });
                }

                return;
            }

            if (type.IsFullState && !client.Opened)
            {
                client.Opened = client.Wildcard = true;
                Send(type, Sotw(client));
            }
            else if (!type.IsFullState)
            {
                client.Opened = true;
                if (value == 0)
                {
                    client.Asked.Remove(name);
                    client.Held.Remove(name);
                }
                else
                {
                    client.Asked.Add(name);
                }

                Send(type, Sotw(client));
            }
        }

        private static ClientRequest Sotw(Client client) =>
            new()
            {
                Names = [.. client.Asked],
                VersionInfo = client.Accepted,
                Nonce = client.LastNonce,
            };

        /// <summary>The client takes one response out of its inbox, applies it as Envoy would, and answers.</summary>
        private void Answer(ResourceType type)
        {
            var client = _clients[type];
            if (!client.Inbox.TryDequeue(out var response))
            {
                return;
            }

            var resources = response.Whole is null ? [.. response.Resources] : response.Whole.Resources.ToArray();
            var bad = resources
                .Where(resource => client.Wants(resource.Name) && ContentOf(resource) is "bad" or "blocks")
                .Select(resource => resource.Name)
                .ToList();
            // What the client has in force does not become bad by being sent again.
            bad.RemoveAll(name =>
                client.Held.TryGetValue(name, out var held) && held.Version == resources.First(r => r.Name == name).Version
            );
            var blocked = resources.Any(resource => bad.Contains(resource.Name) && ContentOf(resource) == "blocks");
            var lists = protocol == XdsProtocol.Sotw && type.IsFullState;
            string? error = null;
            if (bad.Count == 0)
            {
                Apply(resources);
            }
            else if (blocked)
            {
                error = "Proto constraint validation failed (X: value)";
            }
            else if (type.IsFullState)
            {
                Apply(resources.Where(resource => !bad.Contains(resource.Name)));
                error = "Error adding/updating cluster(s) " + string.Join(", ", bad.Select(name => $"{name}: no"));
            }
            else
            {
                Apply(resources.TakeWhile(resource => !bad.Contains(resource.Name)));
                error = "it is bad";
            }

            void Apply(IEnumerable<EncodedResource> applied)
            {
                if (lists)
                {
                    foreach (var gone in client.Held.Keys.Except(resources.Select(resource => resource.Name)).ToList())
                    {
                        client.Held.Remove(gone);
                    }
                }

                foreach (var resource in applied.Where(resource => client.Wants(resource.Name)))
                {
                    client.Held[resource.Name] = (resource.Version, ContentOf(resource));
                }

                foreach (var name in response.Removed)
                {
                    client.Held.Remove(name);
                }
            }

            client.LastNonce = response.Nonce.ToString(CultureInfo.InvariantCulture);
            if (error is null)
            {
                client.Accepted = response.Version.ToString("x32", null);
            }

            var before = _snapshot;
            Send(
                type,
                new ClientRequest
                {
                    Nonce = client.LastNonce,
                    Error = error,
                    VersionInfo = client.Accepted,
                    Names = protocol == XdsProtocol.Sotw ? [.. client.Asked] : [],
                },
                onAnswer: answer =>
                {
                    foreach (var name in answer.Kind == AnswerKind.Nack ? answer.Names : [])
                    {
                        if (
                            before[type].Find(name) is { } current
                            && resources.Any(resource => resource.Name == name && resource.Version == current.Version)
                        )
                        {
                            client.Refused.Add((name, current.Version));
                        }
                    }
                }
            );
        }

        private void Send(ResourceType type, ClientRequest request, Action<Answer>? onAnswer = null)
        {
            var answer = _session.Handle(type, request, _snapshot, _now);
            _history.Add(
                $"{type} request [{string.Join(',', request.Names)}] -[{string.Join(',', request.Unsubscribed)}] nonce {request.Nonce} error {request.Error}: {answer.Kind}"
            );
            onAnswer?.Invoke(answer);
            Receive();
        }

        private void Receive()
        {
            var sent = 0;
            while (_session.Compose(_snapshot, _now) is { } response)
            {
                Assert.True(++sent < 100, "the session does not come to rest");
                var client = _clients[response.Type];
                Assert.True(response.Nonce > _lastNonce);
                _lastNonce = response.Nonce;
                EncodedResource[] resources = response.Whole is null ? [.. response.Resources] : [.. response.Whole.Resources];
                var names = resources.Select(resource => resource.Name).Concat(response.Removed).ToList();
                Assert.Equal(names.Count, names.Distinct(StringComparer.Ordinal).Count());
                Assert.All(resources, resource => Assert.DoesNotContain((resource.Name, resource.Version), client.Refused));
                client.Inbox.Enqueue(response);
                _history.Add(
                    $"{response.Type} response {response.Nonce} {string.Join(',', resources.Select(r => r.Name + "=" + ContentOf(r)))} -{string.Join(',', response.Removed)}"
                );
            }
        }

        private void Finish()
        {
            for (var round = 0; round < 400; round++)
            {
                foreach (var type in Types)
                {
                    Answer(type);
                }

                if (round % 20 == 19)
                {
                    _now += TimeSpan.FromSeconds(17);
                    Receive();
                }
            }

            foreach (var (type, client) in _clients)
            {
                Assert.Empty(client.Inbox);
                foreach (var name in Names)
                {
                    var current = _snapshot[type].Find(name);
                    if (!client.Opened || !client.Wants(name))
                    {
                        continue;
                    }

                    var held = client.Held.TryGetValue(name, out var value) ? value.Content : null;
                    var due = current is null ? null : ContentOf(current);
                    if (due is "bad" or "blocks")
                    {
                        Assert.NotEqual(due, held);
                        continue;
                    }

                    if (due is null && protocol == XdsProtocol.Sotw && !type.IsFullState)
                    {
                        // These types cannot take anything away.
                        continue;
                    }

                    // A cluster stays while what uses it is in force.
                    if (due is null && type == ResourceType.Cluster && canRefuse)
                    {
                        continue;
                    }

                    Assert.True(due == held, $"{type} {name}: due {due}, held {held}");
                }
            }

            Assert.All(_session.Status(), status => Assert.Equal(0, status.Unanswered));
        }

        private static IMessage Message(ResourceType type, string name, string content) =>
            type.ShortName switch
            {
                "CDS" => new Cluster { Name = name, AltStatName = content },
                "EDS" => new ClusterLoadAssignment
                {
                    ClusterName = name,
                    NamedEndpoints = { [content] = new Envoy.Config.Endpoint.V3.Endpoint() },
                },
                "LDS" => new Listener { Name = name, StatPrefix = content },
                _ => new RouteConfiguration { Name = name, InternalOnlyHeaders = { content } },
            };

        private static string ContentOf(EncodedResource resource) =>
            resource.Type.ShortName switch
            {
                "CDS" => Cluster.Parser.ParseFrom(resource.Payload.Span).AltStatName,
                "EDS" => ClusterLoadAssignment.Parser.ParseFrom(resource.Payload.Span).NamedEndpoints.Keys.Single(),
                "LDS" => Listener.Parser.ParseFrom(resource.Payload.Span).StatPrefix,
                _ => RouteConfiguration.Parser.ParseFrom(resource.Payload.Span).InternalOnlyHeaders.Single(),
            };
    }
}
