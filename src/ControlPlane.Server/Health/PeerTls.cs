using ControlPlane.Server.Security;

namespace ControlPlane.Server.Health;

/// <summary>How other servers are reached: with the certificate that is shown to them as well, or in plaintext where there is none.</summary>
internal sealed class PeerTls(TlsMaterials materials)
{
    /// <summary>A handler for one connection.</summary>
    public SocketsHttpHandler Handler(TimeSpan connectTimeout)
    {
        var handler = new SocketsHttpHandler
        {
            ConnectTimeout = connectTimeout,
            UseProxy = false,
            // A peer that vanished without a word is noticed by its silence, long before this.
            KeepAlivePingDelay = TimeSpan.FromSeconds(5),
            KeepAlivePingTimeout = TimeSpan.FromSeconds(5),
        };
        if (materials.Peers is { } tls)
        {
            handler.SslOptions = tls.CreateClientOptions();
        }

        return handler;
    }
}
