using System.Net;
using System.Net.Sockets;

namespace ControlPlane.Core.Compilation.Probes;

/// <summary>A Unix socket by its path. The framework's own type comes with sockets, and this library opens none.</summary>
/// <param name="path">The path; of an abstract socket its name after a NUL.</param>
public sealed class UnixSocketEndPoint(string path) : EndPoint
{
    /// <summary>The path; of an abstract socket its name after a NUL.</summary>
    public string Path { get; } = path;

    /// <inheritdoc/>
    public override AddressFamily AddressFamily => AddressFamily.Unix;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is UnixSocketEndPoint other && other.Path == Path;

    /// <inheritdoc/>
    public override int GetHashCode() => Path.GetHashCode(StringComparison.Ordinal);

    /// <inheritdoc/>
    public override string ToString() => Path.StartsWith('\0') ? "@" + Path[1..] : Path;
}
