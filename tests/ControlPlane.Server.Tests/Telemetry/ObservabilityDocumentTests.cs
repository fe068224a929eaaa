using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using ControlPlane.Server.Storage;
using ControlPlane.Server.Telemetry;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;

namespace ControlPlane.Server.Tests.Telemetry;

public sealed partial class ObservabilityDocumentTests
{
    [Fact]
    public async Task The_document_lists_every_metric_of_the_server_with_its_type_and_unit_and_no_other()
    {
        var folder = Directory.CreateTempSubdirectory("controlplane-document-");
        try
        {
            await using var app = ControlPlaneServer.Build(new ServerOptions { DataDir = folder.FullName });
            var found = new SortedSet<string>(StringComparer.Ordinal);
            using var listener = new MeterListener();
            var factory = app.Services.GetRequiredService<IMeterFactory>();
            listener.InstrumentPublished = (instrument, _) =>
            {
                if (
                    ReferenceEquals(instrument.Meter.Scope, factory)
                    && instrument.Meter.Name.StartsWith("ControlPlane.", StringComparison.Ordinal)
                )
                {
                    found.Add($"{instrument.Name} | {TypeOf(instrument)} | {instrument.Unit ?? "–"}");
                }
            };
            listener.Start();
            foreach (
                var type in typeof(TelemetryExtensions).Assembly.GetTypes().Where(t => t.Name.EndsWith("Metrics", StringComparison.Ordinal))
            )
            {
                Assert.NotNull(app.Services.GetRequiredService(type));
            }

            var documented = MetricRow()
                .Matches(await File.ReadAllTextAsync(DocumentPath()))
                .Select(m => $"{m.Groups["name"]} | {m.Groups["type"]} | {m.Groups["unit"]}");
            Assert.Equal(found, documented.Order(StringComparer.Ordinal));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static string TypeOf(Instrument instrument) =>
        instrument.GetType().Name switch
        {
            "Counter`1" => "counter",
            "UpDownCounter`1" => "up-down counter",
            "ObservableCounter`1" => "counter",
            "Histogram`1" => "histogram",
            "ObservableGauge`1" or "Gauge`1" => "gauge",
            var other => other,
        };

    private static string DocumentPath([CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, "../../../docs/observability.md");

    [GeneratedRegex(
        @"^\| `(?<name>[a-z._]+)` \| (?<type>[^|]+) \| (?<unit>[^|]+) \|",
        RegexOptions.Multiline,
        matchTimeoutMilliseconds: 1000
    )]
    private static partial Regex MetricRow();
}
