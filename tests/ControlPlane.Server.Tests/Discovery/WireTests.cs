using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;
using ControlPlane.Server.Discovery;
using ControlPlane.TestKit;
using Envoy.Config.Core.V3;
using Envoy.Service.Discovery.V3;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using static ControlPlane.Core.Snapshots.ResourceType;

namespace ControlPlane.Server.Tests.Discovery;

/// <summary>The rules that show on the wire, on a real connection.</summary>
public sealed class WireTests : IAsyncLifetime
{
    private DiscoveryTestServer _server = null!;
    private XdsClient _client = null!;

    public async ValueTask InitializeAsync()
    {
        _server = await DiscoveryTestServer.StartAsync();
        _client = new XdsClient(_server.Address);
    }

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        await _server.DisposeAsync();
    }

    public static TheoryData<string, string, string, string> Services() =>
        new()
        {
            { "CDS", "envoy.service.cluster.v3.ClusterDiscoveryService", "StreamClusters", "DeltaClusters" },
            { "EDS", "envoy.service.endpoint.v3.EndpointDiscoveryService", "StreamEndpoints", "DeltaEndpoints" },
            { "LDS", "envoy.service.listener.v3.ListenerDiscoveryService", "StreamListeners", "DeltaListeners" },
            { "RDS", "envoy.service.route.v3.RouteDiscoveryService", "StreamRoutes", "DeltaRoutes" },
            { "SRDS", "envoy.service.route.v3.ScopedRoutesDiscoveryService", "StreamScopedRoutes", "DeltaScopedRoutes" },
            { "VHDS", "envoy.service.route.v3.VirtualHostDiscoveryService", "", "DeltaVirtualHosts" },
            { "SDS", "envoy.service.secret.v3.SecretDiscoveryService", "StreamSecrets", "DeltaSecrets" },
            { "RTDS", "envoy.service.runtime.v3.RuntimeDiscoveryService", "StreamRuntime", "DeltaRuntime" },
            { "ECDS", "envoy.service.extension.v3.ExtensionConfigDiscoveryService", "StreamExtensionConfigs", "DeltaExtensionConfigs" },
        };

    [Theory]
    [MemberData(nameof(Services))]
    [Trait("Rule", "T-01")]
    [Trait("Rule", "T-04")]
    [Trait("Rule", "V-03")]
    [Trait("Rule", "V-04")]
    [Trait("Rule", "V-07")]
    [Trait("Rule", "V-08")]
    public async Task T01_T04_every_method_of_every_type_answers_and_needs_no_type_url(
        string shortName,
        string service,
        string sotw,
        string delta
    )
    {
        var type = All.Single(type => type.ShortName == shortName);
        _server.Publish(Resources.Of(type, "x"));
        if (sotw.Length > 0)
        {
            using var single = _client.OpenSotw(service: service, method: sotw);
            await single.SendAsync(
                new DiscoveryRequest
                {
                    Node = new Node { Id = "n" },
                    ResourceNames = { "x" },
                }
            );
            var response = await single.ExpectResponseAsync(type.TypeUrl);
            Assert.Equal(type.TypeUrl, Assert.Single(response.Resources).TypeUrl);
            using var ads = _client.OpenSotw();
            await ads.AskAsync(type.TypeUrl, "x");
            Assert.Equal(response.Resources, (await ads.ExpectResponseAsync(type.TypeUrl)).Resources);
        }

        using var deltaSingle = _client.OpenDelta(service: service, method: delta);
        await deltaSingle.SendAsync(
            new DeltaDiscoveryRequest
            {
                Node = new Node { Id = "n" },
                ResourceNamesSubscribe = { "x" },
            }
        );
        var resource = Assert.Single((await deltaSingle.ExpectResponseAsync(type.TypeUrl)).Resources);
        Assert.Equal("x", resource.Name);
        Assert.NotEmpty(resource.Version);
        Assert.Equal(type.TypeUrl, resource.Resource_.TypeUrl);
        using var deltaAds = _client.OpenDelta();
        await deltaAds.AskAsync(type.TypeUrl, "x");
        Assert.Equal(resource, Assert.Single((await deltaAds.ExpectResponseAsync(type.TypeUrl)).Resources));
    }

    [Fact]
    [Trait("Rule", "T-02")]
    [Trait("Rule", "P-04")]
    public async Task T02_P04_the_node_of_the_first_message_counts_and_later_ones_may_lack_or_repeat_it()
    {
        _server.Publish(Resources.Cluster("a"), Resources.Endpoints("a", 1));
        using var stream = _client.OpenDelta("first");
        await stream.AskAsync(Endpoints.TypeUrl, "a");
        await stream.ExpectResponseAsync(Endpoints.TypeUrl);
        await stream.AskAsync(Cluster.TypeUrl);
        await stream.ExpectResponseAsync(Cluster.TypeUrl);
        await stream.ExpectResponseAsync(Endpoints.TypeUrl);
        await stream.SendAsync(
            new DeltaDiscoveryRequest
            {
                Node = new Node { Id = "another", Cluster = "elsewhere" },
                TypeUrl = Route.TypeUrl,
                ResourceNamesSubscribe = { "none" },
            }
        );
        await stream.ExpectResponseAsync(Route.TypeUrl);
        Assert.Equal(["first"], _server.Nodes.List().Select(node => node.Identity.Id));
    }

    [Fact]
    [Trait("Rule", "T-03")]
    [Trait("Rule", "T-14")]
    public async Task T03_an_ADS_request_without_a_type_url_ends_the_stream_with_INVALID_ARGUMENT()
    {
        using var stream = _client.OpenSotw();
        await stream.SendAsync(new DiscoveryRequest { Node = new Node { Id = "n" } });
        var status = await stream.EndAsync();
        Assert.Equal(StatusCode.InvalidArgument, status.StatusCode);
        Assert.DoesNotContain(" at ", status.Detail, StringComparison.Ordinal);
    }

    [Fact]
    [Trait("Rule", "T-05")]
    public async Task T05_a_type_that_the_server_does_not_know_disturbs_no_other()
    {
        _server.Publish(Resources.Cluster("a"));
        using var stream = _client.OpenDelta();
        await stream.AskAsync("type.googleapis.com/envoy.config.Unknown", "x");
        await stream.AskAsync(Cluster.TypeUrl);
        await stream.ExpectResponseAsync(Cluster.TypeUrl);
        await _server.ExpectNoResponseAsync(stream);
    }

    [Fact]
    [Trait("Rule", "T-06")]
    public async Task T06_a_service_of_one_type_serves_no_other()
    {
        _server.Publish(Resources.Cluster("a"), Resources.Endpoints("a", 1));
        using var stream = _client.OpenDelta(service: "envoy.service.endpoint.v3.EndpointDiscoveryService", method: "DeltaEndpoints");
        await stream.AskAsync(Cluster.TypeUrl);
        await stream.AskAsync(Endpoints.TypeUrl, "a");
        await stream.ExpectResponseAsync(Endpoints.TypeUrl);
        await stream.CloseAsync();
        Assert.Equal(StatusCode.OK, (await stream.EndAsync()).StatusCode);
    }

    [Fact]
    [Trait("Rule", "T-08")]
    public async Task T08_a_reset_stream_is_forgotten_and_touches_no_other()
    {
        _server.Publish(Resources.Endpoints("a", 1));
        using var stays = _client.OpenDelta("stays");
        await stays.AskAsync(Endpoints.TypeUrl, "a");
        await stays.ExpectResponseAsync(Endpoints.TypeUrl);
        var goes = _client.OpenDelta("goes");
        await goes.AskAsync(Endpoints.TypeUrl, "a");
        await goes.ExpectResponseAsync(Endpoints.TypeUrl);
        goes.Dispose();
        await _server.UntilAsync(nodes => nodes.Find("goes")!.DisconnectedAt is not null);
        Assert.Equal(1, _server.Snapshots.ViewFor(_server.Nodes.Find("stays")!.Identity).Subscribers.Count);
        _server.Publish(Resources.Endpoints("a", 2));
        await stays.ExpectResponseAsync(Endpoints.TypeUrl);
    }

    [Fact]
    [Trait("Rule", "T-09")]
    public async Task T09_a_half_closed_stream_ends_with_OK()
    {
        using var stream = _client.OpenSotw();
        await stream.AskAsync(Cluster.TypeUrl);
        await stream.ExpectResponseAsync(Cluster.TypeUrl);
        await stream.CloseAsync();
        Assert.Equal(StatusCode.OK, (await stream.EndAsync()).StatusCode);
    }

    [Fact]
    [Trait("Rule", "T-10")]
    public async Task T10_streams_and_connections_of_one_node_are_served_each_on_its_own()
    {
        _server.Publish(Resources.Endpoints("a", 1), Resources.Endpoints("b", 1));
        using var other = new XdsClient(_server.Address);
        using var first = _client.OpenDelta("same");
        using var second = _client.OpenDelta("same");
        using var third = other.OpenSotw("same");
        await first.AskAsync(Endpoints.TypeUrl, "a");
        await second.AskAsync(Endpoints.TypeUrl, "b");
        await third.AskAsync(Endpoints.TypeUrl, "a");
        await first.ExpectResponseAsync(Endpoints.TypeUrl);
        await second.ExpectResponseAsync(Endpoints.TypeUrl);
        await third.ExpectResponseAsync(Endpoints.TypeUrl);
        Assert.Equal(3, _server.Nodes.Find("same")!.Streams.Length);
        _server.Publish(Resources.Endpoints("a", 2));
        await first.ExpectResponseAsync(Endpoints.TypeUrl);
        await third.ExpectResponseAsync(Endpoints.TypeUrl);
        await _server.ExpectNoResponseAsync(second);
    }

    [Theory]
    [Trait("Rule", "T-11")]
    [InlineData(5_000, 60)]
    [InlineData(60_000, 100)]
    public async Task T11_thousands_of_names_in_one_request_are_taken(int count, int length)
    {
        var names = Enumerable.Range(0, count).Select(i => $"{i}-".PadRight(length, 'x')).ToArray();
        _server.Publish(Resources.Endpoints(names[^1], 1));
        using var stream = _client.OpenDelta();
        await stream.AskAsync(Endpoints.TypeUrl, names);
        var response = await stream.ExpectResponseAsync(Endpoints.TypeUrl);
        Assert.Single(response.Resources);
        Assert.Equal(count - 1, response.RemovedResources.Count);
    }

    [Fact]
    [Trait("Rule", "T-13")]
    public async Task T13_nothing_that_is_asked_or_answered_about_resources_ends_a_stream()
    {
        using var stream = _client.OpenDelta();
        await stream.AskAsync(Endpoints.TypeUrl, "", "none", "\u0001\u0000", new string('x', 70_000), "xdstp://?&&=", "*");
        var response = await stream.ExpectResponseAsync(Endpoints.TypeUrl);
        await stream.NackAsync(response, "no");
        await stream.SendAsync(new DeltaDiscoveryRequest { TypeUrl = Endpoints.TypeUrl, ResponseNonce = "garbage" });
        await stream.SendAsync(
            new DeltaDiscoveryRequest
            {
                TypeUrl = Endpoints.TypeUrl,
                ResponseNonce = new string('9', 5000),
                ResourceNamesUnsubscribe = { "never" },
            }
        );
        await _server.ExpectNoResponseAsync(stream);
    }

    [Fact]
    [Trait("Rule", "V-13")]
    public async Task V13_every_response_says_which_server_it_came_from_and_its_system_version()
    {
        _server.Publish(Resources.Cluster("a"));
        using var delta = _client.OpenDelta();
        await delta.AskAsync(Cluster.TypeUrl);
        var response = await delta.ExpectResponseAsync(Cluster.TypeUrl);
        Assert.Equal("test-server", response.ControlPlane.Identifier);
        using var sotw = _client.OpenSotw();
        await sotw.AskAsync(Cluster.TypeUrl);
        var other = await sotw.ExpectResponseAsync(Cluster.TypeUrl);
        Assert.Equal("test-server", other.ControlPlane.Identifier);
        Assert.Equal(other.VersionInfo, response.SystemVersionInfo);
    }

    [Fact]
    [Trait("Rule", "V-04")]
    public async Task V04_resources_are_bare_for_a_client_that_declares_no_feature()
    {
        _server.Publish(Resources.Cluster("a"));
        using var stream = _client.OpenSotw();
        await stream.AskAsync(Cluster.TypeUrl);
        var response = await stream.ExpectResponseAsync(Cluster.TypeUrl);
        Assert.Equal("a", response.Resources[0].Unpack<Envoy.Config.Cluster.V3.Cluster>().Name);
    }

    [Fact]
    public async Task Responses_are_what_the_generated_classes_write()
    {
        var resources = new[] { Resources.Cluster("a"), Resources.Cluster("ü") };
        var set = ResourceSet.Create(Cluster, resources);
        var snapshot = Snapshot.Empty.With(1, [set]);
        foreach (var protocol in System.Enum.GetValues<XdsProtocol>())
        {
            foreach (
                var names in (string[][])
                    [
                        [],
                        ["a", "missing"],
                    ]
            )
            {
                var session = new DiscoverySession(protocol, new NonceSequence());
                session.Handle(Cluster, new ClientRequest { Names = [.. names] }, snapshot, DateTimeOffset.UnixEpoch);
                var response = session.Compose(snapshot, DateTimeOffset.UnixEpoch)!;
                var output = new System.Buffers.ArrayBufferWriter<byte>();
                var identifier = "me"u8.ToArray();
                DiscoveryMessages.Write(response, identifier, output);
                Assert.Equal(DiscoveryMessages.Measure(response, identifier.Length), output.WrittenCount);
                IMessage parsed =
                    protocol == XdsProtocol.Delta
                        ? DeltaDiscoveryResponse.Parser.ParseFrom(output.WrittenSpan)
                        : DiscoveryResponse.Parser.ParseFrom(output.WrittenSpan);
                Assert.Equal(parsed.CalculateSize(), output.WrittenCount);
                Assert.Equal(
                    names.Length == 0 ? 2 : 1,
                    parsed is DeltaDiscoveryResponse delta ? delta.Resources.Count : ((DiscoveryResponse)parsed).Resources.Count
                );
            }
        }

        await Task.CompletedTask;
    }

    [Fact]
    public void Requests_are_read_as_the_generated_classes_write_them()
    {
        var node = new Node
        {
            Id = "id",
            Cluster = "cluster",
            Locality = new Locality
            {
                Region = "r",
                Zone = "z",
                SubZone = "s",
            },
            Metadata = new Struct
            {
                Fields =
                {
                    ["role"] = Value.ForString("edge"),
                    ["n"] = Value.ForNumber(1.5),
                    ["deep"] = Value.ForStruct(new Struct { Fields = { ["b"] = Value.ForBool(true) } }),
                    ["list"] = Value.ForList(Value.ForNull()),
                },
            },
            UserAgentName = "envoy",
            UserAgentBuildVersion = new BuildVersion
            {
                Version = new()
                {
                    MajorNumber = 1,
                    MinorNumber = 40,
                    Patch = 2,
                },
            },
            ClientFeatures = { "f" },
        };
        node.Extensions.Add(
            new Envoy.Config.Core.V3.Extension
            {
                Name = "envoy.filters.http.router",
                Category = "c",
                TypeUrls = { "envoy.Router" },
            }
        );
        var request = new DeltaDiscoveryRequest
        {
            Node = node,
            TypeUrl = Cluster.TypeUrl,
            ResourceNamesSubscribe = { "a", "b" },
            ResourceNamesUnsubscribe = { "c" },
            InitialResourceVersions = { ["a"] = "1" },
            ResponseNonce = "7",
            ErrorDetail = new Google.Rpc.Status { Code = 13, Message = "bad" },
            ResourceLocatorsSubscribe = { new ResourceLocator { Name = "ignored" } },
        };
        var read = DiscoveryMessages.ReadDelta(new(request.ToByteArray()));
        Assert.Equal(["a", "b"], read.Names);
        Assert.Equal(["c"], read.Unsubscribed);
        Assert.Equal("1", read.InitialVersions!["a"]);
        Assert.Equal(("7", "bad", Cluster.TypeUrl), (read.Nonce, read.Error, read.TypeUrl));
        var identity = read.Node!;
        Assert.Equal(("id", "cluster", "r", "z", "s"), (identity.Id, identity.Cluster, identity.Region, identity.Zone, identity.SubZone));
        Assert.Equal(("envoy", "1.40.2"), (identity.UserAgent, identity.UserAgentVersion));
        Assert.Equal("edge 1.5 true", $"{identity.Metadata["role"]} {identity.Metadata["n"]} {identity.Metadata["deep.b"]}");
        Assert.Contains("envoy.Router", identity.Extensions!);
        Assert.Equal(["f"], identity.ClientFeatures);
        Assert.Same(identity.Extensions, DiscoveryMessages.ReadDelta(new(request.ToByteArray())).Node!.Extensions);

        var sotw = DiscoveryMessages.ReadSotw(
            new(
                new DiscoveryRequest
                {
                    VersionInfo = "v",
                    ResourceNames = { "a", "a" },
                    TypeUrl = "t",
                    ResponseNonce = "1",
                }.ToByteArray()
            )
        );
        Assert.Equal(("v", "t", "1"), (sotw.VersionInfo, sotw.TypeUrl, sotw.Nonce));
        Assert.Equal(["a"], sotw.Names);
        Assert.Null(sotw.Error);
    }

    [Fact]
    public void Bytes_that_are_no_request_are_refused_and_nothing_else_happens()
    {
        var random = new Random(1);
        var valid = new DeltaDiscoveryRequest
        {
            Node = new Node { Id = "n" },
            TypeUrl = "t",
            ResourceNamesSubscribe = { "a" },
        }.ToByteArray();
        for (var i = 0; i < 20_000; i++)
        {
            var bytes = i % 2 == 0 ? new byte[random.Next(64)] : (byte[])valid.Clone();
            if (i % 2 == 0)
            {
                random.NextBytes(bytes);
            }
            else
            {
                bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
            }

            foreach (
                var read in (Func<ClientRequest>[])
                    [() => DiscoveryMessages.ReadDelta(new(bytes)), () => DiscoveryMessages.ReadSotw(new(bytes))]
            )
            {
                try
                {
                    read();
                }
                catch (InvalidDataException)
                {
                    // The one way to fail.
                }
            }
        }
    }

    [Fact]
    public async Task Metadata_too_large_or_too_deep_to_select_by_is_left_out_and_the_node_is_served()
    {
        var deep = Value.ForString("x");
        for (var i = 0; i < 200; i++)
        {
            deep = Value.ForStruct(new Struct { Fields = { ["d"] = deep } });
        }

        foreach (var value in (Value[])[deep, Value.ForString(new string('x', 5_000_000))])
        {
            using var stream = _client.OpenDelta();
            await stream.SendAsync(
                new DeltaDiscoveryRequest
                {
                    Node = new Node
                    {
                        Id = "big",
                        Metadata = new Struct { Fields = { ["m"] = value } },
                    },
                    TypeUrl = Cluster.TypeUrl,
                }
            );
            await stream.ExpectResponseAsync(Cluster.TypeUrl);
            Assert.Empty(_server.Nodes.Find("big")!.Identity.Metadata);
        }
    }

    [Fact]
    [Trait("Rule", "G-07")]
    public async Task G07_the_features_that_a_client_declares_are_known()
    {
        using var stream = _client.OpenSotw();
        await stream.SendAsync(
            new DiscoveryRequest
            {
                Node = new Node { Id = "grpc", ClientFeatures = { "envoy.lb.does_not_support_overprovisioning" } },
                TypeUrl = Listener.TypeUrl,
                ResourceNames = { "svc" },
            }
        );
        await stream.ExpectResponseAsync(Listener.TypeUrl);
        Assert.Equal(["envoy.lb.does_not_support_overprovisioning"], _server.Nodes.Find("grpc")!.Identity.ClientFeatures);
    }

    [Fact]
    [Trait("Rule", "G-01")]
    [Trait("Rule", "G-11")]
    public async Task G01_G11_a_gRPC_client_is_given_exactly_the_names_that_it_asks_for()
    {
        const string Name = "xdstp://authority/envoy.config.listener.v3.Listener/svc";
        _server.Publish(Resources.Listener(Name), Resources.Listener("other"));
        using var stream = _client.OpenSotw("grpc");
        await stream.AskAsync(Listener.TypeUrl, Name, "xdstp://unknown-authority/envoy.config.listener.v3.Listener/x");
        var response = await stream.ExpectResponseAsync(Listener.TypeUrl);
        Assert.Equal(Name, Assert.Single(response.Resources).Unpack<Envoy.Config.Listener.V3.Listener>().Name);
    }

    [Fact]
    [Trait("Rule", "T-14")]
    public async Task T14_a_node_whose_id_is_absurd_is_told_so()
    {
        using var stream = _client.OpenDelta(new string('x', 5000));
        await stream.AskAsync(Cluster.TypeUrl);
        var status = await stream.EndAsync();
        Assert.Equal(StatusCode.InvalidArgument, status.StatusCode);
        Assert.Contains("node.id is longer than 1024", status.Detail, StringComparison.Ordinal);
    }
}
