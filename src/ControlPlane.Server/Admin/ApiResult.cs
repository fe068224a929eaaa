using System.Text;
using System.Text.Json;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Reading;
using Microsoft.Net.Http.Headers;

namespace ControlPlane.Server.Admin;

/// <summary>Answers with a value as JSON, or as YAML where the client prefers that.</summary>
internal sealed class ApiResult<T>(T value, int status = StatusCodes.Status200OK) : IResult
{
    public async Task ExecuteAsync(HttpContext httpContext)
    {
        var response = httpContext.Response;
        response.StatusCode = Preconditions.IsNotModified(httpContext) ? StatusCodes.Status304NotModified : status;
        response.Headers.CacheControl = "no-store";
        response.Headers.Append(HeaderNames.Vary, HeaderNames.Accept);
        if (response.StatusCode == StatusCodes.Status304NotModified)
        {
            return;
        }

        if (MediaTypes.PrefersYaml(httpContext.Request))
        {
            response.ContentType = MediaTypes.Yaml;
            await response.WriteAsync(
                YamlText.OfJson(JsonSerializer.Serialize(value, ApiJson.Options)),
                Encoding.UTF8,
                httpContext.RequestAborted
            );
        }
        else
        {
            await response.WriteAsJsonAsync(value, ApiJson.Options, MediaTypes.Json, httpContext.RequestAborted);
        }
    }
}

/// <summary>The media types of answers.</summary>
internal static class MediaTypes
{
    public const string Json = "application/json; charset=utf-8";
    public const string Yaml = "application/yaml; charset=utf-8";

    /// <summary>Whether a YAML type is accepted and no JSON type goes before it.</summary>
    public static bool PrefersYaml(HttpRequest request)
    {
        foreach (var accepted in request.GetTypedHeaders().Accept.OrderByDescending(a => a.Quality ?? 1))
        {
            switch (accepted.MediaType.Value)
            {
                case "application/yaml" or "application/x-yaml" or "text/yaml":
                    return true;
                case "application/json" or "application/*" or "*/*":
                    return false;
            }
        }

        return false;
    }
}
