using System.Collections;
using System.Collections.Concurrent;
using System.Globalization;
using ControlPlane.Resources.Validation;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;

namespace ControlPlane.Core.Compilation;

/// <summary>Looks at one message of a tree.</summary>
internal interface IMessageVisitor
{
    /// <summary>Called for a message before those inside it.</summary>
    void Visit(IMessage message, MessagePath path);
}

/// <summary>
/// Visits a message and all messages inside it, those packed into an <c>Any</c> as well. Google's well-known types are values here and not visited.
/// </summary>
internal static class MessageWalker
{
    /// <summary>Protobuf's own readers stop at 100; packing into <c>Any</c> could go on without end.</summary>
    private const int MaxDepth = 100;

    private static readonly ConcurrentDictionary<MessageDescriptor, FieldDescriptor[]> Children = new();

    /// <summary>Walks the tree.</summary>
    /// <param name="root">The message to begin with.</param>
    /// <param name="problems">Gets the faults of the walk itself: what cannot be unpacked, or is not known.</param>
    /// <param name="visitors">Each is called for every message.</param>
    public static void Walk(IMessage root, ProblemCollector problems, params ReadOnlySpan<IMessageVisitor> visitors)
    {
        var path = new MessagePath(problems);
        Walk(root, path, visitors);
    }

    /// <summary>Whether a type is a value rather than a message with fields of its own.</summary>
    public static bool IsValue(MessageDescriptor descriptor) =>
        descriptor.File.Package == "google.protobuf" && descriptor.FullName != Any.Descriptor.FullName;

    private static void Walk(IMessage message, MessagePath path, ReadOnlySpan<IMessageVisitor> visitors)
    {
        if (path.Depth > MaxDepth)
        {
            path.Error("", "too-deep", $"Messages are nested deeper than {MaxDepth} levels.");
            return;
        }

        if (message is Any any)
        {
            WalkPacked(any, path, visitors);
            return;
        }

        foreach (var visitor in visitors)
        {
            visitor.Visit(message, path);
        }

        foreach (var field in Children.GetOrAdd(message.Descriptor, FindChildren))
        {
            switch (field.Accessor.GetValue(message))
            {
                case IMessage child:
                    path.Enter(field, message);
                    Walk(child, path, visitors);
                    path.Leave();
                    break;
                case IDictionary map:
                    foreach (DictionaryEntry entry in map)
                    {
                        path.Enter(field, Convert.ToString(entry.Key, CultureInfo.InvariantCulture)!, message);
                        Walk((IMessage)entry.Value!, path, visitors);
                        path.Leave();
                    }

                    break;
                case IList list:
                    for (var i = 0; i < list.Count; i++)
                    {
                        path.Enter(field, i, message);
                        Walk((IMessage)list[i]!, path, visitors);
                        path.Leave();
                    }

                    break;
            }
        }
    }

    private static void WalkPacked(Any any, MessagePath path, ReadOnlySpan<IMessageVisitor> visitors)
    {
        if (any.TypeUrl.Length == 0)
        {
            return;
        }

        try
        {
            if (EnvoyTypes.Unpack(any) is not { } message)
            {
                path.Warning(
                    "",
                    "unknown-type",
                    $"The type {any.TypeUrl} is not known to this server and is passed on unchecked. A proxy that does not have it refuses the resource."
                );
            }
            else if (!IsValue(message.Descriptor))
            {
                path.EnterPacked(any);
                Walk(message, path, visitors);
                path.Leave();
            }
        }
        catch (InvalidProtocolBufferException)
        {
            path.Error("", "undecodable", $"The bytes are not a message of type {any.TypeUrl}.");
        }
    }

    private static FieldDescriptor[] FindChildren(MessageDescriptor descriptor) =>
        [
            .. descriptor
                .Fields.InDeclarationOrder()
                .Where(f =>
                    f.FieldType == FieldType.Message
                    && (
                        f.IsMap
                            ? f.MessageType.Fields[2] is { FieldType: FieldType.Message } value
                                ? value.MessageType
                                : null
                            : f.MessageType
                    )
                        is { } type
                    && !IsValue(type)
                ),
        ];
}

/// <summary>The way from the root of a walk to the message that is visited. Its text is only made when something is wrong there.</summary>
internal sealed class MessagePath(ProblemCollector problems)
{
    /// <summary>Takes faults of the visited message that a shared rule finds, with <see cref="Pointer"/> before their place.</summary>
    public ProblemCollector Problems => problems;

    private readonly List<Step> _steps = [];

    /// <summary>One step; without a field the message was packed into an <c>Any</c>, which proto-JSON does not show as a level.</summary>
    private readonly record struct Step(FieldDescriptor? Field, string? Key, int Index, IMessage Parent);

    /// <summary>Number of messages around the visited one.</summary>
    public int Depth => _steps.Count;

    /// <summary>The field of its parent that holds the visited message; null of the root and of what is packed into an <c>Any</c>.</summary>
    public FieldDescriptor? Field => _steps.Count == 0 ? null : _steps[^1].Field;

    /// <summary>The key of the nearest map that the visited message is a value of; empty where there is none.</summary>
    public string LastKey => _steps.FindLast(s => s.Key is not null).Key ?? "";

    /// <summary>JSON pointer from the root message, in the field names of proto-JSON.</summary>
    public string Pointer => string.Concat(_steps.Select(Text));

    /// <summary>The nearest message around the visited one that is of a type; null where there is none.</summary>
    public T? Enclosing<T>()
        where T : class, IMessage
    {
        for (var i = _steps.Count - 1; i >= 0; i--)
        {
            if (_steps[i].Parent is T found)
            {
                return found;
            }
        }

        return null;
    }

    public void Enter(FieldDescriptor field, IMessage parent) => _steps.Add(new Step(field, null, -1, parent));

    public void Enter(FieldDescriptor field, string key, IMessage parent) => _steps.Add(new Step(field, key, -1, parent));

    public void Enter(FieldDescriptor field, int index, IMessage parent) => _steps.Add(new Step(field, null, index, parent));

    public void EnterPacked(Any parent) => _steps.Add(new Step(null, null, -1, parent));

    public void Leave() => _steps.RemoveAt(_steps.Count - 1);

    /// <summary>Records a fault of the visited message.</summary>
    /// <param name="tail">Where in the message: empty, or a pointer such as <c>/connectTimeout</c>.</param>
    /// <param name="code">The stable code.</param>
    /// <param name="message">What is wrong and how to mend it.</param>
    public void Error(string tail, string code, string message) => problems.Error(Pointer + tail, code, message);

    /// <summary>Records something that the author should know.</summary>
    public void Warning(string tail, string code, string message) => problems.Warning(Pointer + tail, code, message);

    private static string Text(Step step) =>
        step switch
        {
            { Field: null } => "",
            { Key: { } key } => $"/{step.Field.JsonName}/{JsonPointer.Escape(key)}",
            { Index: >= 0 } => string.Create(CultureInfo.InvariantCulture, $"/{step.Field.JsonName}/{step.Index}"),
            _ => "/" + step.Field.JsonName,
        };
}
