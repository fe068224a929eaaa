using ControlPlane.Core.Compilation;
using ControlPlane.Resources;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.Publishing;
using ControlPlane.Server.Tests.Security;

namespace ControlPlane.Server.Tests.Publishing;

public sealed class SecretReferenceTests
{
    private static readonly StatePair Nothing = new(DesiredState.Empty, CompiledState.Empty);
    private static readonly SecretSpec Generic = new() { Generic = new SecretSource { Inline = "value" } };

    private static readonly UpstreamSpec Upstream = new()
    {
        Endpoints = new EndpointsSpec { Source = EndpointSource.Registration },
        Tls = new UpstreamTlsSpec { Sni = "a.example.com", CaSecret = "internal-ca" },
    };

    [Fact]
    public void A_secret_that_holds_no_CAs_is_not_taken_for_one()
    {
        var invalid = Assert.IsType<ChangeInvalid>(
            Plan(Nothing, (ResourceKind.Upstream, "cart", Upstream), (ResourceKind.Secret, "internal-ca", Generic)).Outcome
        );
        var problem = Assert.Single(invalid.Problems);
        Assert.Equal((0, "/spec/tls/caSecret", "secret-of-another-kind"), (problem.Index, problem.Problem.Pointer, problem.Problem.Code));
    }

    [Fact]
    public void A_secret_in_use_cannot_become_of_another_kind()
    {
        using var certificates = new TestCertificates();
        var authorities = new SecretSpec
        {
            ValidationContext = new ValidationContextSpec { Ca = new SecretSource { Inline = certificates.AuthorityPem } },
        };
        var before = Plan(Nothing, (ResourceKind.Upstream, "cart", Upstream), (ResourceKind.Secret, "internal-ca", authorities));
        Assert.IsType<ChangeApplied>(before.Outcome);

        var invalid = Assert.IsType<ChangeInvalid>(Plan(before.After, (ResourceKind.Secret, "internal-ca", Generic)).Outcome);
        var problem = Assert.Single(invalid.Problems);
        Assert.Equal("secret-of-another-kind", problem.Problem.Code);
        Assert.Contains("Upstream/cart", problem.Problem.Message, StringComparison.Ordinal);
    }

    private static ChangePlan Plan(StatePair before, params (ResourceKind Kind, string Name, ResourceSpec Spec)[] objects) =>
        ChangePlan.Make(
            new ChangeRequest
            {
                Author = "alice",
                Changes =
                [
                    .. objects.Select(o => new ObjectChange(
                        new ResourceKey(o.Kind, o.Name),
                        new Manifest(o.Kind, new ResourceMetadata { Name = o.Name }, o.Spec)
                    )),
                ],
            },
            before,
            new CompilationInputs(DateTimeOffset.UnixEpoch, _ => SecretMaterial.InlineOnly),
            []
        );
}
