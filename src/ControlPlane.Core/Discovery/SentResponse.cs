using ControlPlane.Core.Snapshots;

namespace ControlPlane.Core.Discovery;

/// <summary>One thing that a response did to what the client holds.</summary>
/// <param name="Name">Canonical name.</param>
/// <param name="Content">What was sent; null if it was taken away.</param>
/// <param name="Before">
/// What the client held before; null for nothing, <see cref="EncodedResource.Unknown"/> for something that this stream did not send. Equal to
/// <paramref name="Content"/> where the client had it already.
/// </param>
internal readonly record struct SentItem(string Name, EncodedResource? Content, EncodedResource? Before)
{
    /// <summary>True if the client may find fault with it: it is new to this client, or differs from what the client accepted.</summary>
    public bool IsUnproven => Content is not null && Content.Version != Before?.Version;
}

/// <summary>A response that the client has not answered yet: what must be known to undo it.</summary>
internal sealed class SentResponse(
    long nonce,
    UInt128 version,
    DateTimeOffset sentAt,
    ResourceSet? whole,
    List<SentItem> items,
    bool isTrial
)
{
    private ResourceSet? _whole = whole;
    private List<SentItem> _items = items;

    public long Nonce { get; } = nonce;

    public UInt128 Version { get; } = version;

    public DateTimeOffset SentAt { get; } = sentAt;

    /// <summary>True if this tries out some of the resources of a response that was refused without saying which of them is at fault.</summary>
    public bool IsTrial { get; private set; } = isTrial;

    /// <summary>True for the first response of a type, which carried everything to a client that may have held nothing: it makes no cluster "new" (O-07).</summary>
    public bool IsWhole => _whole is not null;

    /// <summary>True if it is, or has absorbed, such a first response.</summary>
    public bool HeldWhole { get; private set; } = whole is not null;

    /// <summary>True once what it brought was put back because it was not answered.</summary>
    public bool IsPutBack { get; set; }

    /// <summary>What it did, without what a whole first response did: this is what later changes are judged by.</summary>
    public IReadOnlyList<SentItem> Changes => _whole is null ? _items : [];

    /// <summary>What it did, all of it.</summary>
    public List<SentItem> Items()
    {
        if (_whole is not null)
        {
            var before = WholeReplaced ? EncodedResource.Unknown : null;
            _items =
            [
                .. _whole.InOrder().Select(resource => new SentItem(ResourceName.Canonical(resource.Name), resource, before)),
                .. _items,
            ];
            _whole = null;
        }

        return _items;
    }

    /// <summary>True if the client held resources, unknown to this stream, when a whole set was sent to it.</summary>
    public bool WholeReplaced { get; init; }

    /// <summary>Takes in an earlier response that will not be answered on its own, or is no longer worth its memory.</summary>
    public void Absorb(SentResponse earlier)
    {
        var own = Items();
        var at = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var i = 0; i < own.Count; i++)
        {
            at[own[i].Name] = i;
        }

        foreach (var item in earlier.Items())
        {
            if (at.TryGetValue(item.Name, out var i))
            {
                own[i] = own[i] with { Before = item.Before };
            }
            else
            {
                own.Add(item);
            }
        }

        IsTrial |= earlier.IsTrial;
        HeldWhole |= earlier.HeldWhole;
    }

    /// <summary>The client turned out not to hold <paramref name="content"/>, which this response had taken for granted.</summary>
    public void Correct(string name, EncodedResource? content, EncodedResource? inForce)
    {
        for (var i = 0; i < _items.Count; i++)
        {
            if (_items[i].Name == name && ReferenceEquals(_items[i].Before, content))
            {
                _items[i] = _items[i] with { Before = inForce };
            }
        }
    }
}
