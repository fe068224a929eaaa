using System.Collections.Immutable;
using System.Text;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Core.Compilation;

/// <summary>The values of a secret's sources, read by whoever may do I/O, and why some could not be read. Prints nothing of the values.</summary>
/// <param name="values">What files and environment variables hold; inline values need not be among them.</param>
/// <param name="problems">Sources that could not be read.</param>
public sealed class SecretMaterial(
    ImmutableDictionary<SecretSource, ReadOnlyMemory<byte>> values,
    ImmutableArray<ValidationProblem> problems
)
{
    /// <summary>Enough for secrets whose values are all inline.</summary>
    public static readonly SecretMaterial InlineOnly = new(ImmutableDictionary<SecretSource, ReadOnlyMemory<byte>>.Empty, []);

    /// <summary>Sources that could not be read.</summary>
    public ImmutableArray<ValidationProblem> Problems { get; } = problems;

    /// <summary>The value of a source.</summary>
    /// <exception cref="KeyNotFoundException">The source was not read.</exception>
    public ReadOnlyMemory<byte> this[SecretSource source] =>
        source.Inline is { } text ? Encoding.UTF8.GetBytes(text)
        : values.TryGetValue(source, out var value) ? value
        : throw new KeyNotFoundException($"The secret's source was not read: {source}");
}
