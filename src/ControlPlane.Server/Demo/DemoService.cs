using System.Net;
using System.Net.Sockets;
using System.Text;
using ControlPlane.Resources.Reading;
using ControlPlane.Server.Publishing;

namespace ControlPlane.Server.Demo;

/// <summary>
/// <c>--demo</c>: three small backends, an upstream, a route table and a listener on 127.0.0.1:10000, an Envoy where one is found, and the commands to try on them.
/// Everything goes in through the same door as any other change.
/// </summary>
internal sealed class DemoService(ServerOptions options, ChangeAdmission admission, TimeProvider time, IHostApplicationLifetime lifetime)
    : BackgroundService
{
    private const int ListenerPort = 10000;
    private static readonly string[] Names = ["red", "green", "blue"];

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await using var backends = await DemoBackends.StartAsync(Names, stoppingToken);
        await WriteObjectsAsync(backends, stoppingToken);
        await WaitForStartAsync(stoppingToken);

        var executable = EnvoyProcess.Find();
        if (executable is null)
        {
            Console.WriteLine(Text.WithoutEnvoy(options));
            await Task.Delay(Timeout.InfiniteTimeSpan, time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            return;
        }

        await using var envoy = EnvoyProcess.Start(executable, Text.Bootstrap(options));
        await WaitForListenerAsync(stoppingToken);
        Console.WriteLine(Text.WithEnvoy(options, executable));
        await Task.Delay(Timeout.InfiniteTimeSpan, time, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private async Task WriteObjectsAsync(DemoBackends backends, CancellationToken cancellationToken)
    {
        var read = ManifestReader.Read(Encoding.UTF8.GetBytes(Text.Manifests(backends)), ManifestFormat.Yaml);
        if (read.HasErrors)
        {
            var problems = read.Problems.Concat(read.Documents.SelectMany(d => d.Problems));
            throw new InvalidOperationException(
                "The demo's manifests: " + string.Join("; ", problems.Select(p => $"{p.Pointer} {p.Message}"))
            );
        }

        var request = new ChangeRequest
        {
            Author = "demo",
            Reason = "--demo",
            Changes = [.. read.Documents.Select(d => new ObjectChange(d.Manifest!.Key, d.Manifest))],
        };
        if (await admission.ChangeAsync(request, cancellationToken) is var outcome and not ChangeApplied)
        {
            throw new InvalidOperationException($"The demo's objects were refused: {outcome}");
        }
    }

    private async Task WaitForStartAsync(CancellationToken cancellationToken)
    {
        var started = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var registration = lifetime.ApplicationStarted.Register(started.SetResult);
        await started.Task.WaitAsync(cancellationToken);
    }

    private async Task WaitForListenerAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                await socket.ConnectAsync(IPAddress.Loopback, ListenerPort, cancellationToken);
                return;
            }
            catch (SocketException)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(50), time, cancellationToken);
            }
        }
    }

    /// <summary>The demo's manifests, bootstrap and the lines it prints.</summary>
    private static class Text
    {
        public static string Manifests(DemoBackends backends)
        {
            var endpoints = backends.Ports.Select(
                (port, index) =>
                    $$"""
                        ---
                        apiVersion: controlplane/v1
                        kind: Endpoint
                        metadata: {name: demo/{{Names[index]}}}
                        spec: {address: 127.0.0.1, port: {{port}}}

                        """
            );
            return $$"""
                    apiVersion: controlplane/v1
                    kind: Upstream
                    metadata: {name: demo}
                    spec:
                      endpoints: {source: registration}
                      loadBalancing: {policy: roundRobin}
                    ---
                    apiVersion: controlplane/v1
                    kind: RouteTable
                    metadata: {name: demo}
                    spec:
                      virtualHosts:
                        - name: all
                          domains: ["*"]
                          routes:
                            - match: {prefix: /}
                              upstream: demo
                    ---
                    apiVersion: controlplane/v1
                    kind: Listener
                    metadata: {name: demo}
                    spec:
                      address: 127.0.0.1
                      port: {{ListenerPort}}
                      http: {routeTable: demo}

                    """ + string.Concat(endpoints);
        }

        /// <summary>The bootstrap that is there to copy, with this server's address.</summary>
        public static string Bootstrap(ServerOptions options)
        {
            using var reader = new StreamReader(typeof(DemoService).Assembly.GetManifestResourceStream("edge.yaml")!);
            var port = options.XdsListen is IPEndPoint ip ? ip.Port : 18000;
            return reader.ReadToEnd().Replace("port_value: 18000", $"port_value: {port}", StringComparison.Ordinal);
        }

        public static string WithEnvoy(ServerOptions options, string executable)
        {
            var api = $"http://{ListenAddress.Format(options.AdminListen)}/api/v1";
            return $$$"""

                The demo runs: three backends (red, green, blue), an upstream, a route table and a listener,
                and an Envoy ({{{executable}}}) that was told about them.

                  Ask through Envoy, a few times:
                    curl 127.0.0.1:{{{ListenerPort}}}

                  Send nine of ten requests to red:
                    curl -X PATCH {{{api}}}/upstreams/demo/endpoints/red -H 'Content-Type: application/merge-patch+json' -d '{"spec":{"weight":18}}'

                  Drain green, then put it back:
                    curl -X POST {{{api}}}/upstreams/demo/endpoints/green:drain -H 'Content-Type: application/json' -d '{"reason":"trying the demo"}'
                    curl -X POST {{{api}}}/upstreams/demo/endpoints/green:clear -H 'Content-Type: application/json' -d '{"reason":"done"}'

                  See which proxies have it, and what they said:
                    curl {{{api}}}/nodes
                    curl {{{api}}}/upstreams/demo

                  The API's documentation: http://{{{ListenAddress.Format(options.AdminListen)}}}/docs
                  Ctrl-C ends everything and leaves nothing behind.

                """;
        }

        public static string WithoutEnvoy(ServerOptions options) =>
            $$"""

                The demo's objects are there, but no Envoy was found: set ENVOY_PATH, or put 'envoy' in a folder of PATH, and start again.
                Or run one yourself:   envoy -c envoy/edge.yaml      then:   curl 127.0.0.1:{{ListenerPort}}
                Look at what it will be told:   curl http://{{ListenAddress.Format(options.AdminListen)}}/api/v1/upstreams/demo/xds

                """;
    }
}
