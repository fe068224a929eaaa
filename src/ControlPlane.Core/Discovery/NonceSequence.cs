using System.Globalization;

namespace ControlPlane.Core.Discovery;

/// <summary>
/// Gives each response its nonce. One sequence may serve every stream of a process: a nonce need only be unique on its stream (V-02), and one that a
/// client brings from elsewhere is then seldom one of its own.
/// </summary>
public sealed class NonceSequence
{
    private long _last;

    internal long Next() => Interlocked.Increment(ref _last);

    /// <summary>Reads a nonce as a client sent it; null for what this server cannot have written.</summary>
    internal static long? Parse(string nonce) =>
        long.TryParse(nonce, NumberStyles.None, CultureInfo.InvariantCulture, out var value) && nonce[0] != '0' ? value : null;
}
