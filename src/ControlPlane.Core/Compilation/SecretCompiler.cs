using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Validation;
using Envoy.Config.Core.V3;
using Envoy.Extensions.TransportSockets.Tls.V3;
using Google.Protobuf;
using EnvoySecret = Envoy.Extensions.TransportSockets.Tls.V3.Secret;

namespace ControlPlane.Core.Compilation;

/// <summary>Turns a secret and its values into Envoy's Secret of the same name, with the values inside: proxies need none of the server's files.</summary>
public static class SecretCompiler
{
    /// <summary>Compiles a valid spec, once its values are found sound.</summary>
    /// <param name="name">The object's name, by which SDS asks for it.</param>
    /// <param name="spec">What the secret is made of.</param>
    /// <param name="material">The values of its sources.</param>
    /// <param name="now">The instant at which certificates must be valid.</param>
    /// <param name="problems">Takes what is wrong with the values, and what should be known of them.</param>
    /// <returns>Null if there is an error: a source cannot be read, or Envoy would refuse what it holds.</returns>
    public static EnvoySecret? Compile(string name, SecretSpec spec, SecretMaterial material, DateTimeOffset now, ProblemCollector problems)
    {
        if (!material.Problems.IsEmpty)
        {
            foreach (var problem in material.Problems)
            {
                problems.Add(problem);
            }
            return null;
        }
        SecretInspector.Inspect(spec, material, now, problems);
        return problems.HasErrors ? null : Message(name, spec, material);
    }

    private static EnvoySecret Message(string name, SecretSpec spec, SecretMaterial material)
    {
        var secret = new EnvoySecret { Name = name };
        if (spec.Certificate is { } certificate)
        {
            secret.TlsCertificate = new TlsCertificate
            {
                CertificateChain = Data(certificate.Chain, material),
                PrivateKey = Data(certificate.PrivateKey, material),
                Password = certificate.Password is { } password ? Password(password, material) : null,
                OcspStaple = certificate.OcspStaple is { } staple ? Data(staple, material) : null,
            };
        }
        else if (spec.ValidationContext is { } context)
        {
            secret.ValidationContext = new CertificateValidationContext
            {
                TrustedCa = Data(context.Ca, material),
                Crl = context.Crl is { } crl ? Data(crl, material) : null,
            };
        }
        else if (!spec.SessionTicketKeys.IsEmpty)
        {
            secret.SessionTicketKeys = new TlsSessionTicketKeys();
            secret.SessionTicketKeys.Keys.AddRange(spec.SessionTicketKeys.Select(key => Data(key, material)));
        }
        else if (spec.Generic is { } generic)
        {
            secret.GenericSecret = new GenericSecret { Secret = Data(generic, material) };
        }
        return secret;
    }

    private static DataSource Data(SecretSource source, SecretMaterial material) =>
        new() { InlineBytes = ByteString.CopyFrom(material[source].Span) };

    /// <summary>Files end in a line break, passwords do not.</summary>
    private static DataSource Password(SecretSource source, SecretMaterial material) =>
        new() { InlineBytes = ByteString.CopyFrom(material[source].Span.TrimEnd("\r\n"u8)) };
}
