using System.Buffers.Text;
using System.Globalization;
using System.Text;
using ControlPlane.Core.Compilation;

namespace ControlPlane.Server.Admin;

/// <summary>Where a list goes on. Clients send it back as they got it.</summary>
/// <param name="Revision">The revision that the list is of.</param>
/// <param name="Scope">What is listed, with its filter: a token belongs to one list.</param>
/// <param name="After">The last name that was shown.</param>
internal sealed record PageToken(long Revision, string Scope, string After)
{
    public string Encode() => Base64Url.EncodeToString(Encoding.UTF8.GetBytes($"1\n{Revision}\n{Scope}\n{After}"));

    public static PageToken? Decode(string text)
    {
        var buffer = new byte[Base64Url.GetMaxDecodedLength(text.Length)];
        return
            Base64Url.IsValid(text)
            && Base64Url.TryDecodeFromChars(text, buffer, out var length)
            && Encoding.UTF8.GetString(buffer, 0, length).Split('\n') is ["1", var revision, var scope, var after]
            && long.TryParse(revision, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? new PageToken(number, scope, after)
            : null;
    }
}

/// <summary>
/// Holds the states that lists are being read from, so that all pages of a list are of one revision whatever is written meanwhile. A state shares all that did not
/// change with its successors, so that holding one costs little.
/// </summary>
internal sealed class ListSnapshots(TimeProvider time)
{
    private const int Capacity = 32;
    private static readonly TimeSpan Life = TimeSpan.FromMinutes(5);

    private readonly Lock _lock = new();
    private readonly List<(DesiredState State, DateTimeOffset UsedAt)> _held = [];

    /// <summary>Keeps a state for those who come for its next page.</summary>
    public void Hold(DesiredState state)
    {
        var now = time.GetUtcNow();
        lock (_lock)
        {
            _held.RemoveAll(h => h.State.Revision == state.Revision || now - h.UsedAt > Life);
            if (_held.Count == Capacity)
            {
                _held.RemoveAt(0);
            }

            _held.Add((state, now));
        }
    }

    /// <summary>The state at a revision, or null if it is no longer kept.</summary>
    public DesiredState? Find(long revision)
    {
        var now = time.GetUtcNow();
        lock (_lock)
        {
            return _held.Find(h => h.State.Revision == revision && now - h.UsedAt <= Life).State;
        }
    }
}
