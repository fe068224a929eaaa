using System.Globalization;
using ControlPlane.Core.Snapshots;

namespace ControlPlane.Core.Discovery;

/// <summary>
/// Finds out what the client of a state-of-the-world stream holds by the version that it brings from an earlier one. A version is the sum of the digests of what the client was
/// sent, so a version that lacks a few of the newest resources tells which: those that it refused, and was left without.
/// </summary>
internal static class BroughtVersion
{
    /// <summary>Of so many doubted resources every combination is tried.</summary>
    private const int MaxDoubted = 10;

    /// <summary>In sets of at most so many resources any two may be what is lacking.</summary>
    private const int MaxPaired = 5_000;

    /// <summary>The resources of a set that a version does without; null if it is not that of the set without a few.</summary>
    public static IReadOnlyList<EncodedResource>? Lacking(ResourceSet set, string version)
    {
        if (version.Length != 32 || !UInt128.TryParse(version, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var held))
        {
            return null;
        }

        var difference = unchecked(set.Digest - held);
        return difference == 0 ? [] : AmongDoubted(set, difference) ?? AmongAll(set, difference);
    }

    private static List<EncodedResource>? AmongDoubted(ResourceSet set, UInt128 difference)
    {
        var doubted = set.HasDoubted ? set.Resources.Where(r => r.IsDoubted).Take(MaxDoubted + 1).ToList() : [];
        for (var choice = 1; doubted.Count <= MaxDoubted && choice < 1 << doubted.Count; choice++)
        {
            // A fleet that reconnects at once asks this a thousand times: nothing is made of the choices that are wrong.
            var sum = UInt128.Zero;
            for (var i = 0; i < doubted.Count; i++)
            {
                sum += (choice & (1 << i)) != 0 ? doubted[i].Digest : UInt128.Zero;
            }

            if (sum == difference)
            {
                return [.. doubted.Where((_, i) => (choice & (1 << i)) != 0)];
            }
        }

        return null;
    }

    private static List<EncodedResource>? AmongAll(ResourceSet set, UInt128 difference)
    {
        foreach (var resource in set.Resources)
        {
            if (resource.Digest == difference)
            {
                return [resource];
            }
        }

        if (set.Count > MaxPaired)
        {
            return null;
        }

        var byDigest = new Dictionary<UInt128, EncodedResource>(set.Count);
        foreach (var resource in set.Resources)
        {
            if (byDigest.TryGetValue(unchecked(difference - resource.Digest), out var other))
            {
                return [other, resource];
            }

            byDigest[resource.Digest] = resource;
        }

        return null;
    }
}
