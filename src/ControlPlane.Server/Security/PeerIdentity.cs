using System.Collections.Immutable;
using System.Formats.Asn1;
using System.Security.Cryptography.X509Certificates;
using ControlPlane.Core.Snapshots;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http.Features;

namespace ControlPlane.Server.Security;

/// <summary>
/// What the certificate of a proxy says about who it is: the DNS names and URIs in its subject alternative name (RFC 5280, 4.2.1.6). The common name counts for nothing.
/// </summary>
internal sealed class PeerIdentity
{
    private const string SubjectAlternativeName = "2.5.29.17";

    private PeerIdentity(bool isPinned, ImmutableArray<string> names)
    {
        IsPinned = isPinned;
        Names = names;
    }

    /// <summary>A peer of which nothing is known, on a listener without client certificates. It may be any node.</summary>
    public static PeerIdentity Unknown { get; } = new(false, []);

    /// <summary>Whether the peer showed a certificate, and so can be one node or cluster only.</summary>
    public bool IsPinned { get; }

    /// <summary>DNS names and URIs of the certificate.</summary>
    public ImmutableArray<string> Names { get; }

    /// <summary>The peer of a connection. Work is done once per connection.</summary>
    public static PeerIdentity Of(HttpContext http)
    {
        var tls = http.Features.Get<ITlsConnectionFeature>();
        if (tls?.ClientCertificate is not { } certificate)
        {
            return Unknown;
        }

        var items = http.Features.Get<IConnectionItemsFeature>()?.Items;
        if (items is not null && items.TryGetValue(typeof(PeerIdentity), out var known))
        {
            return (PeerIdentity)known!;
        }

        var peer = Of(certificate);
        items?.TryAdd(typeof(PeerIdentity), peer);
        return peer;
    }

    /// <summary>The peer that shows a certificate.</summary>
    public static PeerIdentity Of(X509Certificate2 certificate)
    {
        var names = ImmutableArray.CreateBuilder<string>();
        if (certificate.Extensions[SubjectAlternativeName] is { } extension)
        {
            var sequence = new AsnReader(extension.RawData, AsnEncodingRules.DER).ReadSequence();
            var dnsName = new Asn1Tag(TagClass.ContextSpecific, 2);
            var uri = new Asn1Tag(TagClass.ContextSpecific, 6);
            while (sequence.HasData)
            {
                var tag = sequence.PeekTag();
                if (tag == dnsName || tag == uri)
                {
                    names.Add(sequence.ReadCharacterString(UniversalTagNumber.IA5String, tag));
                }
                else
                {
                    sequence.ReadEncodedValue();
                }
            }
        }

        return new PeerIdentity(true, names.ToImmutable());
    }

    /// <summary>Says why the peer is not the node that it says it is; null if it may be.</summary>
    public string? Refuse(NodeIdentity node)
    {
        if (!IsPinned || Names.Contains(node.Id) || (node.Cluster.Length > 0 && Names.Contains(node.Cluster)))
        {
            return null;
        }

        var shown = Names.IsEmpty ? "no DNS name and no URI" : string.Join(", ", Names.Take(5));
        return $"The client certificate names {shown}, but the node says id '{node.Id}' and cluster '{node.Cluster}'. One of its subject alternative names must be the node's id or its cluster.";
    }
}
