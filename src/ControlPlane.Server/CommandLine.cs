using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using ControlPlane.Resources.Validation;
using ControlPlane.Server.Security;
using ControlPlane.Server.Storage;
using ControlPlane.Server.Telemetry;

namespace ControlPlane.Server;

/// <summary>What a command line asks for.</summary>
public abstract record CommandLine
{
    private CommandLine() { }

    /// <summary>Run the server.</summary>
    public sealed record Serve(ServerOptions Options) : CommandLine;

    /// <summary>Write the store, history included, to a file.</summary>
    public sealed record Backup(ServerOptions Options, string File) : CommandLine;

    /// <summary>Read a backup into an empty store.</summary>
    public sealed record Restore(ServerOptions Options, string File) : CommandLine;

    /// <summary>Make a token and print it with its line for the token file.</summary>
    public sealed record CreateToken(string Name, TokenRole Role) : CommandLine;

    /// <summary>Print a text and end well.</summary>
    public sealed record Print(string Text) : CommandLine;

    /// <summary>Say everything that is wrong and end with code 2.</summary>
    public sealed record Faulty(ImmutableArray<string> Faults) : CommandLine;

    private const string EnvironmentPrefix = "CONTROLPLANE_";

    /// <summary>One option: the only place that knows its flag, its help and how to set it.</summary>
    /// <param name="Name">The flag without <c>--</c>; the environment variable follows from it.</param>
    /// <param name="Value">Placeholder of the value in the help; empty for a switch.</param>
    /// <param name="Help">What it does.</param>
    /// <param name="Set">
    /// Gives the options with the value set, or null for a value that is not one; the fault is then <paramref name="Expected"/>. May say more by a
    /// <see cref="FormatException"/>.
    /// </param>
    /// <param name="Expected">What a value looks like.</param>
    private sealed record Option(string Name, string Value, string Help, Func<ServerOptions, string, ServerOptions?> Set, string Expected)
    {
        public string Flag => "--" + Name;

        public string Variable => EnvironmentPrefix + Name.ToUpperInvariant().Replace('-', '_');

        public bool IsSwitch => Value.Length == 0;
    }

    private static readonly ImmutableArray<Option> Table =
    [
        Address("admin-listen", "Where the REST API listens (127.0.0.1:8080).", (o, v) => o with { AdminListen = v }),
        Address("xds-listen", "Where proxies connect (127.0.0.1:18000).", (o, v) => o with { XdsListen = v }),
        Setting(
            "store",
            "STORE",
            "sqlite:PATH, a postgres:// URL or an Npgsql connection string (sqlite:DATA-DIR/controlplane.db).",
            (o, v) => StoreFactory.Parse(v) is { } ? o with { Store = v } : null,
            "sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE or a connection string such as 'Host=db;Database=controlplane;Username=cp'"
        ),
        Setting("data-dir", "FOLDER", "For the last-good file and the SQLite database (data).", (o, v) => o with { DataDir = v }),
        Setting("admin-token-file", "FILE", "Tokens of the API, reloaded when the file changes.", (o, v) => o with { AdminTokenFile = v }),
        Setting(
            "admin-tls-cert",
            "FILE",
            "Certificate chain of the API, PEM; renewed without a restart.",
            (o, v) => o with { AdminTlsCert = v }
        ),
        Setting("admin-tls-key", "FILE", "Its private key, PEM.", (o, v) => o with { AdminTlsKey = v }),
        Switch(
            "admin-plaintext",
            "Allow the API without TLS beyond loopback; tokens are still needed.",
            (o, v) => o with { AdminPlaintext = v }
        ),
        Setting(
            "xds-tls-cert",
            "FILE",
            "Certificate chain that proxies see, PEM; renewed without a restart.",
            (o, v) => o with { XdsTlsCert = v }
        ),
        Setting("xds-tls-key", "FILE", "Its private key, PEM.", (o, v) => o with { XdsTlsKey = v }),
        Setting(
            "xds-client-ca",
            "FILE",
            "Authorities that sign the certificates of proxies, PEM. A certificate's SAN must name the node's id or cluster.",
            (o, v) => o with { XdsClientCa = v }
        ),
        Switch("xds-plaintext", "Allow xDS without TLS beyond loopback.", (o, v) => o with { XdsPlaintext = v }),
        Address(
            "peer-listen",
            "Where other servers on the same PostgreSQL connect (a free port of 127.0.0.1).",
            (o, v) => o with { PeerListen = v }
        ),
        Setting(
            "peer-address",
            "HOST:PORT",
            "Where the others reach that, if not where it listens (or HOSTNAME:PORT, if that is everywhere).",
            (o, v) => IsHostAndPort(v) ? o with { PeerAddress = v } : null,
            "a host and a port such as cp-1.internal:18001"
        ),
        Setting(
            "peer-tls-cert",
            "FILE",
            "Certificate chain for other servers, as server and as client, PEM; renewed without a restart.",
            (o, v) => o with { PeerTlsCert = v }
        ),
        Setting("peer-tls-key", "FILE", "Its private key, PEM.", (o, v) => o with { PeerTlsKey = v }),
        Setting(
            "peer-client-ca",
            "FILE",
            "Authorities that sign the certificates of the servers, PEM.",
            (o, v) => o with { PeerClientCa = v }
        ),
        Switch("peer-plaintext", "Allow other servers without TLS beyond loopback.", (o, v) => o with { PeerPlaintext = v }),
        Setting(
            "zone",
            "ZONE",
            "The zone in which this server probes endpoints, named as those of endpoints and proxies (the unnamed one).",
            (o, v) => o with { Zone = v }
        ),
        Switch(
            "no-probes",
            "Probe no endpoint from here: load reports, outside evidence and orders decide.",
            (o, v) => o with { NoProbes = v }
        ),
        Switch(
            "probe-loopback",
            "Allow probes of loopback addresses although the server listens on others.",
            (o, v) => o with { ProbeLoopback = v }
        ),
        Setting("secret-dir", "FOLDER", "The only folder that file: references of secrets reach into.", (o, v) => o with { SecretDir = v }),
        Setting(
            "secret-env-prefix",
            "PREFIX",
            "How variables begin that env: references of secrets reach (CONTROLPLANE_SECRET_).",
            (o, v) => o with { SecretEnvPrefix = v }
        ),
        Switch(
            "demo",
            "Add three small backends and a listener on 127.0.0.1:10000; start an Envoy where one is found.",
            (o, v) => o with { Demo = v }
        ),
        Setting(
            "log-format",
            "text|json",
            "How log lines look (text on a terminal, else json).",
            (o, v) =>
                v switch
                {
                    "text" => o with { LogFormat = LogFormat.Text },
                    "json" => o with { LogFormat = LogFormat.Json },
                    _ => null,
                },
            "'text' or 'json'"
        ),
        Number("history-days", 1, 36_500, "History younger than this is kept (30).", (o, v) => o with { HistoryDays = v }),
        Number(
            "history-revisions",
            1,
            int.MaxValue,
            "The newest so many revisions are kept whatever their age (1000).",
            (o, v) => o with { HistoryRevisions = v }
        ),
        Number(
            "health-history-days",
            1,
            3_650,
            "Transitions of endpoints' health younger than this are kept (7).",
            (o, v) => o with { HealthHistoryDays = v }
        ),
        Number(
            "max-admin-connections",
            1,
            1_000_000,
            "Connections to the API at once (1000).",
            (o, v) => o with { MaxAdminConnections = v }
        ),
        Number("max-xds-connections", 1, 1_000_000, "Connections of proxies at once (20000).", (o, v) => o with { MaxXdsConnections = v }),
        Number("max-watch-streams", 1, 1_000_000, "Watch streams of the API at once (100).", (o, v) => o with { MaxWatchStreams = v }),
    ];

    /// <summary>Reads a command line. Flags go before environment variables; all faults are found at once.</summary>
    /// <param name="arguments">The arguments after the program's name.</param>
    /// <param name="environment">Gives the value of an environment variable, or null.</param>
    public static CommandLine Parse(IReadOnlyList<string> arguments, Func<string, string?> environment)
    {
        var faults = new List<string>();
        var options = new ServerOptions();
        foreach (var option in Table)
        {
            if (environment(option.Variable) is { Length: > 0 } value)
            {
                options = Apply(option, option.Variable, value, options, faults);
            }
        }

        var words = new List<string>();
        var verbFlags = new Dictionary<string, string>(StringComparer.Ordinal);
        for (var i = 0; i < arguments.Count; i++)
        {
            var argument = arguments[i];
            if (argument is "-h" or "--help")
            {
                return new Print(HelpText());
            }

            if (argument == "--version")
            {
                return new Print(typeof(CommandLine).Assembly.GetName().Version!.ToString(3));
            }

            if (!argument.StartsWith('-'))
            {
                words.Add(argument);
                continue;
            }

            var equals = argument.IndexOf('=', StringComparison.Ordinal);
            var flag = equals < 0 ? argument : argument[..equals];
            var value = equals < 0 ? null : argument[(equals + 1)..];
            var option = Table.FirstOrDefault(o => o.Flag == flag);
            if (option is { IsSwitch: true } && value is null)
            {
                value = "true";
            }

            if (option is null && flag is not ("--to" or "--from" or "--role"))
            {
                faults.Add($"{flag} is not an option.{Suggestion.For(flag, Table.Select(o => o.Flag))} --help lists all.");

                // Its value, if it has one, is not a fault of its own.
                if (value is null && i + 1 < arguments.Count && !arguments[i + 1].StartsWith('-'))
                {
                    i++;
                }

                continue;
            }

            if (value is null && i + 1 < arguments.Count && !arguments[i + 1].StartsWith("--", StringComparison.Ordinal))
            {
                value = arguments[++i];
            }

            if (value is null or "")
            {
                faults.Add($"{flag} needs a value{(option is null ? "" : ": " + option.Expected)}.");
            }
            else if (option is null)
            {
                verbFlags[flag] = value;
            }
            else
            {
                options = Apply(option, flag, value, options, faults);
            }
        }

        return Command(words, verbFlags, options, faults);
    }

    private static CommandLine Command(List<string> words, Dictionary<string, string> verbFlags, ServerOptions options, List<string> faults)
    {
        CommandLine command;
        var allowed = "";
        switch (words)
        {
            case [] or ["serve"]:
                faults.AddRange(options.Faults());
                command = new Serve(options);
                break;
            case ["backup"]:
                allowed = "--to";
                command = new Backup(options, Required("--to", "backup --to FILE"));
                break;
            case ["restore"]:
                allowed = "--from";
                command = new Restore(options, Required("--from", "restore --from FILE"));
                break;
            case ["token", "create", var name]:
                allowed = "--role";
                if (!TokenFile.IsName(name))
                {
                    faults.Add($"'{name}' is not a token's name: 1 to 63 letters, digits and - _ . are.");
                }

                var word = Required("--role", $"token create NAME --role {TokenFile.Roles}");
                var role = TokenFile.ParseRole(word);
                if (word.Length > 0 && role is null)
                {
                    faults.Add($"--role is one of {TokenFile.Roles}, not '{word}'.");
                }

                command = new CreateToken(name, role ?? TokenRole.Read);
                break;
            case ["token", ..]:
                faults.Add($"The command is: token create NAME --role {TokenFile.Roles}.");
                command = new Serve(options);
                break;
            default:
                faults.Add(
                    $"'{words[0]}' is not a command.{Suggestion.For(words[0], ["serve", "backup", "restore", "token"])} Commands are: serve, backup, restore, token create."
                );
                command = new Serve(options);
                break;
        }

        faults.AddRange(verbFlags.Keys.Where(f => f != allowed).Select(f => $"{f} does not belong to this command."));
        return faults.Count == 0 ? command : new Faulty([.. faults]);

        string Required(string flag, string usage)
        {
            if (verbFlags.TryGetValue(flag, out var value))
            {
                return value;
            }

            faults.Add($"{flag} is missing: {usage}.");
            return "";
        }
    }

    private static ServerOptions Apply(Option option, string source, string value, ServerOptions options, List<string> faults)
    {
        try
        {
            if (option.Set(options, value) is { } set)
            {
                return set;
            }

            faults.Add($"{source} '{value}' is not {option.Expected}.");
        }
        catch (FormatException e)
        {
            faults.Add(source == option.Flag ? e.Message : $"{source}: {e.Message}");
        }

        return options;
    }

    private static string HelpText()
    {
        var text = new StringBuilder(
            """
            An xDS control plane for Envoy.

            Usage:
              controlplane [serve] [OPTIONS]                     run the server
              controlplane backup --to FILE [OPTIONS]            write the store, history included, to a file
              controlplane restore --from FILE [OPTIONS]         read a backup into an empty store
              controlplane token create NAME --role ROLE         make a token (ROLE is read, write or evidence) and its line for the token file

            Options (a flag, or the environment variable beside it; flags go first; defaults in parentheses):

            """
        );
        foreach (var option in Table)
        {
            text.AppendLine(
                CultureInfo.InvariantCulture,
                $"  {option.Flag + (option.IsSwitch ? "" : " " + option.Value), -34} {option.Variable}"
            );
            text.AppendLine(CultureInfo.InvariantCulture, $"      {option.Help}");
        }

        text.AppendLine("  --help, --version");
        return text.ToString();
    }

    private static bool IsHostAndPort(string value) =>
        value.LastIndexOf(':') is > 0 and var at
        && ushort.TryParse(value.AsSpan(at + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port)
        && port > 0
        && Uri.CheckHostName(value[..at]) != UriHostNameType.Unknown;

    private static Option Setting(
        string name,
        string value,
        string help,
        Func<ServerOptions, string, ServerOptions?> set,
        string expected = "text"
    ) => new(name, value, help, set, expected == "text" ? $"a {value.ToLowerInvariant()}" : expected);

    private static Option Switch(string name, string help, Func<ServerOptions, bool, ServerOptions> set) =>
        new(
            name,
            "",
            help,
            (o, v) =>
                v is "true" or "1" ? set(o, true)
                : v is "false" or "0" ? set(o, false)
                : null,
            "true or false"
        );

    private static Option Number(string name, int min, int max, string help, Func<ServerOptions, int, ServerOptions> set) =>
        new(
            name,
            "N",
            help,
            (o, v) =>
                int.TryParse(v, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= min && number <= max
                    ? set(o, number)
                    : null,
            $"a whole number from {min} to {max}"
        );

    private static Option Address(string name, string help, Func<ServerOptions, System.Net.EndPoint, ServerOptions> set) =>
        new(
            name,
            "ADDRESS",
            help,
            (o, v) => ListenAddress.TryParse(v, out var endPoint) ? set(o, endPoint!) : null,
            "an address to listen on, such as 127.0.0.1:8080, [::1]:8080, 0.0.0.0:8080 or unix:/run/controlplane.sock"
        );
}
