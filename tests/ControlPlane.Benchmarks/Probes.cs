using System.Collections.Immutable;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.HealthIntake.Probing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;

namespace ControlPlane.Benchmarks;

/// <summary>
/// What probing costs: <c>probes [keep|new] [ENDPOINTS [INTERVAL-MS [SECONDS]]]</c>. The backend is a process of its own, so that the CPU time of this one is the probers' alone;
/// every endpoint has a loopback address of its own.
/// </summary>
internal static class Probes
{
    private static readonly byte[] Answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"u8.ToArray();

    public static async Task RunAsync(string[] args)
    {
        var keeps = args is not ["new", ..];
        var endpoints = args.Length > 1 ? int.Parse(args[1], CultureInfo.InvariantCulture) : 5000;
        var interval = TimeSpan.FromMilliseconds(args.Length > 2 ? int.Parse(args[2], CultureInfo.InvariantCulture) : 1000);
        var seconds = TimeSpan.FromSeconds(args.Length > 3 ? int.Parse(args[3], CultureInfo.InvariantCulture) : 20);

        using var backend = Process.Start(
            new ProcessStartInfo(Environment.ProcessPath!, [typeof(Probes).Assembly.Location, "probes-backend"])
            {
                RedirectStandardOutput = true,
                RedirectStandardInput = true,
            }
        )!;
        var port = int.Parse((await backend.StandardOutput.ReadLineAsync())!, CultureInfo.InvariantCulture);

        var lateness = new List<double>();
        await using var services = new ServiceCollection().AddMetrics().BuildServiceProvider();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, l) =>
        {
            if (instrument.Name == "health.probe.lateness")
            {
                l.EnableMeasurementEvents(instrument);
            }
        };
        listener.SetMeasurementEventCallback<double>((_, value, _, _) => lateness.Add(value));
        listener.Start();

        var (checks, failures) = (0L, 0L);
        await using var engine = new ProbeEngine(
            "",
            results =>
            {
                checks += results.Count;
                foreach (var result in results)
                {
                    failures += ((CheckResult)result).Passed ? 0 : 1;
                }
            },
            doubt => Console.WriteLine($"doubt {doubt:0.0}"),
            new ProbeMetrics(services.GetRequiredService<IMeterFactory>()),
            TimeProvider.System,
            NullLogger<ProbeEngine>.Instance
        );
        var heapBefore = GC.GetTotalMemory(forceFullCollection: true);
        engine.Set(Plan(port, endpoints, interval, keeps));
        await Task.Delay(interval + TimeSpan.FromSeconds(5), TimeProvider.System);
        var heap = GC.GetTotalMemory(forceFullCollection: true) - heapBefore;

        using var self = Process.GetCurrentProcess();
        lateness.Clear();
        var (cpuBefore, checksBefore, clock) = (self.TotalProcessorTime, checks, Stopwatch.StartNew());
        var (collected0, allocated) = (GC.CollectionCount(0), GC.GetTotalAllocatedBytes());
        await Task.Delay(seconds, TimeProvider.System);
        self.Refresh();
        var (cpu, done) = (self.TotalProcessorTime - cpuBefore, checks - checksBefore);
        var late = lateness.Order().ToArray();
        Console.WriteLine(
            string.Create(
                CultureInfo.InvariantCulture,
                $"""
                {(
                    keeps ? "kept connections" : "new connections"
                )}, {endpoints} endpoints every {interval.TotalMilliseconds} ms, {clock.Elapsed.TotalSeconds:0.0} s
                checks per second      {done / clock.Elapsed.TotalSeconds:0}
                failures               {failures}
                CPU of the prober      {cpu / clock.Elapsed:0.0%} of a core
                CPU per check          {cpu.TotalMicroseconds / done:0.0} us
                checks per core-second {done / cpu.TotalSeconds:0}
                lateness p50 / p99     {late[late.Length / 2] * 1000:0} / {late[late.Length * 99 / 100] * 1000:0} ms
                heap per endpoint      {heap / endpoints} bytes
                allocated per check    {(GC.GetTotalAllocatedBytes() - allocated) / done} bytes, {GC.CollectionCount(0)
                    - collected0} collections
                """
            )
        );
        backend.StandardInput.Close();
        await backend.WaitForExitAsync();
    }

    /// <summary>The backend: answers every request on any loopback address, until its standard input ends.</summary>
    public static async Task ServeAsync()
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Any, 0));
        listener.Listen(4096);
        Console.WriteLine(((IPEndPoint)listener.LocalEndPoint!).Port);
        _ = Task.Run(async () =>
        {
            while (true)
            {
                _ = AnswerAsync(await listener.AcceptAsync());
            }
        });
        await Console.In.ReadToEndAsync();
    }

    private static async Task AnswerAsync(Socket client)
    {
        using var _ = client;
        var buffer = new byte[512];
        int read;
        // A request of the probes comes in one piece.
        while ((read = await client.ReceiveAsync(buffer)) > 0)
        {
            await client.SendAsync(Answer);
            if (buffer.AsSpan(0, read).IndexOf("Connection: close"u8) >= 0)
            {
                return;
            }
        }
    }

    private static ProbePlan Plan(int port, int endpoints, TimeSpan interval, bool keeps)
    {
        var spec = new UpstreamSpec
        {
            Endpoints = new EndpointsSpec { Source = EndpointSource.Registration },
            Health = new HealthSpec
            {
                Checks =
                [
                    new HealthCheckSpec
                    {
                        Http = new HttpCheckSpec { Path = "/health" },
                        Interval = interval,
                        Timeout = TimeSpan.FromSeconds(1),
                        ReuseConnection = keeps,
                    },
                ],
            },
        };
        var policy = new HealthPolicy { ProbeInterval = interval, ProbeTimeout = TimeSpan.FromSeconds(1) };
        return ProbeCompiler.Compile(
            "bench",
            spec,
            policy,
            Enumerable
                .Range(0, endpoints)
                .Select(i => new EndpointSpec { Address = $"127.{1 + (i >> 16)}.{i >> 8 & 255}.{i & 255}", Port = port })
                .Select(e => KeyValuePair.Create(e.DefaultId(), e)),
            new ProbeTargetPolicy(AllowsLocal: true),
            _ => null
        );
    }
}
