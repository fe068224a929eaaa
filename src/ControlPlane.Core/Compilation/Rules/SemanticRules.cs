using System.Collections.Concurrent;
using System.Collections.Frozen;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;

namespace ControlPlane.Core.Compilation.Rules;

/// <summary>
/// What Envoy 1.40 refuses, or takes to the user's harm, beyond the rules in the descriptors; each measured on a real Envoy. Errors are what it refuses, warnings
/// what it takes. A rule looks at one message of the final tree, so that friendly kinds, overlays and raw resources are held to the same.
/// </summary>
internal sealed class SemanticRules : IMessageVisitor
{
    private static readonly FrozenDictionary<System.Type, Action<IMessage, MessagePath>> Table = new[]
    {
        ClusterRules.All(),
        EndpointRules.All(),
        TlsRules.All(),
        ListenerRules.All(),
        FilterRules.All(),
        RouteRules.All(),
        HeaderRules.All(),
        MatcherRules.All(),
    }
        .SelectMany(rules => rules)
        .GroupBy(rule => rule.Type)
        .ToFrozenDictionary(g => g.Key, g => (Action<IMessage, MessagePath>)Delegate.Combine([.. g.Select(rule => rule.Check)])!);

    private static readonly ConcurrentDictionary<MessageDescriptor, FieldDescriptor[]> DurationFields = new();

    /// <summary>The only instance; it has no state.</summary>
    public static SemanticRules Instance { get; } = new();

    /// <inheritdoc/>
    public void Visit(IMessage message, MessagePath path)
    {
        foreach (var field in DurationFields.GetOrAdd(message.Descriptor, FindDurations))
        {
            if (field.Accessor.GetValue(message) is Duration duration)
            {
                CheckDuration(field, duration, path);
            }
        }

        if (Table.TryGetValue(message.GetType(), out var check))
        {
            check(message, path);
        }
    }

    /// <summary>One line of the table.</summary>
    internal static MessageRule On<T>(Action<T, MessagePath> check)
        where T : IMessage => new(typeof(T), (message, path) => check((T)message, path));

    private static FieldDescriptor[] FindDurations(MessageDescriptor type) =>
        [
            .. type
                .Fields.InDeclarationOrder()
                .Where(f => f is { FieldType: FieldType.Message, IsRepeated: false } && f.MessageType == Duration.Descriptor),
        ];

    private static void CheckDuration(FieldDescriptor field, Duration duration, MessagePath path)
    {
        // Envoy counts nanoseconds in 64 bits.
        const long MaxSeconds = 9_223_372_036;
        if (duration.Seconds < 0 || duration.Nanos < 0)
        {
            path.Error("/" + field.JsonName, "negative-duration", $"{field.JsonName}: a duration cannot be negative.");
        }
        else if (duration.Seconds > MaxSeconds || duration.Nanos > 999_999_999)
        {
            path.Error(
                "/" + field.JsonName,
                "duration-out-of-range",
                $"{field.JsonName}: a duration cannot be longer than {MaxSeconds} seconds."
            );
        }
    }
}

/// <summary>A check of one type of message.</summary>
/// <param name="Type">The message's class.</param>
/// <param name="Check">Records what is wrong.</param>
internal readonly record struct MessageRule(System.Type Type, Action<IMessage, MessagePath> Check);
