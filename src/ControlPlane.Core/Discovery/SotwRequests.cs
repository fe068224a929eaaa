using ControlPlane.Core.Snapshots;

namespace ControlPlane.Core.Discovery;

/// <summary>What the names of a <c>DiscoveryRequest</c> mean: all that the client wants, each time.</summary>
internal static class SotwRequests
{
    public static void Apply(ClientRequest request, Subscription subscription, ResourceSet current)
    {
        var names = request.Names;
        if (names.Contains("*"))
        {
            subscription.HasNamed = true;
            subscription.SubscribeToAll(current);
            Replace(names.Remove("*"), subscription, current);
        }
        else if (!names.IsEmpty)
        {
            subscription.HasNamed = true;
            // Names first: what the wildcard brought of them counts as sent.
            Replace(names, subscription, current);
            subscription.UnsubscribeFromAll();
        }
        else if (subscription.Type.IsFullState && !subscription.HasNamed)
        {
            subscription.SubscribeToAll(current);
        }
        else
        {
            subscription.UnsubscribeFromAll();
            Replace([], subscription, current);
        }
    }

    private static void Replace(IReadOnlyList<string> names, Subscription subscription, ResourceSet current)
    {
        subscription.Expect(names.Count - subscription.NamedCount);
        foreach (var name in names)
        {
            if (!subscription.IsNamed(ResourceName.Canonical(name)))
            {
                subscription.Subscribe(name, current);
            }
        }

        // As a rule a request repeats the names of the one before.
        if (subscription.NamedCount == names.Count)
        {
            return;
        }

        var wanted = names.Select(ResourceName.Canonical).ToHashSet(StringComparer.Ordinal);
        foreach (var dropped in subscription.Named.Where(name => !wanted.Contains(name)).ToList())
        {
            subscription.Unsubscribe(dropped);
        }
    }
}
