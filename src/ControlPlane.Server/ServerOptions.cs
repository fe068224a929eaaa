using System.Net;
using System.Net.Sockets;
using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Server.Storage;
using ControlPlane.Server.Telemetry;

namespace ControlPlane.Server;

/// <summary>Everything that can be set from outside. Each member is a flag and an environment variable: see <see cref="CommandLine"/>.</summary>
public sealed record ServerOptions
{
    /// <summary>Where the REST API, the documentation and the health endpoints listen: an IP address with port, or a Unix socket.</summary>
    public EndPoint AdminListen { get; init; } = new IPEndPoint(IPAddress.Loopback, 8080);

    /// <summary>Where proxies connect: an IP address with port, or a Unix socket.</summary>
    public EndPoint XdsListen { get; init; } = new IPEndPoint(IPAddress.Loopback, 18000);

    /// <summary>File with the API's tokens, one per line; null leaves the API open to whoever reaches it, which only a loopback bind allows.</summary>
    public string? AdminTokenFile { get; init; }

    /// <summary>PEM file with the API's certificate chain, leaf first.</summary>
    public string? AdminTlsCert { get; init; }

    /// <summary>PEM file with the private key of <see cref="AdminTlsCert"/>.</summary>
    public string? AdminTlsKey { get; init; }

    /// <summary>Allows the API without TLS on a wider bind than loopback. Tokens are still needed.</summary>
    public bool AdminPlaintext { get; init; }

    /// <summary>PEM file with the certificate chain that proxies see, leaf first.</summary>
    public string? XdsTlsCert { get; init; }

    /// <summary>PEM file with the private key of <see cref="XdsTlsCert"/>.</summary>
    public string? XdsTlsKey { get; init; }

    /// <summary>PEM file with the certificate authorities that sign the certificates of proxies.</summary>
    public string? XdsClientCa { get; init; }

    /// <summary>Allows xDS without TLS and without knowing the proxies on a wider bind than loopback.</summary>
    public bool XdsPlaintext { get; init; }

    /// <summary>The database: <c>sqlite:PATH</c>, a <c>postgres://</c> URL or an Npgsql connection string; null for SQLite in <see cref="DataDir"/>.</summary>
    public string? Store { get; init; }

    /// <summary>
    /// Where the other servers on the same database connect; null is a free port of loopback, for servers on one machine. A server with a database of its own has no
    /// others.
    /// </summary>
    public EndPoint? PeerListen { get; init; }

    /// <summary>Host and port at which the others reach <see cref="PeerListen"/>; null is where it listens, or this machine's name if that is everywhere.</summary>
    public string? PeerAddress { get; init; }

    /// <summary>PEM file with the certificate chain that this server shows to others, as a server and as a client; leaf first.</summary>
    public string? PeerTlsCert { get; init; }

    /// <summary>PEM file with the private key of <see cref="PeerTlsCert"/>.</summary>
    public string? PeerTlsKey { get; init; }

    /// <summary>PEM file with the authorities that sign the certificates of the other servers.</summary>
    public string? PeerClientCa { get; init; }

    /// <summary>Allows other servers without TLS on a wider bind than loopback.</summary>
    public bool PeerPlaintext { get; init; }

    /// <summary>The zone in which this server stands as an observer of endpoints; empty is the unnamed one.</summary>
    public string Zone { get; init; } = "";

    /// <summary>This server probes nothing: what it decides about endpoints it decides from load reports, outside evidence and orders.</summary>
    public bool NoProbes { get; init; }

    /// <summary>Allows probes of loopback addresses and <c>unix:</c> sockets although the server itself is reachable from other machines.</summary>
    public bool ProbeLoopback { get; init; }

    /// <summary>Folder for the last-good file and, by default, the database.</summary>
    public string DataDir { get; init; } = "data";

    /// <summary>The only folder that <c>file:</c> references of secrets reach into; null refuses such references.</summary>
    public string? SecretDir { get; init; }

    /// <summary>How the names of the environment variables begin that <c>env:</c> references of secrets reach.</summary>
    public string SecretEnvPrefix { get; init; } = "CONTROLPLANE_SECRET_";

    /// <summary>Adds three small backends, an upstream, a route table and a listener to try, and starts an Envoy where one is found.</summary>
    public bool Demo { get; init; }

    /// <summary>History younger than this many days is kept; 1 to 36 500.</summary>
    public int HistoryDays { get; init; } = 30;

    /// <summary>The newest this many revisions are kept whatever their age; at least 1.</summary>
    public int HistoryRevisions { get; init; } = 1000;

    /// <summary>Transitions of endpoints younger than this many days are kept; 1 to 3 650.</summary>
    public int HealthHistoryDays { get; init; } = 7;

    /// <summary>Connections to the API at once; more are closed at accept.</summary>
    public int MaxAdminConnections { get; init; } = 1000;

    /// <summary>Connections of proxies at once; more are closed at accept.</summary>
    public int MaxXdsConnections { get; init; } = 20_000;

    /// <summary>Watch streams of the API at once; more are answered 429.</summary>
    public int MaxWatchStreams { get; init; } = 100;

    /// <summary>How log lines look; null decides by whether standard output is a terminal.</summary>
    public LogFormat? LogFormat { get; init; }

    /// <summary><see cref="Store"/>, or its default.</summary>
    public string EffectiveStore => Store ?? "sqlite:" + Path.Combine(DataDir, "controlplane.db");

    /// <summary><see cref="LogFormat"/>, or what suits standard output.</summary>
    public LogFormat EffectiveLogFormat => LogFormat ?? (Console.IsOutputRedirected ? Telemetry.LogFormat.Json : Telemetry.LogFormat.Text);

    /// <summary>Whether other servers can be on the same database.</summary>
    public bool IsShared => StoreFactory.IsShared(EffectiveStore);

    /// <summary><see cref="PeerListen"/>, or its default; null where there are no others.</summary>
    public EndPoint? EffectivePeerListen => IsShared ? PeerListen ?? new IPEndPoint(IPAddress.Loopback, 0) : null;

    /// <summary>
    /// What may be probed; null probes nothing. Loopback is for servers on it alone: who reaches the API from elsewhere, this server's or that of another one on the same database, must
    /// not reach what listens on this machine.
    /// </summary>
    public ProbeTargetPolicy? ProbeTargets =>
        NoProbes
            ? null
            : new ProbeTargetPolicy(
                ProbeLoopback
                    || (
                        ListenAddress.IsLocal(AdminListen)
                        && ListenAddress.IsLocal(XdsListen)
                        && (EffectivePeerListen is not { } peers || ListenAddress.IsLocal(peers))
                    )
            );

    /// <summary>Everything about the options that forbids a start, as sentences that say what to give; empty if nothing does.</summary>
    public IReadOnlyList<string> Faults()
    {
        var faults = new List<string>();
        Together(faults, ("--admin-tls-cert", AdminTlsCert), ("--admin-tls-key", AdminTlsKey));
        Together(faults, ("--xds-tls-cert", XdsTlsCert), ("--xds-tls-key", XdsTlsKey), ("--xds-client-ca", XdsClientCa));
        Together(faults, ("--peer-tls-cert", PeerTlsCert), ("--peer-tls-key", PeerTlsKey), ("--peer-client-ca", PeerClientCa));
        if (PeerListen is not null && !IsShared)
        {
            faults.Add("--peer-listen is for servers that share a PostgreSQL, and --store names SQLite. Remove one.");
        }

        if (PeerPlaintext && PeerTlsCert is not null)
        {
            faults.Add("--peer-plaintext and --peer-tls-cert exclude each other. Remove one.");
        }

        if (EffectivePeerListen is { } peers && !ListenAddress.IsLocal(peers) && PeerTlsCert is null && !PeerPlaintext)
        {
            faults.Add(
                $"--peer-listen {ListenAddress.Format(peers)} is reachable from other machines, so servers must prove who they are: give --peer-tls-cert FILE, --peer-tls-key FILE and --peer-client-ca FILE, or --peer-plaintext on a private network."
            );
        }

        if (AdminPlaintext && AdminTlsCert is not null)
        {
            faults.Add("--admin-plaintext and --admin-tls-cert exclude each other. Remove one.");
        }

        if (XdsPlaintext && XdsTlsCert is not null)
        {
            faults.Add("--xds-plaintext and --xds-tls-cert exclude each other. Remove one.");
        }

        if (AdminListen.Equals(XdsListen) && AdminListen is not IPEndPoint { Port: 0 })
        {
            faults.Add($"--admin-listen and --xds-listen are both {ListenAddress.Format(AdminListen)}. Give them different ports.");
        }

        if (!ListenAddress.IsLocal(AdminListen))
        {
            if (AdminTokenFile is null)
            {
                faults.Add(
                    $"--admin-listen {ListenAddress.Format(AdminListen)} is reachable from other machines, so the API needs tokens: give --admin-token-file FILE, with a line made by 'token create NAME --role write'."
                );
            }

            if (AdminTlsCert is null && !AdminPlaintext)
            {
                faults.Add(
                    $"--admin-listen {ListenAddress.Format(AdminListen)} is reachable from other machines, so the API needs TLS: give --admin-tls-cert FILE and --admin-tls-key FILE, or --admin-plaintext on a private network."
                );
            }
        }

        if (!ListenAddress.IsLocal(XdsListen) && XdsTlsCert is null && !XdsPlaintext)
        {
            faults.Add(
                $"--xds-listen {ListenAddress.Format(XdsListen)} is reachable from other machines, so proxies must prove who they are: give --xds-tls-cert FILE, --xds-tls-key FILE and --xds-client-ca FILE, or --xds-plaintext on a private network."
            );
        }

        return faults;
    }

    private static void Together(List<string> faults, params ReadOnlySpan<(string Flag, string? Value)> options)
    {
        var missing = new List<string>();
        var given = new List<string>();
        foreach (var (flag, value) in options)
        {
            (value is null ? missing : given).Add(flag);
        }

        if (given.Count > 0 && missing.Count > 0)
        {
            faults.Add($"{string.Join(" and ", given)} {(given.Count == 1 ? "needs" : "need")} {string.Join(" and ", missing)} too.");
        }
    }
}

/// <summary>Addresses to listen on, as they stand on the command line.</summary>
public static class ListenAddress
{
    /// <summary>Reads <c>127.0.0.1:8080</c>, <c>[::1]:8080</c>, <c>localhost:8080</c>, <c>:8080</c> or <c>*:8080</c> (all addresses), or <c>unix:/path</c>.</summary>
    public static bool TryParse(string text, out EndPoint? endPoint)
    {
        endPoint = null;
        if (text.StartsWith("unix:", StringComparison.Ordinal))
        {
            var path = text["unix:".Length..];
            endPoint = path.Length is > 0 and < 108 ? new UnixDomainSocketEndPoint(path) : null;
            return endPoint is not null;
        }

        var colon = text.LastIndexOf(':');
        if (colon < 0 || !ushort.TryParse(text.AsSpan(colon + 1), System.Globalization.NumberStyles.None, null, out var port))
        {
            return false;
        }

        var host = text[..colon];
        IPAddress? address = host switch
        {
            "" or "*" => IPAddress.IPv6Any,
            "localhost" => IPAddress.Loopback,
            ['[', .. var inner, ']'] => IPAddress.TryParse(inner, out var v6) && v6.AddressFamily == AddressFamily.InterNetworkV6
                ? v6
                : null,
            // IPAddress takes "1" for 0.0.0.1: only the dotted form is meant here.
            _ => host.Count(c => c == '.') == 3 && IPAddress.TryParse(host, out var v4) ? v4 : null,
        };
        endPoint = address is null ? null : new IPEndPoint(address, port);
        return endPoint is not null;
    }

    /// <summary>The form that <see cref="TryParse"/> reads.</summary>
    public static string Format(EndPoint endPoint) => endPoint is UnixDomainSocketEndPoint ? "unix:" + endPoint : endPoint.ToString()!;

    /// <summary>Whether only this machine reaches the address.</summary>
    public static bool IsLocal(EndPoint endPoint) =>
        endPoint is UnixDomainSocketEndPoint || endPoint is IPEndPoint ip && IPAddress.IsLoopback(ip.Address);
}
