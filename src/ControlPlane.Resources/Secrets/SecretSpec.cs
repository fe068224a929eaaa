using System.Collections.Immutable;
using System.Text;
using System.Text.Json.Nodes;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Secrets;

/// <summary>
/// A certificate with its key, a set of CAs, or other bytes that proxies need and nobody else may see. Compiles to one Secret of the object's name, served by SDS
/// only to proxies that hold an object which refers to it. Exactly one of the four contents is given.
/// </summary>
public sealed record SecretSpec : ResourceSpec, INodeScoped
{
    /// <summary>Names of the node groups that may get this secret; empty means every proxy that refers to it.</summary>
    public ImmutableArray<string> NodeGroups { get; init; } = [];

    /// <summary>A certificate and its key, for listeners and for clients of upstreams. <c>TlsCertificate</c>.</summary>
    public CertificateSpec? Certificate { get; init; }

    /// <summary>What certificates of the other side are verified against. <c>CertificateValidationContext</c>.</summary>
    public ValidationContextSpec? ValidationContext { get; init; }

    /// <summary>Keys that encrypt TLS session tickets, 80 bytes each: the first encrypts, all decrypt. <c>TlsSessionTicketKeys</c>.</summary>
    public ImmutableArray<SecretSource> SessionTicketKeys { get; init; } = [];

    /// <summary>Any bytes, for filters that take a secret. <c>GenericSecret</c>.</summary>
    public SecretSource? Generic { get; init; }

    /// <summary>Raw fields of the Secret in proto-JSON, merged last. Never shown, since they could hold a key.</summary>
    [Sensitive]
    public JsonObject? Envoy { get; init; }

    /// <inheritdoc/>
    public override IEnumerable<SpecReference> References() =>
        NodeGroups.Select((group, i) => new SpecReference($"/spec/nodeGroups/{i}", new ResourceKey(ResourceKind.NodeGroup, group)));

    /// <summary>Which of the contents this is; null if none or several are given.</summary>
    public SecretContent? Content() =>
        (Certificate, ValidationContext, SessionTicketKeys.IsEmpty, Generic) switch
        {
            ({ }, null, true, null) => SecretContent.Certificate,
            (null, { }, true, null) => SecretContent.ValidationContext,
            (null, null, false, null) => SecretContent.SessionTicketKeys,
            (null, null, true, { }) => SecretContent.Generic,
            _ => null,
        };

    /// <summary>Every value that the secret is made of, with the place where it stands.</summary>
    public IEnumerable<PlacedSecretSource> Sources()
    {
        if (Certificate is { } certificate)
        {
            yield return new("/spec/certificate/chain", certificate.Chain);
            yield return new("/spec/certificate/privateKey", certificate.PrivateKey);
            if (certificate.Password is { } password)
            {
                yield return new("/spec/certificate/password", password);
            }
            if (certificate.OcspStaple is { } staple)
            {
                yield return new("/spec/certificate/ocspStaple", staple);
            }
        }
        if (ValidationContext is { } context)
        {
            yield return new("/spec/validationContext/ca", context.Ca);
            if (context.Crl is { } crl)
            {
                yield return new("/spec/validationContext/crl", crl);
            }
        }
        for (var i = 0; i < SessionTicketKeys.Length; i++)
        {
            yield return new($"/spec/sessionTicketKeys/{i}", SessionTicketKeys[i]);
        }
        if (Generic is { } generic)
        {
            yield return new("/spec/generic", generic);
        }
    }
}

/// <summary>What a secret holds. Who refers to a secret expects one of these: Envoy silently ignores a certificate where a CA is meant.</summary>
public enum SecretContent
{
    /// <summary>A certificate and its key.</summary>
    Certificate,

    /// <summary>CAs to verify against.</summary>
    ValidationContext,

    /// <summary>Session ticket keys.</summary>
    SessionTicketKeys,

    /// <summary>Any bytes.</summary>
    Generic,
}

/// <summary>Compares what a secret holds with what it is named for.</summary>
public static class SecretContents
{
    /// <summary>Says that a secret holds something else than what is needed where it is named; null if it does not.</summary>
    /// <param name="pointer">Where it is named.</param>
    /// <param name="secret">The object that makes the secret.</param>
    /// <param name="needed">What is needed there.</param>
    /// <param name="held">What the secret holds; null is nothing.</param>
    public static ValidationProblem? Misfit(string pointer, ResourceKey secret, SecretContent needed, SecretContent? held) =>
        held == needed
            ? null
            : new ValidationProblem(
                pointer,
                "secret-of-another-kind",
                $"{secret} holds {Words(held)}, and here {Words(needed)} is needed. Name a secret that holds that."
            );

    private static string Words(SecretContent? content) =>
        content switch
        {
            SecretContent.Certificate => "a certificate with its key ('certificate')",
            SecretContent.ValidationContext => "a set of CAs ('validationContext')",
            SecretContent.SessionTicketKeys => "a set of session ticket keys ('sessionTicketKeys')",
            SecretContent.Generic => "a generic value ('generic')",
            _ => "nothing",
        };
}

/// <summary>A certificate and its key, in PEM.</summary>
public sealed record CertificateSpec
{
    /// <summary>The certificate, followed by the intermediate ones.</summary>
    public required SecretSource Chain { get; init; }

    /// <summary>The private key of the first certificate: RSA from 2048 bits, or ECDSA on P-256, P-384 or P-521.</summary>
    public required SecretSource PrivateKey { get; init; }

    /// <summary>The password of an encrypted key.</summary>
    public SecretSource? Password { get; init; }

    /// <summary>A DER-encoded OCSP response to staple.</summary>
    public SecretSource? OcspStaple { get; init; }
}

/// <summary>What certificates of the other side are verified against.</summary>
public sealed record ValidationContextSpec
{
    /// <summary>One or more CA certificates in PEM.</summary>
    public required SecretSource Ca { get; init; }

    /// <summary>Certificate revocation lists in PEM. If there is one for any CA of a chain, Envoy demands one for every CA of it.</summary>
    public SecretSource? Crl { get; init; }
}

/// <summary>Where a value comes from; exactly one member is given.</summary>
public sealed record SecretSource
{
    /// <summary>A file below the server's secret directory, by its path from there. It is watched; a change is published.</summary>
    public string? File { get; init; }

    /// <summary>An environment variable of the server, whose name has the prefix that the server was given.</summary>
    public string? Env { get; init; }

    /// <summary>The value itself, as text. It is kept in the store in the clear.</summary>
    [Sensitive]
    public string? Inline { get; init; }

    // Records print their members; this one must never print the value.
    private bool PrintMembers(StringBuilder builder)
    {
        builder.Append(
            File is not null ? $"File = {File}"
            : Env is not null ? $"Env = {Env}"
            : "Inline"
        );
        return true;
    }
}

/// <summary>A value's source and the place where it stands.</summary>
/// <param name="Pointer">JSON pointer from the manifest's root.</param>
/// <param name="Source">The source.</param>
public readonly record struct PlacedSecretSource(string Pointer, SecretSource Source);
