using System.Formats.Asn1;
using System.Numerics;
using System.Security.Cryptography.X509Certificates;

namespace ControlPlane.Core.Compilation;

/// <summary>Looks into an OCSP response (RFC 6960) as far as Envoy does before it staples it.</summary>
internal static class OcspStaple
{
    /// <summary>Says why Envoy would refuse a certificate with this staple; null where it would not.</summary>
    /// <param name="der">The response, DER-encoded.</param>
    /// <param name="leaf">The certificate that it is stapled to; null where it is not known.</param>
    public static string? Explain(ReadOnlyMemory<byte> der, X509Certificate2? leaf)
    {
        try
        {
            var response = new AsnReader(der, AsnEncodingRules.DER).ReadSequence();
            if (response.ReadEnumeratedBytes().Span is not [0])
            {
                return "The OCSP response tells of a failure of the responder. Ask it again.";
            }

            var body = response.ReadSequence(ContextTag(0)).ReadSequence();
            body.ReadObjectIdentifier();
            var data = new AsnReader(body.ReadOctetString(), AsnEncodingRules.DER).ReadSequence().ReadSequence();
            // Version, the responder's name or key, and the time come first.
            var next = data.PeekTag();
            while (!next.HasSameClassAndValue(Asn1Tag.Sequence))
            {
                data.ReadEncodedValue();
                next = data.PeekTag();
            }

            var certificates = data.ReadSequence();
            var id = certificates.ReadSequence().ReadSequence();
            if (certificates.HasData)
            {
                return "The OCSP response is about several certificates. Ask for that of this one alone.";
            }

            id.ReadSequence();
            id.ReadOctetString();
            id.ReadOctetString();
            return leaf is null || id.ReadInteger() == new BigInteger(leaf.SerialNumberBytes.Span, isUnsigned: true, isBigEndian: true)
                ? null
                : "The OCSP response is about another certificate. Ask for that of this one.";
        }
        catch (AsnContentException)
        {
            return "This is no OCSP response in DER, as 'openssl ocsp -respout FILE' writes it.";
        }
    }

    private static Asn1Tag ContextTag(int value) => new(TagClass.ContextSpecific, value, isConstructed: true);
}
