using System.Collections.Immutable;
using System.Globalization;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Server.Admin;

/// <summary>A query parameter: its name, what the documentation says of it, and how its text is read.</summary>
/// <param name="Name">The name in the query.</param>
/// <param name="Description">For the documentation.</param>
/// <param name="Schema">JSON schema type: <c>string</c>, <c>integer</c> or <c>boolean</c>.</param>
internal abstract record QueryParameter(string Name, string Description, string Schema)
{
    /// <summary>Whether a text is a value of the parameter; if not, what a value looks like.</summary>
    public abstract string? Explain(string text);
}

/// <summary>A query parameter with its type.</summary>
internal sealed record QueryParameter<T>(
    string Name,
    string Description,
    string Schema,
    string Expected,
    T Default,
    QueryParameter<T>.Reader Read
) : QueryParameter(Name, Description, Schema)
{
    public delegate bool Reader(string text, out T value);

    public override string? Explain(string text) => Read(text, out _) ? null : Expected;

    /// <summary>The value in a request that <see cref="QueryCheck"/> let through.</summary>
    public T Of(HttpContext http) =>
        http.Request.Query.TryGetValue(Name, out var text) && Read(text.ToString(), out var value) ? value : Default;
}

/// <summary>All query parameters of the API.</summary>
internal static class Query
{
    public const int MaxLimit = 1000;
    private static readonly TimeSpan MaxTimeout = TimeSpan.FromMinutes(5);

    public static readonly QueryParameter<bool> DryRun = Flag("dryRun", "Validate and answer as if it were done, but write nothing.");

    public static readonly QueryParameter<string> Confirm = Text(
        "confirm",
        "The digest of a confirmation-required problem: does what that problem warned of."
    );

    public static readonly QueryParameter<string> Reason = Text("reason", "Why: the revision records it. At most 1000 characters.");

    public static readonly QueryParameter<bool> ValidationWarn = new(
        "validation",
        "'warn' takes an EnvoyResource or an overlay although a rule of Envoy's refuses it: its faults become warnings, and the revision records that. Needs a reason.",
        "string",
        "'strict' or 'warn'",
        false,
        (string text, out bool warn) =>
        {
            warn = text == "warn";
            return text is "warn" or "strict";
        }
    );

    public static readonly QueryParameter<bool> WaitAcked = new(
        "wait",
        "'acked' answers only when every connected proxy that is to have the change acknowledged or refused it: 200, or 202 when the timeout came first.",
        "string",
        "'acked' or 'none'",
        false,
        (string text, out bool acked) =>
        {
            acked = text == "acked";
            return text is "acked" or "none";
        }
    );

    public static readonly QueryParameter<TimeSpan> Timeout = new(
        "timeout",
        "With wait: how long, for example 30s, the default; at most 5m.",
        "string",
        "a duration such as 30s, at most 5m",
        TimeSpan.FromSeconds(30),
        (string text, out TimeSpan value) => DurationText.TryParse(text, out value) && value >= TimeSpan.Zero && value <= MaxTimeout
    );

    public static readonly QueryParameter<int> Limit = new(
        "limit",
        $"Objects per page, 1 to {MaxLimit}.",
        "integer",
        $"a whole number from 1 to {MaxLimit}",
        100,
        (string text, out int value) =>
            int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value) && value is > 0 and <= MaxLimit
    );

    public static readonly QueryParameter<string> Continue = Text("continue", "The token of the page before.");

    public static readonly QueryParameter<LabelSelector> Selector = new(
        "labelSelector",
        "Only objects with these labels: 'team=checkout', 'team!=checkout', 'team in (a,b)', 'team notin (a,b)', 'team', '!team', joined by commas.",
        "string",
        "a label selector such as 'team=checkout,tier!=test' or 'team in (a,b)'",
        LabelSelector.Everything,
        LabelSelector.TryParse
    );

    public static readonly QueryParameter<ImmutableArray<ResourceKindFilter>> Kinds = new(
        "kinds",
        "Only these kinds, joined by commas, for example Upstream,RouteTable.",
        "string",
        "kinds joined by commas: " + string.Join(", ", Enum.GetNames<Resources.ResourceKind>()),
        [],
        ResourceKindFilter.TryParse
    );

    public static readonly QueryParameter<long> Since = new(
        "since",
        "A revision: the events after it come first. A list's revision, to go on from the list.",
        "integer",
        "a revision's number",
        -1,
        (string text, out long value) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value)
    );

    public static readonly QueryParameter<long> Index = new(
        "index",
        "The index of an answer: answers when there is another one, or when 'wait' is over.",
        "integer",
        "the index of an answer",
        -1,
        (string text, out long value) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value)
    );

    public static readonly QueryParameter<TimeSpan> WaitFor = new(
        "wait",
        "With index: how long at most, for example 30s, the default; at most 5m.",
        "string",
        "a duration such as 30s, at most 5m",
        TimeSpan.FromSeconds(30),
        (string text, out TimeSpan value) => DurationText.TryParse(text, out value) && value >= TimeSpan.Zero && value <= MaxTimeout
    );

    public static readonly QueryParameter<string> Zone = new(
        "zone",
        "As the proxies of this zone see it, which may be cut off from others.",
        "string",
        "a zone's name",
        "",
        (string text, out string value) =>
        {
            value = text;
            return text.Length <= 128;
        }
    );

    public static readonly QueryParameter<string> Upstream = Text("upstream", "Only of this upstream.");

    public static readonly QueryParameter<long> SinceTransition = new(
        "since",
        "The id of a transition: those after it come first.",
        "integer",
        "a transition's id",
        -1,
        (string text, out long value) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value)
    );

    public static readonly QueryParameter<DateTimeOffset> From = Time("from", "Not before this time.", DateTimeOffset.MinValue);

    public static readonly QueryParameter<DateTimeOffset> To = Time("to", "Before this time.", DateTimeOffset.MaxValue);

    public static readonly QueryParameter<bool> Verbose = Flag("verbose", "Name every check and its result.");

    /// <summary>What every write takes.</summary>
    public static readonly ImmutableArray<QueryParameter> OfWrites = [DryRun, Confirm, Reason, ValidationWarn, WaitAcked, Timeout];

    private static QueryParameter<string> Text(string name, string description) =>
        new(
            name,
            description,
            "string",
            "a text of 1 to 1000 characters",
            "",
            (string text, out string value) =>
            {
                value = text;
                return text.Length is > 0 and <= 1000;
            }
        );

    private static QueryParameter<DateTimeOffset> Time(string name, string description, DateTimeOffset absent) =>
        new(
            name,
            description,
            "string",
            "a time such as 2030-01-31T08:00:00Z",
            absent,
            (string text, out DateTimeOffset value) =>
                DateTimeOffset.TryParse(
                    text,
                    CultureInfo.InvariantCulture,
                    DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal,
                    out value
                )
        );

    private static QueryParameter<bool> Flag(string name, string description) =>
        new(
            name,
            description,
            "boolean",
            "true or false",
            false,
            (string text, out bool value) =>
            {
                // A bare '?verbose' means yes.
                value = text is "" or "true" or "1";
                return value || text is "false" or "0";
            }
        );
}

/// <summary>On each endpoint: the query parameters that it takes. Any other is an error: a misspelt <c>dryRun</c> must not become a write.</summary>
internal sealed record QueryMetadata(ImmutableArray<QueryParameter> Parameters)
{
    public static QueryMetadata None { get; } = new([]);
}

/// <summary>Refuses parameters that the endpoint does not know, that are given twice, or whose text is not a value.</summary>
internal static class QueryCheck
{
    public static TBuilder Takes<TBuilder>(this TBuilder builder, params ImmutableArray<QueryParameter> parameters)
        where TBuilder : IEndpointConventionBuilder => builder.WithMetadata(new QueryMetadata(parameters));

    public static ProblemResult? Explain(HttpContext http)
    {
        var query = http.Request.Query;
        if (query.Count == 0)
        {
            return null;
        }

        var known = (http.GetEndpoint()?.Metadata.GetMetadata<QueryMetadata>() ?? QueryMetadata.None).Parameters;
        var faults = ImmutableArray.CreateBuilder<Fault>();
        foreach (var (name, values) in query)
        {
            var parameter = known.FirstOrDefault(p => p.Name == name);
            if (parameter is null)
            {
                var names = known.Select(p => p.Name).ToList();
                var allowed = names.Count == 0 ? "None is taken here." : $"Known are: {string.Join(", ", names)}.";
                faults.Add(
                    new Fault(
                        "unknown-parameter",
                        $"The query parameter '{Shorten(name)}' is not known here.{Suggestion.For(name, names)} {allowed}"
                    )
                );
            }
            else if (values.Count > 1)
            {
                faults.Add(new Fault("repeated-parameter", $"The query parameter '{name}' is given {values.Count} times. Give it once."));
            }
            else if (parameter.Explain(values.ToString()) is { } expected)
            {
                faults.Add(new Fault("invalid-parameter", $"The query parameter '{name}' is not {expected}."));
            }
        }

        if (Query.ValidationWarn.Of(http) && Query.Reason.Of(http).Length == 0)
        {
            faults.Add(
                new Fault(
                    "reason-required",
                    "validation=warn needs a reason: add &reason=… with the cause for taking what Envoy may refuse."
                )
            );
        }

        return faults.Count == 0 ? null : Problems.Parameter(faults.ToImmutable());
    }

    private static string Shorten(string text) => text.Length <= 40 ? text : text[..40] + "…";
}

/// <summary>One kind in a list of kinds to show.</summary>
internal readonly record struct ResourceKindFilter(Resources.ResourceKind Kind)
{
    public static bool TryParse(string text, out ImmutableArray<ResourceKindFilter> kinds)
    {
        var builder = ImmutableArray.CreateBuilder<ResourceKindFilter>();
        foreach (var word in text.Split(',', StringSplitOptions.TrimEntries))
        {
            if (!word.All(char.IsAsciiLetter) || !Enum.TryParse<Resources.ResourceKind>(word, ignoreCase: true, out var kind))
            {
                kinds = [];
                return false;
            }

            builder.Add(new ResourceKindFilter(kind));
        }

        kinds = builder.ToImmutable();
        return kinds.Length > 0;
    }

    /// <summary>Whether a list lets a kind through; an empty one lets all.</summary>
    public static bool Allows(ImmutableArray<ResourceKindFilter> kinds, Resources.ResourceKind kind) =>
        kinds.IsEmpty || kinds.Contains(new ResourceKindFilter(kind));
}
