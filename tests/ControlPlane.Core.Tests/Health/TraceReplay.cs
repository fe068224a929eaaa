using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json;
using ControlPlane.Core.Health;

namespace ControlPlane.Core.Tests.Health;

/// <summary>
/// Feeds a trace of the reference model (inputs with times, and what it published) to the aggregator, and compares step by step: what is published, why,
/// every step of the state machine, and the standing of the observers. The format is described in the README beside the traces.
/// </summary>
internal sealed class TraceReplay
{
    private static readonly DateTimeOffset Origin = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    private readonly Dictionary<string, (HealthPolicy Policy, ImmutableArray<HealthTarget> Endpoints)> _upstreams = [];
    private readonly Dictionary<(string Upstream, string Endpoint), List<(OverrideOrder Order, double Until)>> _orders = [];
    private readonly Dictionary<(string Upstream, string Endpoint), (OverrideOrder Order, DateTimeOffset StartedAt)> _given = [];
    private readonly Dictionary<string, string> _zones = [];
    private readonly bool _evaluatesEverything;
    private HealthAggregator _aggregator = new();
    private List<string> _got = [];

    private TraceReplay(bool evaluatesEverything) => _evaluatesEverything = evaluatesEverything;

    public int Inputs { get; private set; }

    public int Outputs { get; private set; }

    /// <summary>Replays a trace.</summary>
    /// <param name="lines">Its lines.</param>
    /// <param name="evaluatesEverything">Look at every upstream at every tick, and not only at those that are due.</param>
    /// <returns>The replay, and the first difference or null.</returns>
    public static (TraceReplay Replay, string? Difference) Run(IEnumerable<string> lines, bool evaluatesEverything = false)
    {
        var replay = new TraceReplay(evaluatesEverything);
        return (replay, replay.Compare(lines));
    }

    private string? Compare(IEnumerable<string> lines)
    {
        using var line = lines.GetEnumerator();
        line.MoveNext();
        Build(JsonDocument.Parse(line.Current).RootElement);
        var expected = new List<string>();
        var (at, number) = (0.0, 1);
        while (line.MoveNext())
        {
            number++;
            using var document = JsonDocument.Parse(line.Current);
            var x = document.RootElement;
            if (x.TryGetProperty("out", out _))
            {
                Outputs++;
                expected.Add(Normal(x));
            }
            else if (x.TryGetProperty("in", out _))
            {
                if (Difference(expected, at, number) is { } difference)
                {
                    return difference;
                }
                Inputs++;
                at = x.GetProperty("t").GetDouble();
                Feed(at, x);
            }
        }
        return Difference(expected, at, number);
    }

    private string? Difference(List<string> expected, double at, int number)
    {
        var missing = expected.Except(_got).ToList();
        var surplus = _got.Except(expected).ToList();
        var isSame = missing.Count == 0 && surplus.Count == 0;
        var text =
            $"before line {number}, t={at}:\n  the trace has   {string.Join("\n                  ", missing)}\n  the aggregator  {string.Join("\n                  ", surplus)}";
        expected.Clear();
        _got = [];
        return isSame ? null : text;
    }

    private static DateTimeOffset Time(double seconds) => Origin.AddTicks((long)Math.Round(seconds * TimeSpan.TicksPerSecond));

    private void Build(JsonElement header)
    {
        var mode = header.GetProperty("config").GetProperty("quorum_mode").GetString() == "strict" ? QuorumMode.Strict : QuorumMode.Auto;
        foreach (var upstream in header.GetProperty("upstreams").EnumerateObject())
        {
            var options = upstream.Value;
            var policy = HealthPolicy.Default with
            {
                QuorumMode = mode,
                MinimumHealthyPercent = options.GetProperty("min_healthy").GetInt32(),
                BalancesLocalities = options.GetProperty("locality").GetBoolean(),
                HasChecks = options.GetProperty("checks").GetBoolean(),
                OutlierPolicy = Enum.Parse<OutlierPolicy>(options.GetProperty("outlier_policy").GetString()!, ignoreCase: true),
                OnTotalFailure = options.GetProperty("on_total_failure").GetString() switch
                {
                    "SPRAY" => TotalFailurePolicy.Spray,
                    "FAIL_FAST" => TotalFailurePolicy.FailFast,
                    "FALLBACK" => TotalFailurePolicy.Fallback,
                    _ => null,
                },
            };
            Set(upstream.Name, policy, Targets(options.GetProperty("endpoints")), Origin, mayEmpty: false);
        }
        foreach (var o in header.GetProperty("observers").EnumerateArray())
        {
            Connect(Text(o, "id"), o, Origin);
        }
    }

    private static ImmutableArray<HealthTarget> Targets(JsonElement endpoints) =>
        [
            .. endpoints
                .EnumerateArray()
                .Select(e => new HealthTarget
                {
                    Id = Text(e, "id"),
                    Zone = Text(e, "zone"),
                    Priority = e.GetProperty("priority").GetInt32(),
                    Weight = e.GetProperty("weight").GetUInt32(),
                }),
        ];

    private bool Set(string name, HealthPolicy policy, ImmutableArray<HealthTarget> endpoints, DateTimeOffset now, bool mayEmpty)
    {
        _upstreams[name] = (policy, endpoints);
        return _aggregator.SetUpstream(name, policy, endpoints, now, mayEmpty);
    }

    private void Feed(double t, JsonElement x)
    {
        var now = Time(t);
        switch (Text(x, "in"))
        {
            case "result":
                _aggregator.Ledger.Record(
                    new CheckResult
                    {
                        Upstream = Text(x, "upstream"),
                        Endpoint = Text(x, "endpoint"),
                        Author = Text(x, "observer"),
                        Zone = _zones.GetValueOrDefault(Text(x, "observer"), ""),
                        Passed = Text(x, "verdict") == "PASS",
                        Class = Class(Text(x, "class")),
                        BegunAt = Time(x.GetProperty("started").GetDouble()),
                        TimeToLive = TimeSpan.FromSeconds(x.GetProperty("ttl").GetDouble()),
                    },
                    now
                );
                break;
            case "lrs":
                _aggregator.Ledger.Record(
                    new LoadReport
                    {
                        Upstream = Text(x, "upstream"),
                        Author = Text(x, "envoy"),
                        Zone = Text(x, "zone"),
                        Interval = TimeSpan.FromSeconds(x.GetProperty("interval").GetDouble()),
                        Endpoints =
                        [
                            .. x.GetProperty("counts")
                                .EnumerateObject()
                                .Select(c => new EndpointLoad(c.Name, c.Value[0].GetInt64(), c.Value[1].GetInt64())),
                        ],
                    },
                    now
                );
                break;
            case "tick":
                Tick(t, now);
                break;
            case "endpoints":
                var name = Text(x, "upstream");
                if (
                    !Set(name, _upstreams[name].Policy, Targets(x.GetProperty("endpoints")), now, x.GetProperty("by_operator").GetBoolean())
                )
                {
                    _got.Add($"alarm {name}");
                }
                break;
            case "order":
                Order(t, now, x);
                break;
            case "connect":
                Connect(Text(x, "observer"), x, now);
                break;
            case "disconnect":
                _aggregator.Ledger.Disconnect(Text(x, "observer"));
                break;
            case "restart":
                Restart(now);
                break;
            default:
                throw new InvalidOperationException($"unknown input {Text(x, "in")}");
        }
    }

    private void Connect(string author, JsonElement x, DateTimeOffset now)
    {
        _zones[author] = Text(x, "zone");
        _aggregator.Ledger.Connect(author, Text(x, "zone"), x.GetProperty("ours").GetBoolean(), now);
    }

    private static FailureClass Class(string name) =>
        name switch
        {
            "ok" => FailureClass.None,
            "refused" => FailureClass.Refused,
            "unreachable" => FailureClass.Unreachable,
            "timeout" => FailureClass.Timeout,
            "status" => FailureClass.Status,
            "tls" => FailureClass.Tls,
            _ => throw new InvalidOperationException($"unknown class {name}"),
        };

    /// <summary>The model stacks orders, and falls back to an older one; the product keeps the newest. So the older one is given again.</summary>
    private void Order(double t, DateTimeOffset now, JsonElement x)
    {
        var key = (Text(x, "upstream"), Text(x, "endpoint"));
        var orders = _orders.TryGetValue(key, out var known) ? known : _orders[key] = [];
        _given.Remove(key);
        if (Text(x, "kind") == "clear")
        {
            orders.Clear();
            _aggregator.Ledger.ClearOverride(key.Item1, key.Item2);
            return;
        }
        orders.Add((OrderOf(Text(x, "kind")), t + x.GetProperty("ttl").GetDouble()));
        Give(key, orders[^1].Order, now);
    }

    private void Give((string Upstream, string Endpoint) key, OverrideOrder order, DateTimeOffset now)
    {
        _given[key] = (order, now);
        _aggregator.Ledger.Record(
            new Override
            {
                Upstream = key.Upstream,
                Endpoint = key.Endpoint,
                Author = "operator",
                Order = order,
                StartedAt = now,
            },
            now
        );
    }

    private static OverrideOrder OrderOf(string kind) =>
        kind switch
        {
            "drain" => OverrideOrder.Drain,
            "disable" => OverrideOrder.Disable,
            "healthy" => OverrideOrder.ForceHealthy,
            "unhealthy" => OverrideOrder.ForceUnhealthy,
            _ => throw new InvalidOperationException($"unknown order {kind}"),
        };

    private void Restart(DateTimeOffset now)
    {
        var fleet = Stored.RoundTrip(_aggregator.Remember());
        var upstreams = _upstreams.Keys.ToDictionary(name => name, name => Stored.RoundTrip(_aggregator.Remember(name)!));
        _aggregator = new HealthAggregator();
        _aggregator.Restore(fleet, now);
        foreach (var (name, (policy, endpoints)) in _upstreams)
        {
            _aggregator.SetUpstream(name, policy, endpoints, now);
            _aggregator.Restore(name, upstreams[name], now);
        }
        foreach (var (key, (order, startedAt)) in _given)
        {
            Give(key, order, startedAt);
        }
    }

    private void Tick(double t, DateTimeOffset now)
    {
        foreach (var (key, orders) in _orders)
        {
            var live = orders.Where(o => o.Until > t).Select(o => (OverrideOrder?)o.Order).LastOrDefault();
            if (live is null && _given.Remove(key))
            {
                _aggregator.Ledger.ClearOverride(key.Upstream, key.Endpoint);
            }
            else if (live is { } order && (!_given.TryGetValue(key, out var given) || given.Order != order))
            {
                Give(key, order, now);
            }
        }
        if (_evaluatesEverything)
        {
            _aggregator.Ledger.TouchAll();
        }
        var changes = _aggregator.Evaluate(now);
        _got.AddRange(changes.Observers.Select(o => $"observer {o.Author} {o.IsQuarantined} {o.IsStuck}"));
        _got.AddRange(
            changes
                .Transitions.Where(s => s.From != s.To)
                .Select(s =>
                    $"state {s.Upstream} {s.Endpoint} {s.From.Name()} {s.To.Name()} {s.Rule.Name()} {CauseName(s.Cause)} {s.IsHard}"
                )
        );
        _got.AddRange(
            changes
                .Incidents.Where(i => i.Kind != IncidentKind.TotalFailure)
                .Select(i => i.Upstream)
                .Distinct()
                .Select(name => _aggregator.Find(name)!)
                .Select(u => $"incident {u.Name} {u.Everyone.IsIncident} {u.HasUniformErrors}")
        );
        _got.AddRange(changes.Publications.Select(Published));
    }

    private string Published(HealthPublication p)
    {
        if (p.Endpoints.IsDefault)
        {
            return $"eds {p.Upstream}@{p.Zone} ended";
        }
        var u = _aggregator.Find(p.Upstream)!;
        var view = u.View(p.Zone)!;
        var endpoints = p.Endpoints.Select(e =>
        {
            var state = u.Find(e.Id)!;
            var guard = view.Entries[state.Index].Guard.Name();
            return $"{e.Id}={e.Status.Name()}/{e.Weight}({state.State.Name()} {state.Rule.Name()} {CauseName(state.Cause)} {state.IsHard} {guard})";
        });
        var factors = p.LocalityFactors.Select(f => $"{f.Key}={f.Value.ToString(CultureInfo.InvariantCulture)}");
        return $"eds {p.Upstream}@{p.Zone} {string.Join(' ', endpoints)} [{string.Join(' ', factors)}]";
    }

    private static string CauseName(HealthCause cause) =>
        cause switch
        {
            HealthCause.Active => "active",
            HealthCause.Passive => "passive",
            HealthCause.New => "new",
            _ => "",
        };

    /// <summary>An output of the trace in the words above.</summary>
    private static string Normal(JsonElement x)
    {
        switch (Text(x, "out"))
        {
            case "observer":
                return $"observer {Text(x, "observer")} {Flag(x, "quarantined")} {Flag(x, "stuck")}";
            case "state":
                return $"state {Text(x, "upstream")} {Text(x, "endpoint")} {Text(x, "from")} {Text(x, "to")} {Text(x, "rule")} {Text(x, "cause")} {Flag(x, "hard")}";
            case "incident":
                return $"incident {Text(x, "upstream")} {Flag(x, "mass_freeze")} {Flag(x, "uniform_errors")}";
            case "alarm":
                return $"alarm {Text(x, "upstream")}";
        }
        var name = $"eds {Text(x, "upstream")}@{Text(x, "view")}";
        if (x.GetProperty("endpoints").ValueKind == JsonValueKind.Null)
        {
            return $"{name} ended";
        }
        var why = x.GetProperty("why");
        var endpoints = x.GetProperty("endpoints")
            .EnumerateObject()
            .Select(e =>
            {
                var w = why.GetProperty(e.Name);
                return $"{e.Name}={e.Value[0].GetString()}/{e.Value[1].GetInt64()}({Text(w, "state")} {Text(w, "rule")} {Text(w, "cause")} {Flag(w, "hard")} {Text(w, "guard")})";
            });
        var factors = x.GetProperty("locality_factor")
            .EnumerateObject()
            .OrderBy(f => f.Name, StringComparer.Ordinal)
            .Select(f => $"{f.Name}={f.Value.GetDouble().ToString(CultureInfo.InvariantCulture)}");
        return $"{name} {string.Join(' ', endpoints)} [{string.Join(' ', factors)}]";
    }

    private static string Text(JsonElement x, string name) => x.GetProperty(name).GetString() ?? "";

    private static bool Flag(JsonElement x, string name) => x.GetProperty(name).GetBoolean();
}

/// <summary>What is remembered goes through the store as JSON.</summary>
internal static class Stored
{
    public static T RoundTrip<T>(T memory) => JsonSerializer.Deserialize<T>(JsonSerializer.Serialize(memory))!;
}
