using System.Net;
using System.Net.Sockets;
using ControlPlane.Server.Telemetry;

namespace ControlPlane.Server;

/// <summary>What a person who has just started the server is told.</summary>
internal static class FirstSteps
{
    /// <summary>Tells a person something: on standard output or, where that carries JSON for a collector and nothing else, on standard error.</summary>
    public static void Say(ServerOptions options, string text) =>
        (options.EffectiveLogFormat == LogFormat.Json ? Console.Error : Console.Out).WriteLine(text);

    /// <summary>How URLs of the REST API begin, for <see cref="Curl"/> on this machine.</summary>
    public static string Admin(ServerOptions options)
    {
        var host = options.AdminListen switch
        {
            UnixDomainSocketEndPoint => "localhost",
            IPEndPoint ip when ip.Address.Equals(IPAddress.Any) || ip.Address.Equals(IPAddress.IPv6Any) => $"127.0.0.1:{ip.Port}",
            var address => ListenAddress.Format(address),
        };
        return $"{(options.AdminTlsCert is null ? "http" : "https")}://{host}";
    }

    /// <summary>
    /// How a command for the REST API begins: through the socket where there is one, and with a token where one is needed, which the person sets as <c>TOKEN</c>.
    /// </summary>
    public static string Curl(ServerOptions options) =>
        "curl"
        + (options.AdminListen is UnixDomainSocketEndPoint socket ? $" --unix-socket {socket}" : "")
        + (options.AdminTokenFile is null ? "" : " -H \"Authorization: Bearer $TOKEN\"");

    public static string Text(ServerOptions options)
    {
        var admin = Admin(options);
        var curl = Curl(options);
        var through = options.AdminListen is UnixDomainSocketEndPoint socket ? $"      through {socket}" : "";
        return $$"""

            ControlPlane runs.
              REST API   {{admin}}/api/v1      documentation: {{admin}}/docs{{through}}
              xDS        {{ListenAddress.Format(options.XdsListen)}}
              data       {{Path.GetFullPath(options.DataDir)}}

            What to type next:
              envoy -c envoy/edge.yaml                                                       # a proxy that asks this server
              {{curl}} -X POST {{admin}}/api/v1/apply -H 'Content-Type: application/yaml' \
                   --data-binary @docs/examples/first-steps.yaml                             # an upstream, a route table, a listener
              curl 127.0.0.1:10000                                                           # through the proxy
              {{curl}} {{admin}}/api/v1/nodes                                     # who has what
            Or start with --demo to have all of this set up.

            """;
    }
}
