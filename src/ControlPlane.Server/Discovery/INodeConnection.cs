using ControlPlane.Core.Discovery;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Server.Discovery;

/// <summary>How a node gets its resources, a stream or polls: what others ask of either.</summary>
internal interface INodeConnection
{
    /// <summary>Who is at the other end; null before it has said so.</summary>
    NodeIdentity? Node { get; }

    /// <inheritdoc cref="StreamStatus.Protocol"/>
    string Protocol { get; }

    /// <inheritdoc cref="StreamStatus.Service"/>
    string Service { get; }

    /// <summary>What it is and how far it got.</summary>
    StreamStatus Status(DateTimeOffset now);

    /// <summary>How far one resource got.</summary>
    Delivery DeliveryOf(ResourceType type, string name);

    /// <summary>True if the client has left a response unanswered for too long.</summary>
    bool IsStaleAt(DateTimeOffset now);
}
