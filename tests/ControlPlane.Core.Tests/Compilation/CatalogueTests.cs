using System.Text;
using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;
using Google.Protobuf;

namespace ControlPlane.Core.Tests.Compilation;

public sealed class CatalogueTests
{
    public static TheoryData<string> Names => [.. Catalogue.Rows.Select(r => $"{r.Kind}: {r.Name}")];

    [Theory]
    [MemberData(nameof(Names))]
    public void What_Envoy_refuses_is_refused_in_a_raw_resource_with_its_place(string name)
    {
        var row = Find(name);
        var (spec, document) = Read(row);
        var problems = new ProblemCollector();
        EnvoyResourceCompiler.Compile(spec, problems);
        AssertSaid(row, problems.Problems, "/spec/resource");
        Assert.All(problems.Problems, p => Assert.True(document.Locate(p).Line > 0));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void The_same_holds_for_bytes(string name)
    {
        var row = Find(name);
        var (spec, _) = Read(row);
        var message = Message(row, spec);
        if (message is null)
        {
            return;
        }

        var problems = new ProblemCollector();
        var raw = new EnvoyResourceSpec
        {
            TypeUrl = EnvoyTypes.UrlPrefix + Catalogue.Types[row.Kind],
            ValueBase64 = message.ToByteString().ToBase64(),
        };
        EnvoyResourceCompiler.Compile(raw, problems);
        AssertSaid(row, problems.Problems, "/spec/valueBase64");
    }

    [Fact]
    public void The_same_holds_for_an_overlay()
    {
        var tried = 0;
        foreach (var row in Catalogue.Rows.Where(r => r.Kind is "listener" or "routes" && r.Code is not "empty-name"))
        {
            var (spec, _) = Read(row);
            var overlay = spec.Resource!.DeepClone().AsObject();
            overlay.Remove("@type");
            overlay.Remove("name");
            var type = row.Kind == "listener" ? ResourceType.Listener : ResourceType.Route;
            IMessage message =
                row.Kind == "listener"
                    ? new Envoy.Config.Listener.V3.Listener { Name = "x" }
                    : new Envoy.Config.Route.V3.RouteConfiguration { Name = "r" };
            var problems = new ProblemCollector();
            MessagePipeline.Complete(type, "x", message, overlay, problems);
            if (row.Code is null)
            {
                Assert.Empty(problems.Problems);
            }
            else
            {
                Assert.Contains(problems.Problems, p => p.Code == row.Code.TrimStart('!'));
            }

            tried++;
        }

        Assert.True(tried > 150);
    }

    [Fact]
    public void No_message_holds_a_key_or_a_password() =>
        Assert.All(
            Catalogue.Rows.Where(r => r.Body.Contains("KEY»", StringComparison.Ordinal)),
            row =>
            {
                var problems = new ProblemCollector();
                EnvoyResourceCompiler.Compile(Read(row).Spec, problems);
                Assert.All(
                    problems.Problems,
                    p =>
                    {
                        Assert.DoesNotContain("MII", p.Message, StringComparison.Ordinal);
                        Assert.DoesNotContain("opensesame", p.Message, StringComparison.Ordinal);
                    }
                );
            }
        );

    private static void AssertSaid(CatalogueRow row, IReadOnlyList<ValidationProblem> problems, string root)
    {
        if (row.Code is null)
        {
            Assert.Empty(problems);
            return;
        }

        var severity = row.Code[0] == '!' ? ProblemSeverity.Warning : ProblemSeverity.Error;
        var code = row.Code.TrimStart('!');
        Assert.Contains(
            problems,
            p => p.Code == code && p.Severity == severity && p.Pointer.StartsWith(root + row.Pointer, StringComparison.Ordinal)
        );
        if (severity == ProblemSeverity.Warning)
        {
            Assert.DoesNotContain(problems, p => p.Severity == ProblemSeverity.Error);
        }
    }

    private static IMessage? Message(CatalogueRow row, EnvoyResourceSpec spec)
    {
        var message = EnvoyTypes.FindByName(Catalogue.Types[row.Kind])!.Parser.ParseFrom(ByteString.Empty);
        var problems = new ProblemCollector();
        ProtoJsonReader.Read(spec.Resource!, message, "", problems);
        // A type that is not known here is only a warning of the reader, and a TypedStruct in bytes.
        return problems.Problems.Count > 0 ? null : message;
    }

    private static (EnvoyResourceSpec Spec, ManifestDocument Document) Read(CatalogueRow row)
    {
        var yaml = $$"""
            apiVersion: controlplane/v1
            kind: EnvoyResource
            metadata: {name: row}
            spec: { resource: { '@type': type.googleapis.com/{{Catalogue.Types[row.Kind]}}, {{Catalogue.BodyOf(row)}} } }
            """;
        var document = Assert.Single(ManifestReader.Read(Encoding.UTF8.GetBytes(yaml)).Documents);
        Assert.Empty(document.Problems);
        return ((EnvoyResourceSpec)document.Manifest!.Spec, document);
    }

    private static CatalogueRow Find(string name) => Catalogue.Rows.Single(r => $"{r.Kind}: {r.Name}" == name);
}
