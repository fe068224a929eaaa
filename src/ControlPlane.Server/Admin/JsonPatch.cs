using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Server.Admin;

/// <summary>
/// A JSON patch (RFC 6902). What it may cost is bounded: a few nested copies would otherwise double a document until the memory is full.
/// </summary>
internal sealed class JsonPatch
{
    /// <summary>Most operations of one patch.</summary>
    public const int MaxOperations = 10_000;

    /// <summary>Most that all operations together may copy, compare and move; a value costs its characters, and <see cref="NodeWork"/> for each part.</summary>
    private static readonly int MaxWork = ReadLimits.Default.MaxBytes;

    private const int NodeWork = 8;

    /// <summary>Entries of a list or object that move up or down at the price of one.</summary>
    private const int ShiftsPerWork = 32;

    private static readonly ImmutableArray<string> Names = ["add", "remove", "replace", "move", "copy", "test"];

    private readonly ImmutableArray<Operation> _operations;

    private JsonPatch(ImmutableArray<Operation> operations) => _operations = operations;

    private sealed record Operation(string Name, string Path, string From, JsonNode? Value);

    /// <summary>Reads the operations.</summary>
    /// <returns>The patch, or what is wrong with it, with the place in the patch.</returns>
    public static (JsonPatch? Patch, Fault? Fault) Read(JsonNode? json)
    {
        if (json is not JsonArray items)
        {
            return Wrong(
                "",
                "not-a-patch",
                "A JSON patch is a list of operations, for example [{\"op\": \"add\", \"path\": \"/spec/connectTimeout\", \"value\": \"1s\"}]."
            );
        }

        if (items.Count > MaxOperations)
        {
            return Wrong(
                "",
                "too-many-operations",
                $"A JSON patch has at most {MaxOperations} operations; this one has {items.Count}. Split it."
            );
        }

        var operations = ImmutableArray.CreateBuilder<Operation>(items.Count);
        for (var i = 0; i < items.Count; i++)
        {
            if (items[i] is not JsonObject item)
            {
                return Wrong($"/{i}", "wrong-type", $"Operation {i} is no object. It has 'op' and 'path'.");
            }

            if (TextOf(item, "op") is not { } name || !Names.Contains(name))
            {
                return Wrong(
                    $"/{i}/op",
                    "unknown-operation",
                    $"Operation {i} has no 'op' that is known. Known are: {string.Join(", ", Names)}."
                );
            }

            var needsFrom = name is "move" or "copy";
            foreach (var member in (ReadOnlySpan<string>)(needsFrom ? ["path", "from"] : ["path"]))
            {
                if (TextOf(item, member) is not { } pointer || !IsPointer(pointer))
                {
                    return Wrong(
                        $"/{i}/{member}",
                        "invalid-pointer",
                        $"The '{member}' of operation {i} ({name}) is no JSON pointer (RFC 6901): it is empty, for the whole object, or begins with '/', for example /spec/connectTimeout."
                    );
                }
            }

            if (name is "add" or "replace" or "test" && !item.ContainsKey("value"))
            {
                return Wrong($"/{i}/value", "missing-field", $"Operation {i} ({name}) has no 'value'.");
            }

            operations.Add(new Operation(name, TextOf(item, "path")!, needsFrom ? TextOf(item, "from")! : "", item["value"]));
        }

        return (new JsonPatch(operations.MoveToImmutable()), null);

        static (JsonPatch?, Fault?) Wrong(string pointer, string code, string message) =>
            (null, new Fault(code, message, Pointer: pointer));
    }

    /// <summary>Does all operations, one after the other.</summary>
    /// <param name="document">The document, which is changed.</param>
    /// <param name="shown">A value of the document as people are shown it, which is what they can compare.</param>
    public (JsonNode? Document, ProblemResult? Problem) Apply(JsonNode document, Func<JsonNode, JsonNode?> shown)
    {
        var run = new Run(document, shown);
        for (var i = 0; i < _operations.Length; i++)
        {
            var outcome = run.Do(_operations[i]);
            if (outcome != Outcome.Done)
            {
                var fault = Explain(outcome, i);
                ImmutableArray<Fault> faults = [fault];
                // A precondition that does not hold (RFC 6902, 5).
                return (
                    null,
                    outcome == Outcome.Differs ? Problems.Conflict(fault.Message, faults) : Problems.Invalid(fault.Message, faults)
                );
            }
        }

        return (run.Document, null);
    }

    private Fault Explain(Outcome outcome, int index)
    {
        var operation = _operations[index];
        var place = Shorten(operation.Path);
        var which = $"Operation {index} ({operation.Name} {place})";
        var (code, message) = outcome switch
        {
            // The value may be secret and is not told.
            Outcome.Differs => (
                "test-failed",
                $"The 'test' of operation {index} does not hold: the value at {place} is another. Nothing was changed."
            ),
            Outcome.NoPlace => (
                "no-such-place",
                $"{which} does not fit the object: there is no such place in it. What equals a default is left out of an object; 'add' sets it."
            ),
            Outcome.IntoItself => ("into-itself", $"{which} would take the whole object away, or move a value into itself."),
            Outcome.TooDeep => ("too-deep", $"{which} would nest the object deeper than {ReadLimits.Default.MaxDepth} levels."),
            _ => (
                "too-costly",
                $"{which} copies or compares more than a patch may in all, about {MaxWork / (1024 * 1024)} MB. Split the patch, or send the whole object with PUT."
            ),
        };
        return new Fault(code, message, Pointer: place);
    }

    private static string Shorten(string pointer) => pointer.Length <= 100 ? pointer : pointer[..100] + "…";

    private static string? TextOf(JsonObject item, string member) =>
        item[member] is JsonValue value && value.TryGetValue(out string? text) ? text : null;

    private static bool IsPointer(string text)
    {
        if (text.Length > 0 && text[0] != '/')
        {
            return false;
        }

        for (var i = text.IndexOf('~', StringComparison.Ordinal); i >= 0; i = text.IndexOf('~', i + 1))
        {
            if (i + 1 == text.Length || text[i + 1] is not ('0' or '1'))
            {
                return false;
            }
        }

        return true;
    }

    private enum Outcome
    {
        Done,
        Differs,
        NoPlace,
        IntoItself,
        TooDeep,
        TooMuchWork,
    }

    /// <summary>The operations at work on one document.</summary>
    private sealed class Run(JsonNode document, Func<JsonNode, JsonNode?> shown)
    {
        private int _work = MaxWork;

        public JsonNode? Document { get; private set; } = document;

        public Outcome Do(Operation operation)
        {
            switch (operation.Name)
            {
                case "add":
                    return Put(operation.Path, operation.Value, mustExist: false, isCopy: true);
                case "replace":
                    return Put(operation.Path, operation.Value, mustExist: true, isCopy: true);
                case "remove":
                    return operation.Path.Length == 0 ? Outcome.IntoItself : Remove(operation.Path);
                case "test":
                    return !TryFind(operation.Path, out var tested) ? Outcome.NoPlace
                        : Measure(tested) is null ? Outcome.TooMuchWork
                        : JsonNode.DeepEquals(tested is null ? null : shown(tested), operation.Value) ? Outcome.Done
                        : Outcome.Differs;
                default:
                    return Transfer(operation);
            }
        }

        private Outcome Transfer(Operation operation)
        {
            if (!TryFind(operation.From, out var value))
            {
                return Outcome.NoPlace;
            }

            if (operation.Name == "copy")
            {
                return Put(operation.Path, value, mustExist: false, isCopy: true);
            }

            if (operation.Path == operation.From)
            {
                return Outcome.Done;
            }

            if (operation.Path.StartsWith(operation.From + "/", StringComparison.Ordinal))
            {
                return Outcome.IntoItself;
            }

            var removed = operation.From.Length == 0 ? Outcome.IntoItself : Remove(operation.From);
            return removed == Outcome.Done ? Put(operation.Path, value, mustExist: false, isCopy: false) : removed;
        }

        private Outcome Put(string path, JsonNode? value, bool mustExist, bool isCopy)
        {
            var segments = JsonPointer.Segments(path).ToList();
            if (Measure(value) is not { } depth)
            {
                return Outcome.TooMuchWork;
            }

            if (segments.Count + depth > ReadLimits.Default.MaxDepth)
            {
                return Outcome.TooDeep;
            }

            if (mustExist && !TryFind(path, out _))
            {
                return Outcome.NoPlace;
            }

            if (segments.Count == 0)
            {
                Document = isCopy ? value?.DeepClone() : value;
                return Outcome.Done;
            }

            TryFind(segments[..^1], out var parent);
            switch (parent)
            {
                case JsonObject members:
                    members[segments[^1]] = isCopy ? value?.DeepClone() : value;
                    return Outcome.Done;
                case JsonArray items when IndexOf(segments[^1], items.Count, mayAppend: !mustExist) is { } index:
                    if (!Spend(items.Count / ShiftsPerWork))
                    {
                        return Outcome.TooMuchWork;
                    }

                    var item = isCopy ? value?.DeepClone() : value;
                    if (mustExist)
                    {
                        items[index] = item;
                    }
                    else
                    {
                        items.Insert(index, item);
                    }

                    return Outcome.Done;
                default:
                    return Outcome.NoPlace;
            }
        }

        private Outcome Remove(string path)
        {
            var segments = JsonPointer.Segments(path).ToList();
            TryFind(segments[..^1], out var parent);
            switch (parent)
            {
                case JsonObject members when members.ContainsKey(segments[^1]):
                    if (!Spend(members.Count / ShiftsPerWork))
                    {
                        return Outcome.TooMuchWork;
                    }

                    members.Remove(segments[^1]);
                    return Outcome.Done;
                case JsonArray items when IndexOf(segments[^1], items.Count, mayAppend: false) is { } index:
                    if (!Spend(items.Count / ShiftsPerWork))
                    {
                        return Outcome.TooMuchWork;
                    }

                    items.RemoveAt(index);
                    return Outcome.Done;
                default:
                    return Outcome.NoPlace;
            }
        }

        private bool TryFind(string path, out JsonNode? found) => TryFind(JsonPointer.Segments(path), out found);

        private bool TryFind(IEnumerable<string> segments, out JsonNode? found)
        {
            found = Document;
            foreach (var segment in segments)
            {
                if (found is JsonObject members && members.TryGetPropertyValue(segment, out var member))
                {
                    found = member;
                }
                else if (found is JsonArray items && IndexOf(segment, items.Count, mayAppend: false) is { } index)
                {
                    found = items[index];
                }
                else
                {
                    found = null;
                    return false;
                }
            }

            return true;
        }

        /// <summary>A list's index (RFC 6901, 4: no sign, no leading zero); <c>-</c>, or the list's length, is the place behind the last.</summary>
        private static int? IndexOf(string segment, int count, bool mayAppend)
        {
            if (segment == "-")
            {
                return mayAppend ? count : null;
            }

            return
                int.TryParse(segment, NumberStyles.None, CultureInfo.InvariantCulture, out var index)
                && (segment.Length == 1 || segment[0] != '0')
                && index < (mayAppend ? count + 1 : count)
                ? index
                : null;
        }

        /// <summary>How deep a value is; null where looking at it costs more than is left.</summary>
        private int? Measure(JsonNode? node)
        {
            if (!Spend(NodeWork))
            {
                return null;
            }

            var deepest = 0;
            switch (node)
            {
                case JsonObject members:
                    foreach (var (name, value) in members)
                    {
                        if (!Spend(name.Length) || Measure(value) is not { } depth)
                        {
                            return null;
                        }

                        deepest = Math.Max(deepest, depth);
                    }

                    return deepest + 1;
                case JsonArray items:
                    foreach (var item in items)
                    {
                        if (Measure(item) is not { } depth)
                        {
                            return null;
                        }

                        deepest = Math.Max(deepest, depth);
                    }

                    return deepest + 1;
                case JsonValue value when value.GetValueKind() == JsonValueKind.String:
                    return Spend(value.GetValue<string>().Length) ? 0 : null;
                default:
                    return 0;
            }
        }

        private bool Spend(int work) => (_work -= work) >= 0;
    }
}
