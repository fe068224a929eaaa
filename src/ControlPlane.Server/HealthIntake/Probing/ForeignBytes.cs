using System.Buffers.Binary;
using System.Text;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>Says what a peer speaks that answers in another protocol than it was asked in, from its first bytes.</summary>
internal static class ForeignBytes
{
    private const byte TlsAlert = 0x15;
    private const byte TlsHandshake = 0x16;
    private const byte Http2Settings = 4;
    private const byte Http2GoAway = 7;
    private const int FrameHead = 9;
    private const int LongestExcerpt = 40;

    /// <summary>What the bytes are, as the end of a sentence that begins with "asked in X, the endpoint".</summary>
    public static string Describe(ReadOnlySpan<byte> bytes) =>
        bytes switch
        {
            [] => "closed the connection",
            [TlsAlert or TlsHandshake, 3, ..] => "answered in TLS",
            _ when IsHttp2(bytes) => bytes[3] == Http2GoAway ? "refused HTTP/2" : "answered in HTTP/2",
            _ => $"answered '{Excerpt(bytes)}'",
        };

    /// <summary>
    /// What a server complains about that knows enough HTTP/1.1 to say so: nginx, Apache and Go of plaintext on their TLS ports, Kestrel of HTTP/1.1 where it speaks HTTP/2 alone.
    /// </summary>
    /// <param name="body">How the body of its 400 begins.</param>
    /// <returns>Null if it complains about something else.</returns>
    public static string? Complaint(ReadOnlySpan<byte> body) =>
        body.IndexOf("HTTPS"u8) >= 0 || body.IndexOf("SSL-enabled"u8) >= 0 ? "asked in plaintext, the endpoint wants TLS (HTTP 400)"
        : body.IndexOf("HTTP/2 only"u8) >= 0 ? "asked in HTTP/1.1, the endpoint speaks HTTP/2 only (HTTP 400)"
        : null;

    private static bool IsHttp2(ReadOnlySpan<byte> bytes) =>
        bytes.Length >= FrameHead
        && bytes[0] == 0
        && bytes[3] is Http2Settings or Http2GoAway
        && BinaryPrimitives.ReadInt32BigEndian(bytes[5..]) == 0;

    private static string Excerpt(ReadOnlySpan<byte> bytes)
    {
        var text = new StringBuilder();
        foreach (var b in bytes[..Math.Min(bytes.Length, LongestExcerpt)])
        {
            if (b is (byte)'\r' or (byte)'\n')
            {
                break;
            }
            text.Append(b is >= 0x20 and < 0x7f and not (byte)'\'' ? (char)b : '.');
        }
        return text.ToString();
    }
}
