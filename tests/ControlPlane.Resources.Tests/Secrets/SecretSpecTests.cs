using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Tests.Secrets;

public sealed class SecretSpecTests
{
    [Theory]
    [InlineData("{}", "/spec", "missing-alternative")]
    [InlineData("generic: { inline: a }\nvalidationContext: { ca: { inline: a } }", "/spec", "too-many-alternatives")]
    [InlineData("generic: {}", "/spec/generic", "missing-alternative")]
    [InlineData("generic: { inline: a, file: b }", "/spec/generic", "too-many-alternatives")]
    [InlineData("generic: { env: '' }", "/spec/generic/env", "empty-text")]
    [InlineData("generic: { env: A=B }", "/spec/generic/env", "invalid-variable-name")]
    [InlineData("certificate: { chain: { file: a }, privateKey: {} }", "/spec/certificate/privateKey", "missing-alternative")]
    [InlineData("sessionTicketKeys: [{ file: a }, {}]", "/spec/sessionTicketKeys/1", "missing-alternative")]
    public void A_fault_is_refused_where_it_stands(string yaml, string pointer, string code) =>
        SpecText.HasProblem(ResourceKind.Secret, yaml == "{}" ? "nodeGroups: []" : yaml, pointer, code, ProblemSeverity.Error);

    [Theory]
    [InlineData("certificate: { chain: { file: a }, privateKey: { env: B } }", SecretContent.Certificate)]
    [InlineData("validationContext: { ca: { file: a }, crl: { file: b } }", SecretContent.ValidationContext)]
    [InlineData("sessionTicketKeys: [{ file: a }]", SecretContent.SessionTicketKeys)]
    [InlineData("generic: { inline: a }", SecretContent.Generic)]
    public void A_secret_knows_what_it_holds(string yaml, SecretContent content) =>
        Assert.Equal(content, SpecText.Good<SecretSpec>(ResourceKind.Secret, yaml).Content());

    [Fact]
    public void A_secret_lists_every_value_that_must_be_read()
    {
        var spec = SpecText.Good<SecretSpec>(
            ResourceKind.Secret,
            "certificate: { chain: { file: a }, privateKey: { file: b }, password: { env: C }, ocspStaple: { file: d } }"
        );
        Assert.Equal(
            ["/spec/certificate/chain", "/spec/certificate/privateKey", "/spec/certificate/password", "/spec/certificate/ocspStaple"],
            spec.Sources().Select(s => s.Pointer)
        );
    }

    [Fact]
    public void Inline_values_and_overlays_are_in_the_store_and_in_no_view()
    {
        var spec = SpecText.Good<SecretSpec>(ResourceKind.Secret, "generic: { inline: hunter2 }\nenvoy: { note: hunter3 }");
        Assert.Contains("hunter2", CanonicalForm.Write(spec), StringComparison.Ordinal);
        var view = CanonicalForm.Write(spec, redact: true);
        Assert.DoesNotContain("hunter2", view, StringComparison.Ordinal);
        Assert.DoesNotContain("hunter3", view, StringComparison.Ordinal);
    }

    [Fact]
    public void The_mark_of_a_view_is_not_taken_for_the_value() =>
        Assert.Contains(
            SpecText.ProblemsOf(ResourceKind.Secret, $"generic: {{ inline: '{CanonicalForm.Redacted}' }}"),
            p => p.Code == "redacted-value"
        );
}
