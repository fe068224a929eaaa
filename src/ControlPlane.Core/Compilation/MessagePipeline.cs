using System.Text.Json.Nodes;
using ControlPlane.Core.Compilation.Rules;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;
using Envoy.Config.Core.V3;
using Envoy.Config.Endpoint.V3;
using Google.Protobuf;
using EnvoyEndpoint = Envoy.Config.Endpoint.V3.Endpoint;

namespace ControlPlane.Core.Compilation;

/// <summary>
/// The last steps from a message to a resource, the same for every kind: merge the overlay, check what Envoy would refuse, find what the message needs of others.
/// </summary>
public static class MessagePipeline
{
    /// <summary>Completes a message that was compiled from a friendly spec.</summary>
    /// <param name="type">The xDS type; <paramref name="message"/> is of it.</param>
    /// <param name="name">The name to serve under.</param>
    /// <param name="message">The message, which is changed by the overlay.</param>
    /// <param name="overlay">The raw part of the spec (<c>spec.envoy</c>), or null.</param>
    /// <param name="problems">
    /// Gets what is wrong. Pointers are those of the manifest: below <c>/spec/envoy</c> where the overlay says it, else as <paramref name="origins"/> know, else <c>/spec</c>.
    /// </param>
    /// <param name="origins">Where the parts of the message come from, as far as its compiler says.</param>
    /// <returns>The resource, also where problems were found; null where the overlay could not be merged.</returns>
    public static CompiledResource? Complete(
        ResourceType type,
        string name,
        IMessage message,
        JsonObject? overlay,
        ProblemCollector problems,
        MessageOrigins? origins = null
    )
    {
        if (overlay is not null && !Merge(type, message, overlay, problems))
        {
            return null;
        }

        return Inspect(type, name, message, new OverlayPointers(overlay, type, origins ?? new MessageOrigins()), problems);
    }

    /// <summary>Completes a message that was given raw.</summary>
    /// <param name="type">The xDS type; <paramref name="message"/> is of it.</param>
    /// <param name="name">The name to serve under.</param>
    /// <param name="message">The message.</param>
    /// <param name="pointer">Where in the manifest the message stands.</param>
    /// <param name="problems">Gets what is wrong.</param>
    public static CompiledResource Complete(ResourceType type, string name, IMessage message, string pointer, ProblemCollector problems) =>
        Inspect(type, name, message, new RawPointers(pointer), problems);

    /// <summary>Merges the raw part of a spec into what the rest of it compiled to; false where it could not be.</summary>
    internal static bool Merge(
        ResourceType type,
        IMessage message,
        JsonObject overlay,
        ProblemCollector problems,
        string pointer = "/spec/envoy"
    )
    {
        var found = new ProblemCollector();
        var allowed = new JsonObject();
        foreach (var (key, value) in overlay)
        {
            if (OwnedFields.Explain(type, message, key, value) is { } reason)
            {
                found.Error($"{pointer}/" + JsonPointer.Escape(key), "owned-field", reason);
            }
            else
            {
                allowed[key] = value?.DeepClone();
            }
        }

        ProtoJsonReader.Merge(allowed, message, pointer, found);
        problems.AddAll(found);
        return !found.HasErrors;
    }

    /// <summary>Finds what is wrong with the raw part of an endpoint, by itself: the message that it becomes part of is made of many.</summary>
    /// <param name="spec">The endpoint.</param>
    /// <param name="pointer">Where in the manifest it stands.</param>
    /// <param name="problems">Gets what is wrong.</param>
    internal static void CheckEndpoint(EndpointSpec spec, string pointer, ProblemCollector problems)
    {
        if (spec.Envoy is not { } overlay)
        {
            return;
        }

        pointer += "/envoy";
        var endpoint = new LbEndpoint { Endpoint = new EnvoyEndpoint { Address = EnvoyAddress.Of(spec.Address, spec.Port) } };
        if (!Merge(ResourceType.Endpoints, endpoint, overlay, problems, pointer))
        {
            return;
        }

        const string Place = "/endpoints/0/lbEndpoints/0";
        var assignment = new ClusterLoadAssignment
        {
            ClusterName = "x",
            Endpoints =
            {
                new LocalityLbEndpoints { Locality = new Locality(), LbEndpoints = { endpoint } },
            },
        };
        var found = new ProblemCollector();
        MessageWalker.Walk(assignment, found, ProtoValidator.Visitor, SemanticRules.Instance);
        foreach (var problem in found.Problems.Where(p => p.Pointer.StartsWith(Place, StringComparison.Ordinal)))
        {
            if (IsIn(overlay, problem.Pointer[Place.Length..]))
            {
                problems.Add(problem with { Pointer = pointer + problem.Pointer[Place.Length..] });
            }
        }
    }

    /// <summary>Whether an overlay says anything about the field, down to the first list or value on the way.</summary>
    private static bool IsIn(JsonObject? overlay, string pointer)
    {
        JsonNode? node = overlay;
        var steps = 0;
        foreach (var segment in JsonPointer.Segments(pointer))
        {
            if (node is not JsonObject members)
            {
                return steps > 0;
            }

            var member = members.FirstOrDefault(m => Suggestion.SameWord(m.Key, segment));
            if (member.Key is null)
            {
                return false;
            }

            node = member.Value;
            steps++;
        }

        return steps > 0;
    }

    private static CompiledResource Inspect(
        ResourceType type,
        string name,
        IMessage message,
        IPointerMap pointers,
        ProblemCollector problems
    )
    {
        var found = new ProblemCollector();
        var references = new EnvoyReferences();
        var extensions = new EnvoyExtensions();
        MessageWalker.Walk(message, found, ProtoValidator.Visitor, SemanticRules.Instance, references, extensions);
        // One part of a manifest can stand in several places of the message.
        foreach (var problem in found.Problems.Where(problem => !pointers.IsToldElsewhere(problem)).Select(pointers.Map).Distinct())
        {
            problems.Add(problem);
        }

        return new CompiledResource(
            type,
            name,
            message,
            [.. references.Found.Select(r => r with { Pointer = pointers.Map(r.Pointer) }).Distinct()],
            [.. extensions.Found.Select(e => e with { Pointer = pointers.Map(e.Pointer) })]
        );
    }

    /// <summary>Turns pointers into a message to pointers into the manifest.</summary>
    private interface IPointerMap
    {
        string Map(string pointer);

        ValidationProblem Map(ValidationProblem problem);

        /// <summary>Whether the author is told of a problem at another object.</summary>
        bool IsToldElsewhere(ValidationProblem problem);
    }

    private sealed class RawPointers(string root) : IPointerMap
    {
        public string Map(string pointer) => root + pointer;

        public ValidationProblem Map(ValidationProblem problem) => problem with { Pointer = Map(problem.Pointer) };

        public bool IsToldElsewhere(ValidationProblem problem) => false;
    }

    private sealed class OverlayPointers(JsonObject? overlay, ResourceType type, MessageOrigins origins) : IPointerMap
    {
        private const string Name = "/name";

        public string Map(string pointer) =>
            IsInOverlay(pointer) ? "/spec/envoy" + pointer
            : pointer == Name ? "/metadata/name"
            : origins.TryFind(pointer, out var source, out _) ? source
            : "/spec";

        /// <summary>A route table that a listener holds inline is an object of its own. A fault of it is the listener's, too, since Envoy refuses both.</summary>
        public bool IsToldElsewhere(ValidationProblem problem) =>
            problem.Severity == ProblemSeverity.Warning
            && type == ResourceType.Listener
            && problem.Pointer.Contains("/typedConfig/routeConfig/", StringComparison.Ordinal)
            && !problem.Pointer.Contains("/httpFilters/", StringComparison.Ordinal)
            && !IsInOverlay(problem.Pointer);

        public ValidationProblem Map(ValidationProblem problem)
        {
            var message = problem.Message;
            var isExact =
                problem.Pointer == Name
                || IsInOverlay(problem.Pointer)
                || (origins.TryFind(problem.Pointer, out _, out var isRaw) && isRaw);
            if (!isExact)
            {
                var name = type.FullName[(type.FullName.LastIndexOf('.') + 1)..];
                message =
                    $"In the {name} that this compiles to, at {(problem.Pointer.Length == 0 ? "its root" : problem.Pointer)}: {message}";
            }

            return problem with
            {
                Pointer = Map(problem.Pointer),
                Message = message,
            };
        }

        private bool IsInOverlay(string pointer) => IsIn(overlay, pointer);
    }
}
