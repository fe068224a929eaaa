using System.Net;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Upstreams;
using ControlPlane.TestKit;
using Grpc.Health.V1;
using Grpc.HealthCheck;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace ControlPlane.Server.Tests.HealthIntake.Probing;

public sealed class GrpcProbeTests
{
    [Fact]
    public async Task A_service_that_serves_passes_and_one_that_does_not_fails()
    {
        var health = new HealthServiceImpl();
        health.SetStatus("shop", HealthCheckResponse.Types.ServingStatus.Serving);
        health.SetStatus("till", HealthCheckResponse.Types.ServingStatus.NotServing);
        await using var app = await StartAsync(health);
        Assert.Equal((FailureClass.None, "gRPC health: SERVING"), await ProbeAsync(app, "shop"));
        Assert.Equal((FailureClass.Status, "gRPC health: NOT_SERVING"), await ProbeAsync(app, "till"));
        Assert.Equal((FailureClass.Status, "gRPC health: unknown service"), await ProbeAsync(app, "gone"));
    }

    [Fact]
    public async Task A_server_without_the_health_service_says_so()
    {
        await using var app = await StartAsync(health: null);
        Assert.Equal((FailureClass.Status, "gRPC health: the endpoint does not implement it"), await ProbeAsync(app, ""));
    }

    [Fact]
    public async Task A_server_that_knows_no_gRPC_is_told_apart()
    {
        await using var backend = await TestBackend.StartAsync("b", HttpProtocols.Http2);
        Assert.Equal((FailureClass.Protocol, "asked in gRPC, the endpoint answered in plain HTTP"), await ProbeAsync(backend.Port, ""));
        backend.Status = 404;
        Assert.Equal((FailureClass.Status, "HTTP 404"), await ProbeAsync(backend.Port, ""));
    }

    [Fact]
    public async Task Health_that_hangs_is_a_timeout()
    {
        await using var backend = await TestBackend.StartAsync("b", HttpProtocols.Http2);
        backend.Delay = TimeSpan.FromMinutes(1);
        Assert.Equal((FailureClass.Timeout, "no answer in time"), await ProbeAsync(backend.Port, "", TimeSpan.FromMilliseconds(300)));
    }

    private static Task<(FailureClass, string)> ProbeAsync(WebApplication app, string service) =>
        ProbeAsync(new Uri(app.Urls.Single()).Port, service);

    private static async Task<(FailureClass, string)> ProbeAsync(int port, string service, TimeSpan? timeout = null)
    {
        var check = new HealthCheckSpec
        {
            Grpc = new GrpcCheckSpec { Service = service },
            Timeout = timeout ?? TimeSpan.FromSeconds(2),
        };
        var result = await ProbeLab.ProbeOnceAsync(
            ProbeLab.Upstream(check, ProbeLab.Loopback(port)) with
            {
                Protocol = UpstreamProtocol.Grpc,
            }
        );
        return (result.Class, result.Text);
    }

    private static async Task<WebApplication> StartAsync(HealthServiceImpl? health)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
            kestrel.Listen(IPAddress.Loopback, 0, listen => listen.Protocols = HttpProtocols.Http2)
        );
        builder.Services.AddGrpc();
        if (health is not null)
        {
            builder.Services.AddSingleton(health);
        }
        var app = builder.Build();
        if (health is not null)
        {
            app.MapGrpcService<HealthServiceImpl>();
        }
        else
        {
            app.MapGrpcService<EmptyService>();
        }
        await app.StartAsync();
        return app;
    }

    /// <summary>gRPC without any health.</summary>
    private sealed class EmptyService : Grpc.Reflection.V1Alpha.ServerReflection.ServerReflectionBase;
}
