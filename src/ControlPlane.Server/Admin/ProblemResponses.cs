using ControlPlane.Resources.Validation;
using ControlPlane.Server.Security;
using ControlPlane.Server.Storage;

namespace ControlPlane.Server.Admin;

/// <summary>Turns exceptions, and bare statuses such as those of routing, on the API's listener into problems. No stack trace ever leaves the server.</summary>
internal sealed partial class ProblemResponses(RequestDelegate next, ILogger<ProblemResponses> logger)
{
    private const int ClientClosedRequest = 499;

    public async Task InvokeAsync(HttpContext http)
    {
        if (http.Features.Get<ListenerFeature>()?.Listener != Listener.Admin)
        {
            await next(http);
            return;
        }

        try
        {
            await next(http);
        }
        catch (Exception e) when (!http.Response.HasStarted)
        {
            if (http.RequestAborted.IsCancellationRequested && e is OperationCanceledException or IOException)
            {
                http.Response.StatusCode = ClientClosedRequest;
                return;
            }

            var problem = Explain(http, e);
            http.Response.Clear();
            await problem.ExecuteAsync(http);
            return;
        }

        if (!http.Response.HasStarted && http.Response is { StatusCode: >= 400, ContentLength: null, ContentType: null })
        {
            await OfStatus(http).ExecuteAsync(http);
        }
    }

    private ProblemResult Explain(HttpContext http, Exception exception)
    {
        switch (exception)
        {
            case BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge }:
                return Problems.BodyTooLarge();
            case BadHttpRequestException { StatusCode: StatusCodes.Status408RequestTimeout }:
                return Problems.Timeout("The body came too slowly.");
            case BadHttpRequestException bad:
                return Problems.Syntax("The request is not valid HTTP: " + bad.Message);
            case StoreUnavailableException unavailable:
                LogUnavailable(http.Request.Method, http.Request.Path, unavailable.Message);
                return Problems.StoreUnavailable(
                    unavailable.Message,
                    !HttpMethods.IsGet(http.Request.Method) && !HttpMethods.IsHead(http.Request.Method),
                    unavailable.IsOutcomeUnknown
                );
            default:
                LogFailed(exception, http.Request.Method, http.Request.Path);
                return Problems.Internal();
        }
    }

    private static ProblemResult OfStatus(HttpContext http)
    {
        var path = http.Request.Path.Value ?? "";
        return http.Response.StatusCode switch
        {
            404 => Problems.NotFound($"There is nothing at {Shorten(path)}.{NearestCollection(path)} /docs lists what there is."),
            405 => Problems.MethodNotAllowed($"{http.Request.Method} is not known at {Shorten(path)}. Known there: {Allow(http)}."),
            408 or 504 => Problems.Timeout("The request took longer than the server waits."),
            413 => Problems.BodyTooLarge(),
            415 => RequestBody.Unsupported(http),
            var status => Problems.Of(status, "http", "The request was not done", $"The server answered {status}."),
        };
    }

    /// <summary>Completes the header of that name: where GET is, HEAD is, too.</summary>
    private static string Allow(HttpContext http)
    {
        var methods = http
            .Response.Headers.Allow.ToString()
            .Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        var allowed = string.Join(", ", methods.Contains(HttpMethods.Get) ? methods.Append(HttpMethods.Head) : methods);
        http.Response.Headers.Allow = allowed;
        return allowed;
    }

    private static string NearestCollection(string path) =>
        path.Split('/') is ["", "api", "v1", var word, ..] && !AdminApi.Collections.Contains(word)
            ? Suggestion.For(word, AdminApi.Collections)
            : "";

    private static string Shorten(string path) => path.Length <= 200 ? path : path[..200] + "…";

    [LoggerMessage(4001, LogLevel.Error, "{Method} {Path} failed")]
    private partial void LogFailed(Exception exception, string method, string path);

    [LoggerMessage(4002, LogLevel.Warning, "{Method} {Path} was refused because the store does not answer: {Reason}")]
    private partial void LogUnavailable(string method, string path, string reason);
}
