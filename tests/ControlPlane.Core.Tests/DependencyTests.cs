using System.Reflection;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources;

namespace ControlPlane.Core.Tests;

/// <summary>A project exists only to keep a dependency out: what each may see.</summary>
public sealed class DependencyTests
{
    private static readonly string[] Outside =
    [
        "Microsoft.AspNetCore",
        "Microsoft.Extensions",
        "Npgsql",
        "Microsoft.Data.Sqlite",
        "Grpc.AspNetCore",
        "OpenTelemetry",
    ];

    [Fact]
    public void Resources_sees_nothing_of_ours_nor_of_Envoy_nor_of_the_outside()
    {
        var references = ReferencesOf(typeof(Manifest).Assembly);
        Assert.DoesNotContain(references, r => r.StartsWith("ControlPlane.", StringComparison.Ordinal));
        Assert.DoesNotContain(
            references,
            r => r.StartsWith("Envoy.", StringComparison.Ordinal) || r.StartsWith("Google.", StringComparison.Ordinal)
        );
        Assert.DoesNotContain(references, IsOutside);
    }

    [Fact]
    public void Core_sees_Resources_and_the_Envoy_API_and_no_web_server_database_or_logger()
    {
        var references = ReferencesOf(typeof(MessagePipeline).Assembly);
        Assert.Equal(["ControlPlane.Resources"], references.Where(r => r.StartsWith("ControlPlane.", StringComparison.Ordinal)));
        Assert.DoesNotContain(references, IsOutside);
    }

    [Fact]
    public void Core_does_no_input_or_output()
    {
        // The assemblies behind files, sockets, HTTP and processes; a pure library needs none of them.
        string[] io =
        [
            "System.IO.FileSystem",
            "System.Net.Sockets",
            "System.Net.Http",
            "System.Diagnostics.Process",
            "System.Net.NameResolution",
        ];
        Assert.DoesNotContain(ReferencesOf(typeof(MessagePipeline).Assembly), io.Contains);
    }

    /// <summary>Envoy's names are the protobuf types: a namespace of ours that ended in one would hide it.</summary>
    [Fact]
    public void No_namespace_of_ours_ends_in_a_name_of_Envoy()
    {
        string[] taken =
        [
            "Cluster",
            "Listener",
            "Route",
            "RouteConfiguration",
            "Endpoint",
            "Secret",
            "Node",
            "Envoy",
            "Status",
            "Validate",
        ];
        var namespaces = new[] { typeof(Manifest).Assembly, typeof(MessagePipeline).Assembly }
            .SelectMany(a => a.GetTypes())
            .Select(t => t.Namespace ?? "")
            .Distinct();
        Assert.DoesNotContain(namespaces, n => taken.Contains(n[(n.LastIndexOf('.') + 1)..]));
    }

    private static bool IsOutside(string reference) => Outside.Any(o => reference.StartsWith(o, StringComparison.Ordinal));

    private static List<string> ReferencesOf(Assembly assembly) => [.. assembly.GetReferencedAssemblies().Select(a => a.Name!).Order()];
}
