namespace ControlPlane.Server;

/// <summary>What a person who has just started the server is told.</summary>
internal static class FirstSteps
{
    public static string Text(ServerOptions options)
    {
        var scheme = options.AdminTlsCert is null ? "http" : "https";
        var admin = $"{scheme}://{ListenAddress.Format(options.AdminListen)}";
        return $$"""

            ControlPlane runs.
              REST API   {{admin}}/api/v1      documentation: {{admin}}/docs
              xDS        {{ListenAddress.Format(options.XdsListen)}}
              data       {{Path.GetFullPath(options.DataDir)}}

            What to type next:
              envoy -c envoy/edge.yaml                                                       # a proxy that asks this server
              curl -X POST {{admin}}/api/v1/apply -H 'Content-Type: application/yaml' \
                   --data-binary @docs/examples/first-steps.yaml                             # an upstream, a route table, a listener
              curl 127.0.0.1:10000                                                           # through the proxy
              curl {{admin}}/api/v1/nodes                                     # who has what
            Or start with --demo to have all of this set up.

            """;
    }
}
