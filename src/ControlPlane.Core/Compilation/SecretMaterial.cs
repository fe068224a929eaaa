using System.Collections.Immutable;
using System.Text;
using ControlPlane.Resources.Secrets;

namespace ControlPlane.Core.Compilation;

/// <summary>The values of a secret's sources, read by whoever may do I/O. Prints nothing of them.</summary>
/// <param name="values">What files and environment variables hold; inline values need not be among them.</param>
public sealed class SecretMaterial(ImmutableDictionary<SecretSource, ReadOnlyMemory<byte>> values)
{
    /// <summary>Enough for secrets whose values are all inline.</summary>
    public static readonly SecretMaterial InlineOnly = new(ImmutableDictionary<SecretSource, ReadOnlyMemory<byte>>.Empty);

    /// <summary>The value of a source.</summary>
    /// <exception cref="KeyNotFoundException">The source was not read: a mistake of the caller.</exception>
    public ReadOnlyMemory<byte> this[SecretSource source] =>
        source.Inline is { } text ? Encoding.UTF8.GetBytes(text)
        : values.TryGetValue(source, out var value) ? value
        : throw new KeyNotFoundException($"The secret's source was not read: {source}");
}
