using System.Collections.Immutable;
using System.Diagnostics.Metrics;
using System.Threading.Channels;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.Health;
using ControlPlane.Server.HealthIntake.DnsResolution;
using ControlPlane.Server.Tests.Storage;
using ControlPlane.TestKit;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Server.Tests.HealthIntake.DnsResolution;

/// <summary>Against a real DNS server on loopback; the times between look-ups are those of a clock that is moved by hand.</summary>
public sealed class NameResolverTests : IAsyncDisposable
{
    private const string Name = "shop.example.com";

    private readonly DnsServer _dns = new();
    private readonly FakeTimeProvider _time = new();
    private readonly ServiceProvider _services = new ServiceCollection().AddMetrics().BuildServiceProvider();
    private readonly Channel<string> _changes = Channel.CreateUnbounded<string>();
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("controlplane-");
    private readonly WebApplication _app;
    private readonly NameResolver _names;

    public NameResolverTests()
    {
        // Of a server with a database of its own, which decides.
        _app = ControlPlaneServer.Build(new ServerOptions { DataDir = _folder.FullName });
        _names = new NameResolver(
            _app.Services.GetRequiredService<HealthLeadership>(),
            _time,
            Metrics(),
            NullLogger<NameResolver>.Instance
        );
        _names.Changed += name => _changes.Writer.TryWrite(name);
    }

    public async ValueTask DisposeAsync()
    {
        await _names.StopAsync(CancellationToken.None);
        await _services.DisposeAsync();
        await _app.DisposeAsync();
        _folder.Delete(recursive: true);
        await _dns.DisposeAsync();
    }

    [Fact]
    public async Task A_name_becomes_an_endpoint_for_each_of_its_addresses()
    {
        _dns.Set(Name, 30, "10.0.0.1", "10.0.0.2");
        Follow(
            new EndpointSpec
            {
                Address = Name,
                Port = 8080,
                Weight = 3,
                Priority = 1,
                Locality = new LocalitySpec { Zone = "a" },
            }
        );
        var resolved = await NextAsync();
        Assert.Empty(resolved.Problems);
        Assert.Equal(["10.0.0.1:8080", "10.0.0.2:8080"], resolved.Endpoints!.Keys);
        var endpoint = (EndpointSpec)resolved.Endpoints["10.0.0.1:8080"].Manifest.Spec;
        Assert.Equal(
            ("10.0.0.1", 8080, 3u, 1, "a"),
            (endpoint.Address, endpoint.Port, endpoint.Weight, endpoint.Priority, endpoint.Locality!.Zone)
        );
        // The host of checks, and of routes that rewrite it.
        Assert.Equal(Name, endpoint.Hostname);
    }

    [Theory]
    [InlineData(AddressPreference.V4Only, new[] { "10.0.0.1:80" })]
    [InlineData(AddressPreference.V6Only, new[] { "[2001:db8::1]:80" })]
    [InlineData(AddressPreference.V4Preferred, new[] { "10.0.0.1:80" })]
    [InlineData(AddressPreference.Auto, new[] { "[2001:db8::1]:80" })]
    [InlineData(AddressPreference.All, new[] { "10.0.0.1:80", "[2001:db8::1]:80" })]
    public async Task The_wanted_addresses_are_asked_for(AddressPreference preference, string[] ids)
    {
        _dns.Set(Name, 30, "10.0.0.1", "2001:db8::1");
        Follow(new DnsResolutionSpec { Addresses = preference }, Host(Name));
        Assert.Equal(ids, (await NextAsync()).Endpoints!.Keys);
    }

    [Fact]
    public async Task Where_the_preferred_family_has_no_address_the_other_is_taken()
    {
        _dns.Set(Name, 30, "2001:db8::1");
        Follow(Host(Name));
        var resolved = await NextAsync();
        Assert.Equal(["[2001:db8::1]:80"], resolved.Endpoints!.Keys);
        Assert.Empty(resolved.Problems);
    }

    [Fact]
    public async Task A_service_brings_ports_weights_and_priorities()
    {
        _dns.SetServices(
            "_http._tcp.example.com",
            30,
            (10, 5, 8080, "a.example.com"),
            (10, 0, 8081, "a.example.com"),
            (20, 1, 8080, "b.example.com")
        );
        _dns.Set("a.example.com", 30, "10.0.0.1");
        _dns.Set("b.example.com", 30, "10.0.0.2");
        Follow(new EndpointSpec { Address = "_http._tcp.example.com" });
        var endpoints = (await NextAsync()).Endpoints!.Values.Select(e => (EndpointSpec)e.Manifest.Spec);
        Assert.Equal(
            [("10.0.0.1", 8080, 5u, 0), ("10.0.0.1", 8081, 1u, 0), ("10.0.0.2", 8080, 1u, 1)],
            endpoints.Select(e => (e.Address, e.Port, e.Weight, e.Priority))
        );
    }

    [Fact]
    public async Task An_answer_holds_for_its_TTL_and_then_the_next_one_counts()
    {
        _dns.Set(Name, 30, "10.0.0.1");
        Follow(Host(Name));
        await NextAsync();
        _dns.Set(Name, 30, "10.0.0.2");
        // The loop begins to wait some moment after it told.
        var next = NextAsync();
        var questions = _dns.Questions;
        _time.Advance(TimeSpan.FromSeconds(29));
        Assert.Equal(questions, _dns.Questions);
        await _time.AdvanceUntilAsync(TimeSpan.FromSeconds(1), next);
        Assert.Equal(["10.0.0.2:80"], (await next).Endpoints!.Keys);
    }

    [Theory]
    [InlineData(0, 5)]
    [InlineData(86400, 60)]
    public async Task The_bounds_count_where_the_TTL_is_beyond_them(int ttl, int seconds)
    {
        _dns.Set(Name, ttl, "10.0.0.1");
        var (_, wait) = await new UpstreamNames("shop", Spec(new(), Host(Name)), Questions(), Metrics()).AskAsync(
            NameMemory.Nothing,
            _time.GetUtcNow(),
            default
        );
        Assert.Equal(TimeSpan.FromSeconds(seconds), wait);
    }

    [Theory]
    [InlineData("gone", "dns-name-not-found", "shop.example.com does not exist (NXDOMAIN)")]
    [InlineData("empty", "dns-no-records", "shop.example.com exists and has no record of the wanted type")]
    [InlineData("servfail", "dns-failure", "the DNS servers do not resolve shop.example.com (SERVFAIL)")]
    [InlineData("refused", "dns-failure", "the DNS servers do not resolve shop.example.com (REFUSED)")]
    [InlineData("silent", "dns-timeout", "no DNS server answered for shop.example.com in time")]
    public async Task What_goes_wrong_is_told_apart_and_the_last_answer_stays_in_force(string fault, string code, string message)
    {
        _dns.Set(Name, 5, "10.0.0.1");
        Follow(Host(Name));
        var good = await NextAsync();

        Break(fault);
        var next = NextAsync();
        await _time.AdvanceUntilAsync(TimeSpan.FromSeconds(1), next);
        var resolved = await next;
        Assert.Same(good.Endpoints, resolved.Endpoints);
        var problem = Assert.Single(resolved.Problems);
        Assert.Equal((code, "/spec/endpoints/hosts/0"), (problem.Code, problem.Pointer));
        Assert.Equal($"{message}; the answer of 2000-01-01 00:00:00 UTC stays in force.", problem.Message);

        Break("");
        // A look-up that is under way may have seen both.
        do
        {
            next = NextAsync();
            await _time.AdvanceUntilAsync(TimeSpan.FromSeconds(1), next);
        } while ((await next).Problems.Any());
    }

    [Theory]
    [InlineData("gone", 0)]
    [InlineData("empty", 0)]
    [InlineData("servfail", null)]
    [InlineData("silent", null)]
    public async Task What_was_never_answered_is_unknown_and_not_empty(string fault, int? endpoints)
    {
        Break(fault);
        Follow(Host(Name));
        var resolved = await NextAsync();
        Assert.Equal(endpoints, resolved.Endpoints?.Count);
        Assert.EndsWith("; there are no endpoints of it yet.", Assert.Single(resolved.Problems).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task One_name_that_fails_takes_nothing_from_the_others()
    {
        _dns.Set(Name, 5, "10.0.0.1");
        Follow(Host(Name), Host("other.example.com"));
        var resolved = await NextAsync();
        Assert.Equal(["10.0.0.1:80"], resolved.Endpoints!.Keys);
        Assert.Equal("/spec/endpoints/hosts/1", Assert.Single(resolved.Problems).Pointer);
    }

    [Fact]
    public async Task A_changed_spec_keeps_the_answers_that_still_count()
    {
        _dns.Set(Name, 5, "10.0.0.1");
        Follow(Host(Name));
        await NextAsync();
        Break("servfail");
        Follow(Host(Name) with { Weight = 7 });
        // At once, whoever answers.
        var resolved = _names.Resolved["shop"];
        Assert.Equal(7u, ((EndpointSpec)resolved.Endpoints!["10.0.0.1:80"].Manifest.Spec).Weight);
        Assert.Same(resolved.Endpoints, (await NextAsync()).Endpoints);
        Assert.Single(_names.Resolved["shop"].Problems);
    }

    [Fact]
    public async Task A_changed_spec_waits_for_the_names_that_are_new_in_it()
    {
        _dns.Set(Name, 5, "10.0.0.1");
        _dns.Set("other.example.com", 5, "10.0.0.2");
        Follow(Host(Name));
        await NextAsync();
        _dns.IsSilent = true;
        Follow(Host("other.example.com"));
        Assert.Equal(["10.0.0.1:80"], _names.Resolved["shop"].Endpoints!.Keys);
        _dns.IsSilent = false;
        Assert.Equal(["10.0.0.2:80"], (await NextAsync()).Endpoints!.Keys);
    }

    [Fact]
    public async Task What_was_answered_before_is_in_force_before_anybody_is_asked()
    {
        _dns.SetServices("_http._tcp.example.com", 5, (2, 1, 8082, "b.example.com"), (1, 3, 8081, "a.example.com"));
        _dns.Set("a.example.com", 5, "10.0.0.2", "10.0.0.1");
        _dns.Set("b.example.com", 5, "10.0.0.3");
        Follow(new EndpointSpec { Address = "_http._tcp.example.com" }, Host("gone.example.com"));
        var before = await NextAsync();
        var text = StoredHealthJson.Write(new RememberedUpstream(null, null, IsLarge: false, _names.Remember("shop")));

        var again = new NameResolver(
            _app.Services.GetRequiredService<HealthLeadership>(),
            _time,
            Metrics(),
            NullLogger<NameResolver>.Instance
        );
        _dns.IsSilent = true;
        // The answers may come before the upstream that they belong to, as from another server.
        again.Adopt(
            new HealthMemory(null, ImmutableDictionary<string, RememberedUpstream>.Empty.Add("shop", StoredHealthJson.ReadUpstream(text)))
        );
        Assert.Empty(again.Resolved);
        again.Follow("shop", Spec(new(), new EndpointSpec { Address = "_http._tcp.example.com" }, Host("gone.example.com")));

        var resolved = again.Resolved["shop"];
        Assert.Equal(before.Endpoints!.Values.Select(e => e.Manifest.Spec), resolved.Endpoints!.Values.Select(e => e.Manifest.Spec));
        Assert.Equal(["10.0.0.1:8081", "10.0.0.2:8081", "10.0.0.3:8082"], resolved.Endpoints.Keys);
        Assert.Equal(before.Problems, resolved.Problems);
        Assert.Equal(text, StoredHealthJson.Write(new RememberedUpstream(null, null, IsLarge: false, again.Remember("shop"))));
        await again.StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task Answers_in_another_order_are_the_same_answers()
    {
        _dns.Set(Name, 5, "10.0.0.1", "10.0.0.2");
        var names = new UpstreamNames("shop", Spec(new(), Host(Name)), Questions(), Metrics());
        var (first, _) = await names.AskAsync(NameMemory.Nothing, _time.GetUtcNow(), default);
        _dns.Set(Name, 5, "10.0.0.2", "10.0.0.1");
        var (second, _) = await names.AskAsync(first, _time.GetUtcNow().AddMinutes(1), default);
        Assert.Equal(first.Addresses[0].Since, second.Addresses[0].Since);
        Assert.Equal(
            StoredHealthJson.Write(new RememberedUpstream(null, null, IsLarge: false, first)),
            StoredHealthJson.Write(new RememberedUpstream(null, null, IsLarge: false, second))
        );
    }

    [Fact]
    public async Task An_answer_gone_wild_is_cut()
    {
        _dns.SetServices("_http._tcp.example.com", 30, [.. Enumerable.Range(1, 40).Select(i => (1, 1, 8000 + i, "a.example.com"))]);
        _dns.Set("a.example.com", 30, [.. Enumerable.Range(1, 50).Select(i => $"10.0.0.{i}")]);
        Follow(new EndpointSpec { Address = "_http._tcp.example.com" });
        var resolved = await NextAsync();
        Assert.Equal(1000, resolved.Endpoints!.Count);
        Assert.Equal("dns-too-many-endpoints", Assert.Single(resolved.Problems).Code);
    }

    [Fact]
    public async Task What_nobody_follows_any_more_is_forgotten()
    {
        _dns.Set(Name, 5, "10.0.0.1");
        Follow(Host(Name));
        await NextAsync();
        _names.Follow("shop", null);
        Assert.Empty(_names.Resolved);
        var questions = _dns.Questions;
        _time.Advance(TimeSpan.FromMinutes(5));
        await _names.StopAsync(CancellationToken.None);
        Assert.Equal(questions, _dns.Questions);
    }

    private void Break(string fault)
    {
        _dns.IsSilent = fault == "silent";
        _dns.ResponseCode =
            fault == "servfail" ? 2
            : fault == "refused" ? 5
            : 0;
        switch (fault)
        {
            case "gone":
                _dns.Remove(Name);
                break;
            case "empty":
                _dns.Set(Name, 5);
                break;
            default:
                _dns.Set(Name, 5, "10.0.0.1");
                break;
        }
    }

    private static EndpointSpec Host(string name) => new() { Address = name, Port = 80 };

    private EndpointsSpec Spec(DnsResolutionSpec resolution, params EndpointSpec[] hosts) =>
        new()
        {
            Source = EndpointSource.Dns,
            Hosts = [.. hosts],
            Resolution = resolution with { Servers = [_dns.Address] },
        };

    private DnsQuestions Questions() => new([_dns.Address]);

    private DnsMetrics Metrics() => new(_services.GetRequiredService<IMeterFactory>());

    private void Follow(params EndpointSpec[] hosts) => Follow(new DnsResolutionSpec(), hosts);

    private void Follow(DnsResolutionSpec resolution, params EndpointSpec[] hosts) => _names.Follow("shop", Spec(resolution, hosts));

    private async Task<ResolvedEndpoints> NextAsync()
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(20), TimeProvider.System);
        var name = await _changes.Reader.ReadAsync(patience.Token);
        return _names.Resolved[name];
    }
}
