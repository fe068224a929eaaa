using System.Net;
using System.Security.Claims;
using System.Text.Encodings.Web;
using ControlPlane.Server.Admin;
using Microsoft.AspNetCore.Authentication;
using Microsoft.Extensions.Options;

namespace ControlPlane.Server.Security;

/// <summary>Who may do what on the API: the policies, named by the least role that they need.</summary>
internal static class Access
{
    /// <summary>For what only shows.</summary>
    public const string Read = "read";

    /// <summary>For what changes.</summary>
    public const string Write = "write";

    /// <summary>For testimony about the health of endpoints.</summary>
    public const string Evidence = "evidence";

    /// <summary>Who acts where no tokens are in use: whoever is on this machine.</summary>
    public const string LocalUser = "local";

    /// <summary>The name that a revision records as its author.</summary>
    public static string Author(this HttpContext http) => http.User.Identity?.Name ?? LocalUser;

    /// <summary>For requests that go on: ends with the client, with the server, and when the token that the client came with is taken away or gets another role.</summary>
    public static CancellationTokenSource Ending(this HttpContext http, IHostApplicationLifetime lifetime) =>
        CancellationTokenSource.CreateLinkedTokenSource(
            http.RequestAborted,
            lifetime.ApplicationStopping,
            http.Features.Get<TokenFeature>()?.Withdrawn ?? CancellationToken.None
        );
}

/// <summary>The token that a request came with.</summary>
/// <param name="Withdrawn">Is cancelled when it is taken away or gets another role.</param>
internal sealed record TokenFeature(CancellationToken Withdrawn);

/// <summary>Bearer tokens (RFC 6750).</summary>
internal sealed class TokenAuthentication(
    AccessTokens tokens,
    IOptionsMonitor<AuthenticationSchemeOptions> options,
    ILoggerFactory logger,
    UrlEncoder encoder
) : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
{
    public const string SchemeName = "Bearer";

    protected override Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        if (!tokens.Required)
        {
            return Task.FromResult(Success(Access.LocalUser, TokenRole.Write));
        }

        var header = Request.Headers.Authorization.ToString();
        if (!header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase))
        {
            return Task.FromResult(AuthenticateResult.NoResult());
        }

        if (tokens.Find(header["Bearer ".Length..].Trim(), out var withdrawn) is not { } token)
        {
            tokens.Rejected(Context);
            return Task.FromResult(AuthenticateResult.Fail("The token is not known."));
        }

        Context.Features.Set(new TokenFeature(withdrawn));
        return Task.FromResult(Success(token.Name, token.Role));
    }

    protected override Task HandleChallengeAsync(AuthenticationProperties properties)
    {
        var given = Request.Headers.Authorization.Count > 0;
        Response.Headers.WWWAuthenticate = given
            ? "Bearer realm=\"controlplane\", error=\"invalid_token\""
            : "Bearer realm=\"controlplane\"";
        return Problems
            .Unauthorized(
                given
                    ? "The token is not known. Check that it is whole, and that its line is in the server's token file."
                    : "A token is needed. Send it as 'Authorization: Bearer TOKEN'."
            )
            .ExecuteAsync(Context);
    }

    protected override Task HandleForbiddenAsync(AuthenticationProperties properties) =>
        Problems
            .Forbidden(
                Context.User.IsInRole(Access.Read)
                    ? $"The token '{Context.Author()}' may read only. Use one with role write, or with role evidence to post evidence."
                    : $"The token '{Context.Author()}' may post evidence and nothing else. Use one with role read or write."
            )
            .ExecuteAsync(Context);

    private static AuthenticateResult Success(string name, TokenRole role)
    {
        // Who may change everything may give orders about an endpoint, so its testimony adds nothing.
        string[] allowed = role switch
        {
            TokenRole.Write => [Access.Read, Access.Write, Access.Evidence],
            TokenRole.Evidence => [Access.Evidence],
            _ => [Access.Read],
        };
        var identity = new ClaimsIdentity(
            [new Claim(ClaimTypes.Name, name), .. allowed.Select(a => new Claim(ClaimTypes.Role, a))],
            SchemeName
        );
        return AuthenticateResult.Success(new AuthenticationTicket(new ClaimsPrincipal(identity), SchemeName));
    }
}

/// <summary>
/// Keeps web pages from using a browser on this machine as a way into an API without tokens: by a name that they let resolve to loopback (DNS rebinding), or by a
/// request across sites. Where tokens are in use a page has none, and reverse proxies may give any host.
/// </summary>
internal sealed class BrowserGuard(RequestDelegate next, AccessTokens tokens)
{
    public Task InvokeAsync(HttpContext http)
    {
        if (tokens.Required || http.Features.Get<ListenerFeature>()?.Listener != Listener.Admin)
        {
            return next(http);
        }

        var host = http.Request.Host.Host;
        var isLocalHost =
            host is "" or "localhost" || (IPAddress.TryParse(host.Trim('[', ']'), out var address) && IPAddress.IsLoopback(address));
        if (!isLocalHost)
        {
            return Problems
                .Forbidden(
                    $"The server runs without tokens and answers only to localhost, not to the host '{host}'. Use http://localhost:PORT, or start it with --admin-token-file."
                )
                .ExecuteAsync(http);
        }

        var origin = http.Request.Headers.Origin.ToString();
        var isOtherSite =
            http.Request.Headers["Sec-Fetch-Site"].ToString() is "cross-site" or "same-site"
            || (origin.Length > 0 && !(Uri.TryCreate(origin, UriKind.Absolute, out var uri) && uri.Authority == http.Request.Host.Value));
        var isNavigation = HttpMethods.IsGet(http.Request.Method) && http.Request.Headers["Sec-Fetch-Mode"] == "navigate";
        return isOtherSite && !isNavigation
            ? Problems
                .Forbidden("The request comes from a page of another site. The server runs without tokens and takes none.")
                .ExecuteAsync(http)
            : next(http);
    }
}
