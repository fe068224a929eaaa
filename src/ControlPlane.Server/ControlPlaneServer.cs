using System.Net.Sockets;
using ControlPlane.Server.Admin;
using ControlPlane.Server.Demo;
using ControlPlane.Server.Discovery;
using ControlPlane.Server.Health;
using ControlPlane.Server.HealthIntake.DnsResolution;
using ControlPlane.Server.HealthIntake.LoadReporting;
using ControlPlane.Server.HealthIntake.Probing;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Security;
using ControlPlane.Server.Storage;
using ControlPlane.Server.Telemetry;

namespace ControlPlane.Server;

/// <summary>The one process, put together: a table of contents of its folders.</summary>
public static class ControlPlaneServer
{
    /// <summary>Runs a command line to its end.</summary>
    /// <returns>The process's exit code: 0 done, 1 failed, 2 the command line is wrong.</returns>
    public static async Task<int> RunAsync(string[] args)
    {
        switch (CommandLine.Parse(args, Environment.GetEnvironmentVariable))
        {
            case CommandLine.Print print:
                await Console.Out.WriteLineAsync(print.Text);
                return 0;
            case CommandLine.CreateToken create:
                var (token, line) = TokenFile.Create(create.Name, create.Role);
                await Console.Out.WriteLineAsync($"Token (shown this once): {token}\nLine for the token file:  {line}");
                return 0;
            case CommandLine.Backup backup:
                return await BackupCommand.BackupAsync(
                    backup.Options.EffectiveStore,
                    backup.File,
                    TimeProvider.System,
                    Console.Out,
                    Console.Error,
                    CancellationToken.None
                );
            case CommandLine.Restore restore:
                return await BackupCommand.RestoreAsync(
                    restore.Options.EffectiveStore,
                    restore.File,
                    TimeProvider.System,
                    Console.Out,
                    Console.Error,
                    CancellationToken.None
                );
            case CommandLine.Faulty faulty:
                foreach (var fault in faulty.Faults)
                {
                    await Console.Error.WriteLineAsync(fault);
                }

                await Console.Error.WriteLineAsync("See --help.");
                return 2;
            case CommandLine.Serve serve:
                return await ServeAsync(serve.Options);
            default:
                throw new InvalidOperationException("A command that nobody runs.");
        }
    }

    /// <summary>Builds the server without starting it. Tests add to the builder what they inject, for example a clock.</summary>
    /// <exception cref="StartupException">The options forbid a start.</exception>
    public static WebApplication Build(ServerOptions options, Action<WebApplicationBuilder>? configure = null)
    {
        // Only what the options say counts: no appsettings.json, no ASPNETCORE_URLS.
        var builder = WebApplication.CreateEmptyBuilder(
            new WebApplicationOptions { ApplicationName = typeof(ControlPlaneServer).Assembly.GetName().Name }
        );
        builder.Configuration.AddEnvironmentVariables();
        builder.WebHost.UseKestrelCore().UseKestrelHttpsConfiguration();
        builder.Services.AddRoutingCore();
        builder.Services.AddSingleton(options);
        builder.Services.AddSingleton(TimeProvider.System);
        builder.Logging.AddConsoleLog(options.EffectiveLogFormat);
        builder.AddSecurity(options);
        builder.Services.AddTelemetry(builder.Configuration);
        builder.Services.AddStorage(
            options.EffectiveStore,
            Path.Combine(options.DataDir, "last-good.jsonl"),
            new HistoryRetention { Age = TimeSpan.FromDays(options.HistoryDays), Revisions = options.HistoryRevisions }
        );
        builder.Services.AddHealth(options);
        builder.Services.AddProbing();
        builder.Services.AddNameResolution();
        builder.Services.AddPublishing(options);
        builder.Services.AddDiscovery();
        builder.Services.AddLoadReporting();
        builder.AddAdmin();
        if (options.Demo)
        {
            builder.Services.AddHostedService<DemoService>();
        }

        builder.Services.AddSingleton(_ => ServerLock.Take(options.DataDir, options.EffectiveStore));
        configure?.Invoke(builder);
        var app = builder.Build();
        // Made first, so that it is let go of last.
        app.Services.GetRequiredService<ServerLock>();
        app.UseAdmin();
        app.UseSecurity();
        app.MapAdmin();
        app.MapMetrics().RequireAuthorization(Access.Read).OnAdminListener();
        app.MapGroup("").OnXdsListener().MapDiscovery().MapLoadReporting();
        app.MapHealthPeers();
        return app;
    }

    private static async Task<int> ServeAsync(ServerOptions given)
    {
        using var folder = DemoFolder.For(given);
        var options = folder.Options;
        // Asked before anything starts, so that this is all there is to read.
        if (Listeners.WhyNot(options) is { } taken)
        {
            await Console.Error.WriteLineAsync(taken);
            return 1;
        }

        try
        {
            await using var app = Build(options, builder => builder.Services.AddDiscoveryWarmUp());
            if (!options.Demo)
            {
                app.Lifetime.ApplicationStarted.Register(() => FirstSteps.Say(options, FirstSteps.Text(options)));
            }

            await app.RunAsync();
            return 0;
        }
        catch (StartupException e)
        {
            await Console.Error.WriteLineAsync(e.Message);
            return 2;
        }
        catch (OperationCanceledException)
        {
            // Told to stop while it was starting.
            return 0;
        }
        catch (Exception e) when (e is IOException or SocketException && Listeners.WhyNot(options) is { } lost)
        {
            // Taken since.
            await Console.Error.WriteLineAsync(lost);
            return 1;
        }
    }
}
