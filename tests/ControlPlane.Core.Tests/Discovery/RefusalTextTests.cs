using ControlPlane.Core.Discovery;

namespace ControlPlane.Core.Tests.Discovery;

public sealed class RefusalTextTests
{
    [Fact]
    [Trait("Rule", "P-02")]
    public void P02_what_comes_before_the_broken_constraint_is_cut_away_with_the_private_key_in_it()
    {
        const string Raw =
            "goo.gle/debugstr  \t name: \"s1\" tls_certificate { private_key { inline_string: \"-----BEGIN PRIVATE KEY-----MIIEvQ\" } } "
            + "Proto constraint validation failed (SecretValidationError.TlsCertificate: embedded message failed validation)";
        Assert.Equal(
            "Proto constraint validation failed (SecretValidationError.TlsCertificate: embedded message failed validation)",
            RefusalText.Redact(Raw)
        );
    }

    [Theory]
    [InlineData("Error adding/updating cluster(s) a: goo.gle/debugonly  \t bad", "Error adding/updating cluster(s) a: bad")]
    [InlineData("goo.gle/debugproto bad", "bad")]
    public void The_marker_before_a_dump_is_no_word_of_the_refusal(string raw, string text) => Assert.Equal(text, RefusalText.Redact(raw));

    [Theory]
    [Trait("Rule", "P-02")]
    [InlineData("bad -----BEGIN RSA PRIVATE KEY-----\nTOPSECRET\n-----END RSA PRIVATE KEY----- end")]
    [InlineData("Unable to unpack: inline_string: \"TOPSECRET\" next")]
    [InlineData("private_key { inline_bytes: \"TOPSECRET\\\"TOPSECRET\" }")]
    [InlineData("{\"password\": \"TOPSECRET\"}")]
    [InlineData("-----BEGIN PRIVATE KEY-----TOPSECRET")]
    public void P02_secrets_elsewhere_in_a_text_are_cut_out(string raw)
    {
        Assert.DoesNotContain("TOPSECRET", RefusalText.Redact(raw), StringComparison.Ordinal);
    }

    [Fact]
    public void A_text_is_bounded_and_without_control_characters()
    {
        var text = RefusalText.Redact("a\r\n\u001b[31m" + new string('x', 1_000_000));
        Assert.Equal(RefusalText.MaxLength, text.Length);
        Assert.DoesNotContain(text, char.IsControl);
    }

    [Theory]
    [InlineData("Error adding/updating cluster(s) a: bad, b: worse", "a,b")]
    [InlineData("Error adding/updating listener(s) c: cannot bind", "c")]
    [InlineData("Duplicate entry of domain x.com in route b", "b")]
    [InlineData("Duplicate entry of domain x.com in route bee", "")]
    [InlineData("Only a single wildcard domain is permitted", "")]
    [InlineData("name: \"a\" Proto constraint validation failed", "a")]
    [InlineData("name: \"a\" virtual_hosts { name: \"b\" } Proto constraint validation failed", "")]
    public void The_resources_that_a_text_blames_are_found(string text, string names)
    {
        Assert.Equal(names, string.Join(',', RefusalText.NamesIn(text, ["a", "b", "c"])));
    }
}
