using System.Collections.Immutable;
using System.Text.Json.Nodes;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Listeners;

/// <summary>Rules of access logs.</summary>
internal static class AccessLogValidator
{
    public static void Validate(AccessLogSpec log, string pointer, ProblemCollector problems)
    {
        problems.OneOf(pointer, isRequired: true, ("stdout", log.Stdout is not null), ("grpc", log.Grpc is not null));
        if (log.Stdout is { } stdout)
        {
            problems.OneOf($"{pointer}/stdout", isRequired: false, ("json", stdout.Json is not null), ("text", stdout.Text is not null));
            problems.NotEmpty($"{pointer}/stdout/text", stdout.Text);
            problems.CommandOperatorsIn($"{pointer}/stdout/text", stdout.Text ?? "");
            ValidateFormats(stdout.Json, $"{pointer}/stdout/json", problems);
        }
        if (log.Grpc is { } grpc)
        {
            problems.NotEmpty($"{pointer}/grpc/upstream", grpc.Upstream);
            problems.Label($"{pointer}/grpc/logName", grpc.LogName);
            problems.Interval($"{pointer}/grpc/bufferFlushInterval", grpc.BufferFlushInterval);
            ValidateHeaders(grpc.RequestHeaders, $"{pointer}/grpc/requestHeaders", problems);
            ValidateHeaders(grpc.ResponseHeaders, $"{pointer}/grpc/responseHeaders", problems);
        }
    }

    /// <summary>Every text in a JSON format may hold command operators.</summary>
    private static void ValidateFormats(JsonNode? node, string pointer, ProblemCollector problems)
    {
        switch (node)
        {
            case JsonObject members:
                foreach (var (key, value) in members)
                {
                    ValidateFormats(value, $"{pointer}/{JsonPointer.Escape(key)}", problems);
                }
                break;
            case JsonArray items:
                for (var at = 0; at < items.Count; at++)
                {
                    ValidateFormats(items[at], $"{pointer}/{at}", problems);
                }
                break;
            case JsonValue value when value.TryGetValue<string>(out var text):
                problems.CommandOperatorsIn(pointer, text);
                break;
        }
    }

    private static void ValidateHeaders(ImmutableArray<string> headers, string pointer, ProblemCollector problems)
    {
        foreach (var (at, header) in headers.Index())
        {
            problems.HeaderToRead($"{pointer}/{at}", header);
        }
    }
}
