namespace ControlPlane.Core.Snapshots;

/// <summary>Resource names are opaque strings, with one exception: the order of an <c>xdstp:</c> name's parameters carries no meaning (G-11).</summary>
public static class ResourceName
{
    /// <summary>The form in which two names are equal if and only if they mean the same resource: <c>xdstp:</c> parameters sorted, all else as it is.</summary>
    public static string Canonical(string name)
    {
        if (!name.StartsWith("xdstp:", StringComparison.Ordinal))
        {
            return name;
        }

        var start = name.IndexOf('?', StringComparison.Ordinal) + 1;
        if (start == 0)
        {
            return name;
        }

        var end = name.IndexOf('#', start);
        end = end < 0 ? name.Length : end;
        var parameters = name[start..end].Split('&');
        Array.Sort(parameters, StringComparer.Ordinal);
        return string.Concat(name.AsSpan(0, start), string.Join('&', parameters), name.AsSpan(end));
    }
}
