namespace ControlPlane.Server;

/// <summary>What a person who has just started the server is told.</summary>
internal static class FirstSteps
{
    /// <summary>Address of the REST API's listener.</summary>
    public static string Admin(ServerOptions options) =>
        $"{(options.AdminTlsCert is null ? "http" : "https")}://{ListenAddress.Format(options.AdminListen)}";

    /// <summary>How a command for the REST API begins: with a token where one is needed, which the person sets as <c>TOKEN</c>.</summary>
    public static string Curl(ServerOptions options) =>
        options.AdminTokenFile is null ? "curl" : "curl -H \"Authorization: Bearer $TOKEN\"";

    public static string Text(ServerOptions options)
    {
        var admin = Admin(options);
        var curl = Curl(options);
        return $$"""

            ControlPlane runs.
              REST API   {{admin}}/api/v1      documentation: {{admin}}/docs
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
