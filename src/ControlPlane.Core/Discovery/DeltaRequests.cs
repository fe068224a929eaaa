using ControlPlane.Core.Snapshots;

namespace ControlPlane.Core.Discovery;

/// <summary>What the names of a <c>DeltaDiscoveryRequest</c> mean: what the client wants besides, and no longer.</summary>
internal static class DeltaRequests
{
    /// <param name="request">The request.</param>
    /// <param name="subscription">What it changes.</param>
    /// <param name="current">The newest set.</param>
    /// <param name="first">True for the first message of its type on the stream: an empty list then means everything, in CDS and LDS (D-01).</param>
    public static void Apply(ClientRequest request, Subscription subscription, ResourceSet current, bool first)
    {
        if (first && request.Names.IsEmpty && subscription.Type.IsFullState)
        {
            subscription.SubscribeToAll(current);
        }

        subscription.Expect(request.Names.Length);
        foreach (var name in request.Names)
        {
            if (name == "*")
            {
                subscription.SubscribeToAll(current);
            }
            else
            {
                subscription.Subscribe(name, current);
            }
        }

        // After the additions: a name in both lists ends up unsubscribed (D-26).
        foreach (var name in request.Unsubscribed)
        {
            if (name == "*")
            {
                subscription.UnsubscribeFromAll();
            }
            else
            {
                subscription.Unsubscribe(name);
            }
        }
    }
}
