using System.Collections.Immutable;
using ControlPlane.Core.Health;

namespace ControlPlane.Core.Tests.Health;

/// <summary>
/// T48 of the health design: random faults, lies and orders on fleets of many shapes, with invariants that hold whatever happens, and a yardstick: no more
/// requests fail than if every endpoint were HEALTHY, or than with a plain checker.
/// </summary>
public sealed class RandomFaultTests
{
    private const int TicksWithFaults = 2000;

    /// <summary>All endpoints must be back at full weight so long after the last fault.</summary>
    private const double QuietTime = 1500;

    private static readonly Dictionary<string, SimulationOptions> Profiles = new()
    {
        ["zones"] = new()
        {
            Endpoints = 7,
            ObserversPerZone = 3,
            Envoys = 5,
            Rate = 45,
        },
        ["big"] = new()
        {
            Endpoints = 26,
            Zones = ["a", "b", "c", "d"],
            ObserversPerZone = 1,
            Envoys = 8,
            Rate = 15,
        },
        ["three"] = new()
        {
            Endpoints = 3,
            Zones = ["a", "b"],
            Envoys = 4,
            Rate = 35,
        },
        ["two"] = new()
        {
            Endpoints = 2,
            ObserversPerZone = 1,
            Envoys = 3,
            Rate = 40,
        },
        ["single"] = new()
        {
            Endpoints = 4,
            Zones = [""],
            ObserversPerZone = 1,
            Envoys = 2,
            Rate = 25,
        },
        ["low"] = new()
        {
            Endpoints = 5,
            ObserversPerZone = 1,
            Envoys = 3,
            Rate = 0.8,
        },
        ["priority"] = new()
        {
            Endpoints = 9,
            ObserversPerZone = 1,
            Envoys = 4,
            Rate = 20,
            Priorities = ImmutableDictionary.CreateRange(new KeyValuePair<int, int>[] { new(5, 1), new(6, 1), new(7, 1), new(8, 2) }),
        },
        ["locality"] = new()
        {
            Endpoints = 10,
            Zones = ["a", "b"],
            Envoys = 4,
            Rate = 30,
            Policy = HealthPolicy.Default with { BalancesLocalities = true },
        },
        ["external"] = new()
        {
            Endpoints = 5,
            Zones = [""],
            ObserversPerZone = 1,
            Envoys = 3,
            Rate = 30,
        },
        ["capacity"] = new()
        {
            Endpoints = 12,
            ObserversPerZone = 1,
            Envoys = 3,
            Rate = 50,
            Capacity = 90,
        },
        ["many"] = new()
        {
            Endpoints = 4,
            ObserversPerZone = 1,
            Envoys = 3,
            Rate = 20,
            OtherUpstreams = 3,
        },
        ["reflex"] = new()
        {
            Endpoints = 6,
            Envoys = 6,
            Rate = 30,
            Reflex = true,
        },
        ["people"] = new()
        {
            Endpoints = 6,
            ObserversPerZone = 1,
            Envoys = 3,
            Rate = 25,
        },
        ["envoy"] = new()
        {
            Endpoints = 8,
            ObserversPerZone = 1,
            Envoys = 4,
            Rate = 40,
            Policy = HealthPolicy.Default with { OutlierPolicy = OutlierPolicy.Envoy },
        },
        ["grpc"] = new()
        {
            Endpoints = 6,
            Zones = ["a", "b"],
            Envoys = 4,
            Rate = 40,
            Policy = HealthPolicy.Default with { OutlierPolicy = OutlierPolicy.Grpc },
        },
        ["fail-fast"] = new()
        {
            Endpoints = 4,
            ObserversPerZone = 1,
            Envoys = 3,
            Rate = 20,
            Policy = HealthPolicy.Default with { OnTotalFailure = TotalFailurePolicy.FailFast, MinimumHealthyPercent = 80 },
        },
        ["strict"] = new()
        {
            Endpoints = 5,
            Zones = [""],
            ObserversPerZone = 1,
            Envoys = 2,
            Rate = 20,
            Policy = HealthPolicy.Default with { QuorumMode = QuorumMode.Strict },
        },
        ["unchecked"] = new()
        {
            Endpoints = 6,
            ObserversPerZone = 0,
            Envoys = 5,
            Rate = 40,
            Policy = HealthPolicy.Default with { HasChecks = false },
        },
    };

    private static readonly string[] Large = ["big", "locality"];

    public static TheoryData<string> SmallFleets => [.. Profiles.Keys.Except(Large)];

    public static TheoryData<string> LargeFleets => [.. Large];

    [Theory, MemberData(nameof(SmallFleets))]
    public void T48_Whatever_fails_or_lies_the_invariants_hold_and_no_more_requests_fail(string profile) => PlayThreeEpisodes(profile);

    [Theory, MemberData(nameof(LargeFleets))]
    [Trait("Category", "Slow")]
    public void T48_Whatever_fails_or_lies_the_invariants_hold_in_large_fleets_too(string profile) => PlayThreeEpisodes(profile);

    private static void PlayThreeEpisodes(string profile)
    {
        var (requests, failed, allHealthy, plain) = (0.0, 0.0, 0.0, 0.0);
        for (var seed = 1; seed <= 3; seed++)
        {
            var episode = new Episode(profile, seed);
            Assert.Empty(episode.Run());
            requests += episode.Simulation.Requests;
            failed += episode.Simulation.Failed;
            allHealthy += episode.Simulation.FailedAllHealthy;
            plain += episode.Simulation.FailedPlainChecker;
        }
        // People, and a strict quorum, keep dead ones in by choice.
        if (profile is not ("people" or "strict"))
        {
            Assert.InRange(failed / requests, 0, (allHealthy / requests) + 0.001);
            Assert.InRange(failed / requests, 0, (plain / requests) + 0.01);
        }
    }

    /// <summary>One run: faults, then 25 quiet minutes.</summary>
    private sealed class Episode
    {
        private static readonly (Backend Mode, double Chance)[] Modes =
        [
            (Backend.Refused, 0),
            (Backend.Blackhole, 0),
            (Backend.Error500, 0),
            (Backend.Slow, 0.5),
            (Backend.Slow, 0.8),
            (Backend.Gray, 0.15),
            (Backend.Gray, 0.35),
            (Backend.Gray, 1.0),
            (Backend.WrongPath, 0),
            (Backend.Tls, 0),
        ];

        private readonly string _profile;
        private readonly SimulationOptions _options;
        private readonly Random _random;
        private readonly Simulation _s;
        private readonly double _endOfFaults;
        private readonly List<(double T, int Limit)> _removals = [];
        private readonly List<string> _broken = [];
        private int _added;

        public Simulation Simulation => _s;

        public Episode(string profile, int seed)
        {
            _profile = profile;
            _options = Profiles[profile] with { Jitter = 0.15, MeasuresBaselines = true };
            _random = new Random((seed * 1000) + profile.Length);
            _s = new Simulation(seed, _options);
            if (profile == "locality")
            {
                _s.LocalityWeights = _options.Zones.ToDictionary(z => z, _ => 1.0);
            }
            if (profile == "external")
            {
                _s.OwnInterval["ext"] = 45;
                _s.AddObserver("ext", "x", isOurs: false);
                _s.Run(_s.T + 90);
            }
            _endOfFaults = _s.T + (TicksWithFaults * 0.5);
            _s.OnTick.Add(WatchVelocity);
        }

        /// <returns>The invariants that do not hold.</returns>
        public IEnumerable<string> Run()
        {
            Plan();
            _s.Run(_endOfFaults + QuietTime);
            _broken.AddRange(_s.BrokenInvariants.Take(3));
            var healthy = _s.Published().Where(p => p.Status == PublishedStatus.Healthy).ToDictionary(p => p.Id, p => p.Weight);
            if (
                !healthy
                    .OrderBy(e => e.Key)
                    .SequenceEqual(_s.Registry.Values.ToDictionary(e => e.Id, e => (ulong)e.Weight).OrderBy(e => e.Key))
            )
            {
                _broken.Add($"not at full weight long after the last fault: {string.Join(", ", _s.Published())}");
            }
            if (RemovalsInAMinute() is > 4 and var removals)
            {
                _broken.Add($"an endpoint was removed {removals} times in a minute");
            }
            return _broken;
        }

        private void Plan()
        {
            for (var t = _s.T + 5; t < _endOfFaults; t += Pick(4, 15, 45, 120, 300))
            {
                Choose(t, Pick(3, 8, 15, 30, 60, 120, 240));
            }
            _s.At(
                _endOfFaults,
                () =>
                {
                    _s.Set(Backend.Ok, _s.Backends.Keys);
                    _s.Modes.Clear();
                    _s.Cut.Clear();
                }
            );
        }

        private T Pick<T>(params ReadOnlySpan<T> choices) => choices[_random.Next(choices.Length)];

        private void Choose(double t, double duration)
        {
            var people = _profile == "people";
            switch (_random.Next(people ? 140 : 100))
            {
                case < 74:
                    BreakSome(t, duration);
                    break;
                case < 82:
                    var zone = Pick(_options.Zones.AsSpan());
                    BreakUntil(_s.Registry.Keys.Where(id => _s.Backends[id].Zone == zone), t, duration);
                    break;
                case < 88:
                    var half = Pick<double>(5, 10, 20, 40);
                    _s.Flap(Pick([.. _s.Registry.Keys]), half, half, t, t + duration);
                    break;
                case < 94:
                    Lie(t, duration);
                    break;
                case < 98:
                    CutLink(t, duration);
                    break;
                case < 100:
                    _s.At(t, () => _s.PausedUntil = _s.T + Math.Min(duration, 30));
                    break;
                case < 125:
                    Order(t, duration);
                    break;
                case < 135:
                    ChangeEndpoints(t, duration);
                    break;
                default:
                    _s.At(t, _s.Restart);
                    break;
            }
        }

        private void BreakSome(double t, double duration)
        {
            string[] ids = [.. _s.Registry.Keys];
            var count = _random.Next(100) switch
            {
                < 60 => 1,
                < 80 => Math.Max(1, ids.Length / 3),
                < 92 => Math.Max(1, 2 * ids.Length / 3),
                _ => ids.Length,
            };
            _random.Shuffle(ids);
            BreakUntil(ids[..count], t, duration);
        }

        private void BreakUntil(IEnumerable<string> ids, double t, double duration)
        {
            string[] some = [.. ids];
            var (mode, chance) = Pick<(Backend, double)>(Modes);
            _s.At(t, () => _s.Set(mode, chance, some));
            _s.At(t + duration, () => _s.Set(Backend.Ok, some));
        }

        private void Lie(double t, double duration)
        {
            if (_s.Observers.Count == 0)
            {
                return;
            }
            var observer = Pick([.. _s.Observers.Keys]);
            var mode = Pick(ObserverMode.AllFail, ObserverMode.AllPass, ObserverMode.CutOff, ObserverMode.Dead);
            _s.At(t, () => _s.Modes[observer] = mode);
            _s.At(t + duration, () => _s.Modes.Remove(observer));
        }

        private void CutLink(double t, double duration)
        {
            if (_options.Zones.Length > 1)
            {
                string[] zones = [.. _options.Zones];
                _random.Shuffle(zones);
                _s.At(t, () => _s.Cut.Add((zones[0], zones[1])));
                _s.At(t + duration, () => _s.Cut.Remove((zones[0], zones[1])));
            }
        }

        private void Order(double t, double duration)
        {
            var id = Pick([.. _s.Registry.Keys]);
            var choice = _random.Next(6);
            _s.At(
                t,
                () =>
                {
                    if (!_s.Registry.ContainsKey(id))
                    {
                        return;
                    }
                    if (choice == 5)
                    {
                        _s.Clear(id);
                    }
                    else
                    {
                        _s.Order(id, (OverrideOrder)choice, duration);
                    }
                }
            );
        }

        /// <summary>A new one comes, and later the oldest one goes.</summary>
        private void ChangeEndpoints(double t, double duration)
        {
            _s.At(
                t,
                () =>
                {
                    _s.Make($"n{++_added}", Pick(_options.Zones.AsSpan()), weight: Pick(1u, 1u, 1u, 3u));
                    _s.Register();
                }
            );
            _s.At(t + duration, () => _s.Register(drop: _s.Registry.Keys.First()));
        }

        /// <summary>G5, but for what goes whole, what is confirmed, and a true outage.</summary>
        private void WatchVelocity()
        {
            var u = _s.Aggregator.Find(Simulation.Upstream)!;
            var (view, now) = (u.Everyone, Instant.Of(_s.Now));
            var eligible = u.Endpoints.Count(e => e.IsEligible(e.Order(now)));
            var limit = Math.Max(1, eligible / 10);
            var fresh = view.IsTotalFailure
                ? 0
                : u.Endpoints.Count(e =>
                    view.Entries[e.Index] is { IsConfirmed: false } entry && entry.RemovedSince == now && !e.IsReplaceable
                );
            _removals.RemoveAll(r => _s.T - r.T >= 10);
            _removals.AddRange(Enumerable.Repeat((_s.T, limit), fresh));
            if (_removals.Count > _removals.Select(r => r.Limit).Append(limit).Max())
            {
                _broken.Add($"t={_s.T}: faster than G5");
            }
        }

        /// <summary>The most removals of one endpoint within a minute, but for those that were ordered.</summary>
        private int RemovalsInAMinute()
        {
            var times = new Dictionary<string, List<double>>();
            var last = new Dictionary<string, PublishedStatus>();
            foreach (var (t, endpoints) in _s.Publications())
            {
                foreach (var e in endpoints)
                {
                    if (last.GetValueOrDefault(e.Id) == PublishedStatus.Healthy && e.Status == PublishedStatus.Unhealthy)
                    {
                        (times.TryGetValue(e.Id, out var known) ? known : times[e.Id] = []).Add(t);
                    }
                    last[e.Id] = e.Status;
                }
            }
            return _profile == "people"
                ? 0
                : times.Values.SelectMany(v => v.Select(x => v.Count(y => x <= y && y < x + 60))).DefaultIfEmpty().Max();
        }
    }
}
