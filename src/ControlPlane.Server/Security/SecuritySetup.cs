using Microsoft.AspNetCore.Authentication;

namespace ControlPlane.Server.Security;

/// <summary>Wires listeners, tokens and roles.</summary>
internal static class SecuritySetup
{
    /// <summary>Adds the two listeners, token authentication and the policies of <see cref="Access"/>. Needs a <see cref="TimeProvider"/>.</summary>
    /// <exception cref="StartupException">The options forbid a start.</exception>
    public static WebApplicationBuilder AddSecurity(this WebApplicationBuilder builder, ServerOptions options)
    {
        if (options.Faults() is { Count: > 0 } faults)
        {
            throw new StartupException(string.Join(Environment.NewLine, faults));
        }

        builder.Services.AddSingleton<TlsMaterials>();
        builder.Services.AddSingleton<AccessTokens>();
        builder.WebHost.ConfigureKestrel(kestrel => Listeners.Configure(kestrel, options));
        builder
            .Services.AddAuthentication(TokenAuthentication.SchemeName)
            .AddScheme<AuthenticationSchemeOptions, TokenAuthentication>(TokenAuthentication.SchemeName, null);
        builder
            .Services.AddAuthorizationBuilder()
            .AddPolicy(Access.Read, p => p.RequireRole(Access.Read))
            .AddPolicy(Access.Write, p => p.RequireRole(Access.Write))
            .AddPolicy(Access.Evidence, p => p.RequireRole(Access.Evidence));
        return builder;
    }

    /// <summary>Checks doors, browsers, tokens and roles, in this order. Goes after routing and before the endpoints.</summary>
    /// <exception cref="StartupException">The token file cannot be used.</exception>
    public static WebApplication UseSecurity(this WebApplication app)
    {
        // Read now: a broken file must stop the start, not the first request.
        _ = app.Services.GetRequiredService<AccessTokens>();
        app.UseMiddleware<DoorCheck>();
        app.UseMiddleware<BrowserGuard>();
        app.UseAuthentication();
        app.UseAuthorization();
        return app;
    }
}
