using System.Text.Encodings.Web;
using System.Text.Json;

namespace ControlPlane.Server.Telemetry;

/// <summary>How log lines look on the console.</summary>
public enum LogFormat
{
    /// <summary>One readable line each; the default on a terminal.</summary>
    Text,

    /// <summary>One JSON object each, with the event's id and its values as fields; the default where output goes to a file or a collector.</summary>
    Json,
}

/// <summary>Registers the console log.</summary>
internal static class LoggingExtensions
{
    /// <summary>Replaces whatever logs to the console.</summary>
    /// <param name="logging">The server's logging.</param>
    /// <param name="format">How lines look.</param>
    public static ILoggingBuilder AddConsoleLog(this ILoggingBuilder logging, LogFormat format)
    {
        logging.ClearProviders();

        // A line tells which request or change it belongs to.
        logging.Configure(options => options.ActivityTrackingOptions = ActivityTrackingOptions.TraceId | ActivityTrackingOptions.SpanId);

        // The frameworks' own accounts of each request and query are in the metrics; what they warn of is kept. Npgsql would log statements.
        logging.AddFilter("Microsoft.AspNetCore", LogLevel.Warning);
        logging.AddFilter("Grpc", LogLevel.Warning);
        logging.AddFilter("Npgsql", LogLevel.Warning);
        // The base class of the handler says each challenge twice; who was rejected is told as 5007.
        logging.AddFilter("ControlPlane.Server.Security.TokenAuthentication", LogLevel.Warning);

        return format switch
        {
            LogFormat.Json => logging.AddJsonConsole(json =>
            {
                json.TimestampFormat = "yyyy-MM-dd'T'HH:mm:ss.fff'Z'";
                json.UseUtcTimestamp = true;
                // No browser reads it: a quotation mark needs no more than a backslash.
                json.JsonWriterOptions = new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
                // Trace and span ids are in the scopes.
                json.IncludeScopes = true;
            }),
            _ => logging.AddSimpleConsole(text =>
            {
                text.SingleLine = true;
                text.TimestampFormat = "HH:mm:ss.fff ";
            }),
        };
    }
}
