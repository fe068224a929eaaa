using Npgsql;

namespace ControlPlane.Server.Storage.Postgres;

/// <summary>
/// Reads the URLs that PostgreSQL's own tools take (PostgreSQL manual, "Connection URIs"):
/// <c>postgres://user:password@host:port,host:port/database?parameter=value</c>.
/// </summary>
internal static class PostgresUrl
{
    private const string PercentHint =
        "Write the special characters of a user name or password percent-encoded, for example '@' as %40 and '/' as %2F.";

    // libpq's names where Npgsql has another; any further parameter goes by Npgsql's own name.
    private static readonly Dictionary<string, string> Keywords = new(StringComparer.OrdinalIgnoreCase)
    {
        ["host"] = "Host",
        ["port"] = "Port",
        ["user"] = "Username",
        ["password"] = "Password",
        ["dbname"] = "Database",
        ["sslmode"] = "SSL Mode",
        ["sslrootcert"] = "Root Certificate",
        ["sslcert"] = "SSL Certificate",
        ["sslkey"] = "SSL Key",
        ["sslpassword"] = "SSL Password",
        ["sslnegotiation"] = "SSL Negotiation",
        ["channel_binding"] = "Channel Binding",
        ["connect_timeout"] = "Timeout",
        ["application_name"] = "Application Name",
        ["options"] = "Options",
        ["passfile"] = "Passfile",
        ["target_session_attrs"] = "Target Session Attributes",
        ["search_path"] = "Search Path",
    };

    /// <summary>Whether a text begins like such a URL.</summary>
    public static bool IsUrl(string text) =>
        text.StartsWith("postgres://", StringComparison.OrdinalIgnoreCase)
        || text.StartsWith("postgresql://", StringComparison.OrdinalIgnoreCase);

    /// <summary>Reads a URL.</summary>
    /// <exception cref="FormatException">What is wrong and what to give; never with a part that could be of a password.</exception>
    public static NpgsqlConnectionStringBuilder Parse(string url)
    {
        var rest = url[(url.IndexOf("://", StringComparison.Ordinal) + 3)..];
        var (beforeQuery, query) = Split(rest, rest.IndexOf('?', StringComparison.Ordinal));
        var (authority, database) = Split(beforeQuery, beforeQuery.IndexOf('/', StringComparison.Ordinal));
        if (database.Contains('@', StringComparison.Ordinal) || query.Contains('@', StringComparison.Ordinal))
        {
            throw new FormatException($"--store has an '@' after the host. {PercentHint}");
        }

        var connection = new NpgsqlConnectionStringBuilder();
        var at = authority.LastIndexOf('@');
        if (at >= 0)
        {
            var (user, password) = Split(
                authority[..at],
                authority.IndexOf(':', StringComparison.Ordinal) is var colon && colon < at ? colon : -1
            );
            connection.Username = Uri.UnescapeDataString(user);
            if (password.Length > 0)
            {
                connection.Password = Uri.UnescapeDataString(password);
            }
        }

        SetHosts(connection, authority[(at + 1)..]);
        if (database.Length > 0)
        {
            connection.Database = Uri.UnescapeDataString(database);
        }

        foreach (var parameter in query.Split('&', StringSplitOptions.RemoveEmptyEntries))
        {
            SetParameter(connection, parameter);
        }

        return connection;
    }

    private static void SetHosts(NpgsqlConnectionStringBuilder connection, string hosts)
    {
        if (hosts.Length == 0)
        {
            return;
        }

        var names = new List<string>();
        foreach (var host in hosts.Split(','))
        {
            var colon = host.LastIndexOf(':');
            var hasPort = colon > host.LastIndexOf(']');
            var name = Uri.UnescapeDataString(hasPort ? host[..colon] : host).Trim('[', ']');
            var port = NpgsqlConnection.DefaultPort;
            if (name.Length == 0 || (hasPort && !(int.TryParse(host[(colon + 1)..], out port) && port is > 0 and < 65536)))
            {
                throw new FormatException($"--store has no proper HOST:PORT, with a port from 1 to 65535. {PercentHint}");
            }

            connection.Port = port;
            names.Add(hosts.Contains(',', StringComparison.Ordinal) ? $"{name}:{port}" : name);
        }

        connection.Host = string.Join(',', names);
    }

    private static void SetParameter(NpgsqlConnectionStringBuilder connection, string parameter)
    {
        var (encodedName, encodedValue) = Split(parameter, parameter.IndexOf('=', StringComparison.Ordinal));
        var name = Uri.UnescapeDataString(encodedName);
        var value = Uri.UnescapeDataString(encodedValue);
        var keyword = Keywords.GetValueOrDefault(name, name);
        if (!connection.ContainsKey(keyword))
        {
            throw new FormatException($"--store has the parameter '{name}' in its URL, which neither PostgreSQL nor Npgsql knows.");
        }

        // verify-full is VerifyFull there.
        if (!StoreFactory.TrySet(connection, keyword, keyword == "SSL Mode" ? value.Replace("-", "", StringComparison.Ordinal) : value))
        {
            throw new FormatException($"--store has a value for '{name}' in its URL that is not allowed.");
        }
    }

    private static (string Before, string After) Split(string text, int at) => at < 0 ? (text, "") : (text[..at], text[(at + 1)..]);
}
