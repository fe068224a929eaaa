using System.Net;
using System.Net.Sockets;
using System.Text;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources.Reading;
using ControlPlane.Server.Discovery;
using ControlPlane.Server.Health;
using ControlPlane.Server.Publishing;

namespace ControlPlane.Server.Demo;

/// <summary>
/// <c>--demo</c>: three small backends, an upstream, a route table and a listener on 127.0.0.1:10000, an Envoy where one is found, and the commands to try on them.
/// Everything goes in through the same door as any other change.
/// </summary>
internal sealed class DemoService(
    ServerOptions options,
    ChangeAdmission admission,
    ConnectedNodes nodes,
    HealthQuestions health,
    TimeProvider time,
    IHostApplicationLifetime lifetime
) : BackgroundService
{
    private const int ListenerPort = 10000;
    private const string NodeId = "demo-edge";
    private static readonly string[] Names = ["red", "green", "blue"];
    private static readonly TimeSpan LongestStart = TimeSpan.FromSeconds(20);

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await using var backends = await DemoBackends.StartAsync(Names, stoppingToken);
        await WriteObjectsAsync(backends, stoppingToken);
        await WaitForStartAsync(stoppingToken);

        var (executable, why) = await EnvoyProcess.FindAsync(Environment.GetEnvironmentVariable, stoppingToken);
        if (executable is null)
        {
            await SayAsync(Text.WithoutEnvoy(options, why), stoppingToken);
            return;
        }

        // Asked before: another Envoy would share the port with ours, and take some of the requests.
        if (await ListensAsync(stoppingToken))
        {
            await SayAsync(
                Text.Failed(options, $"Something else listens on 127.0.0.1:{ListenerPort}: end it, and start again."),
                stoppingToken
            );
            return;
        }

        await using var envoy = EnvoyProcess.Start(executable, NodeId, Text.Bootstrap(options));
        if (await WhyNotAsync(envoy, stoppingToken) is { } reason)
        {
            await SayAsync(Text.Failed(options, reason), stoppingToken);
            return;
        }

        Say(Text.WithEnvoy(options, executable, backends.Ports["green"]));
        await Task.WhenAll(ReportEndAsync(envoy, stoppingToken), PlayOutagesAsync(backends, stoppingToken));
    }

    private void Say(string text) => FirstSteps.Say(options, text);

    /// <summary>Says the last word; the server, with the demo's backends, stays until it is told to stop.</summary>
    private async Task SayAsync(string text, CancellationToken cancellationToken)
    {
        Say(text);
        await Task.Delay(Timeout.InfiniteTimeSpan, time, cancellationToken);
    }

    private async Task PlayOutagesAsync(DemoBackends backends, CancellationToken cancellationToken)
    {
        while (true)
        {
            var told = await backends.Told.ReadAsync(cancellationToken);
            await new DemoOutage(told, backends, health, new Uri($"http://127.0.0.1:{ListenerPort}/"), time, Say).PlayAsync(
                cancellationToken
            );
        }
    }

    private async Task ReportEndAsync(EnvoyProcess envoy, CancellationToken cancellationToken)
    {
        await envoy.Ended.WaitAsync(cancellationToken);

        // Ctrl-C goes to both processes, and Envoy may be the faster one.
        await Task.Delay(TimeSpan.FromSeconds(1), time, cancellationToken);
        Say(Text.Failed(options, envoy.EndReason));
    }

    /// <summary>Waits until the proxy has everything and serves; says why not if it does not.</summary>
    private async Task<string?> WhyNotAsync(EnvoyProcess envoy, CancellationToken cancellationToken)
    {
        var started = time.GetTimestamp();
        while (time.GetElapsedTime(started) < LongestStart)
        {
            var subscriptions = nodes.Find(NodeId)?.Streams.SelectMany(s => s.Subscriptions).ToList() ?? [];
            if (envoy.Ended.IsCompleted)
            {
                return envoy.EndReason;
            }

            if (subscriptions.SelectMany(s => s.Refusals).FirstOrDefault() is { } refusal)
            {
                return "Envoy refused what it was told: " + refusal.Text;
            }

            var hasRoutes = subscriptions.Exists(s => s.Type == ResourceType.Route && s.AckedAt is not null);
            if (hasRoutes && subscriptions.TrueForAll(s => s.Unanswered == 0) && await ListensAsync(cancellationToken))
            {
                return null;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(50), time, cancellationToken);
        }

        return $"Envoy has not taken its configuration within {LongestStart.TotalSeconds:0} s. {envoy.LastWords}";
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

    private static async Task<bool> ListensAsync(CancellationToken cancellationToken)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            await socket.ConnectAsync(IPAddress.Loopback, ListenerPort, cancellationToken);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    /// <summary>The demo's manifests, bootstrap and the lines it prints.</summary>
    internal static class Text
    {
        public static string Manifests(DemoBackends backends)
        {
            var endpoints = backends.Ports.Select(backend =>
                $$"""
                    ---
                    apiVersion: controlplane/v1
                    kind: Endpoint
                    metadata: {name: demo/{{backend.Key}}}
                    spec: {address: 127.0.0.1, port: {{backend.Value}}}

                    """
            );
            return $$"""
                    apiVersion: controlplane/v1
                    kind: Upstream
                    metadata: {name: demo}
                    spec:
                      endpoints: {source: registration}
                      loadBalancing: {policy: roundRobin}
                      health:
                        checks: [{http: {path: /}, interval: 500ms, edgeInterval: 200ms, timeout: 500ms}]
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
            var text = reader.ReadToEnd();
            const string there = "socket_address: { address: 127.0.0.1, port_value: 18000 }";
            var here = options.XdsListen is IPEndPoint ip
                ? $"socket_address: {{ address: '{ReachableAt(ip.Address)}', port_value: {ip.Port} }}"
                : $"pipe: {{ path: '{Path.GetFullPath(options.XdsListen.ToString()!)}' }}";
            return text.Replace(there, here, StringComparison.Ordinal)
                // What is no name needs no look-up, and Envoy does not take a socket's path for one.
                .Replace("type: STRICT_DNS", "type: STATIC", StringComparison.Ordinal);

            static IPAddress ReachableAt(IPAddress listen) =>
                listen.Equals(IPAddress.Any) || listen.Equals(IPAddress.IPv6Any) ? IPAddress.Loopback : listen;
        }

        public static string Failed(ServerOptions options, string reason) =>
            $$"""

                The demo does not run. {{reason}}
                What the proxy says:
                  {{FirstSteps.Curl(options)}} {{FirstSteps.Admin(options)}}/api/v1/nodes

                """;

        public static string WithEnvoy(ServerOptions options, string executable, int backend)
        {
            var admin = FirstSteps.Admin(options);
            var api = admin + "/api/v1";
            var curl = FirstSteps.Curl(options);
            return $$$"""

                The demo runs: three backends (red, green, blue), an upstream, a route table and a listener,
                and an Envoy ({{{executable}}}) that was told about them.

                  Ask through Envoy, a few times:
                    curl 127.0.0.1:{{{ListenerPort}}}

                  Send nine of ten requests to red:
                    {{{curl}}} -X PATCH {{{api}}}/upstreams/demo/endpoints/red -H 'Content-Type: application/merge-patch+json' -d '{"spec":{"weight":18}}'

                  Drain green, then put it back:
                    {{{curl}}} -X POST {{{api}}}/upstreams/demo/endpoints/green:drain -H 'Content-Type: application/json' -d '{"reason":"trying the demo"}'
                    {{{curl}}} -X POST {{{api}}}/upstreams/demo/endpoints/green:clear -H 'Content-Type: application/json' -d '{"reason":"done"}'

                  See which proxies have it, and what they said:
                    {{{curl}}} {{{api}}}/nodes
                    {{{curl}}} {{{api}}}/upstreams/demo

                  Stop green (it comes back by itself), see what is said about it, and read here how long clients noticed:
                    curl -X POST 127.0.0.1:{{{backend}}}/stop
                    {{{curl}}} {{{api}}}/upstreams/demo/health

                  The API's documentation: {{{admin}}}/docs
                  Ctrl-C ends everything and leaves nothing behind.

                """;
        }

        public static string WithoutEnvoy(ServerOptions options, string why) =>
            $$"""

                The demo's objects are there, but there is no Envoy to start. {{why}}
                Set ENVOY_PATH, or put 'envoy' in a folder of PATH, and start again.
                Or run one yourself:   envoy -c envoy/edge.yaml      then:   curl 127.0.0.1:{{ListenerPort}}
                Look at what it will be told:   {{FirstSteps.Curl(options)}} {{FirstSteps.Admin(options)}}/api/v1/upstreams/demo/xds

                """;
    }
}
