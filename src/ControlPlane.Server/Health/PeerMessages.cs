using System.Collections.Immutable;
using ControlPlane.Core.Health;
using ControlPlane.Server.Health.Wire;
using ControlPlane.Server.Storage;
using Google.Protobuf.WellKnownTypes;
using EndpointLoad = ControlPlane.Core.Health.EndpointLoad;
using Enum = System.Enum;

namespace ControlPlane.Server.Health;

/// <summary>Evidence and verdicts as messages between servers, and back.</summary>
internal static class PeerMessages
{
    public static Evidence Of(HealthEvidence evidence)
    {
        var message = new Evidence
        {
            Upstream = evidence.Upstream,
            Author = evidence.Author,
            Zone = evidence.Zone,
        };
        switch (evidence)
        {
            case CheckResult check:
                message.Check = new Check
                {
                    Endpoint = check.Endpoint,
                    Passed = check.Passed,
                    Failure = check.Class.ToString(),
                    Text = check.Text,
                    BegunAt = check.BegunAt?.ToTimestamp(),
                    TimeToLive = check.TimeToLive.ToDuration(),
                    Digest = check.CheckDigest,
                };
                break;
            case LoadReport report:
                message.Load = new Load { Interval = report.Interval.ToDuration() };
                message.Load.Endpoints.AddRange(
                    report.Endpoints.Select(e => new Wire.EndpointLoad
                    {
                        Endpoint = e.Endpoint,
                        Successes = e.Successes,
                        Errors = e.Errors,
                    })
                );
                break;
            default:
                throw new ArgumentException($"{evidence.GetType().Name} is not told to other servers.", nameof(evidence));
        }

        return message;
    }

    /// <summary>Reads evidence; null where a newer server says what this one does not know.</summary>
    public static HealthEvidence? Of(Evidence message) =>
        message.FactCase switch
        {
            Evidence.FactOneofCase.Check => new CheckResult
            {
                Upstream = message.Upstream,
                Author = message.Author,
                Zone = message.Zone,
                Endpoint = message.Check.Endpoint,
                Passed = message.Check.Passed,
                Class = Enum.TryParse<FailureClass>(message.Check.Failure, out var failure) ? failure : FailureClass.Unknown,
                Text = message.Check.Text,
                BegunAt = message.Check.BegunAt?.ToDateTimeOffset(),
                TimeToLive = message.Check.TimeToLive?.ToTimeSpan() ?? TimeSpan.Zero,
                CheckDigest = message.Check.Digest,
            },
            Evidence.FactOneofCase.Load => new LoadReport
            {
                Upstream = message.Upstream,
                Author = message.Author,
                Zone = message.Zone,
                Interval = message.Load.Interval?.ToTimeSpan() ?? TimeSpan.Zero,
                Endpoints = [.. message.Load.Endpoints.Select(e => new EndpointLoad(e.Endpoint, e.Successes, e.Errors))],
            },
            _ => null,
        };

    public static FollowResponse Of(IEnumerable<StoredHealth> upstreams, IEnumerable<StoredTransition> transitions, bool isWhole)
    {
        var message = new FollowResponse { Whole = isWhole };
        message.Upstreams.AddRange(
            upstreams.Select(u => new UpstreamState
            {
                Upstream = u.Upstream,
                UpdatedAt = u.UpdatedAt.ToTimestamp(),
                Json = u.Json ?? "",
            })
        );
        message.Transitions.AddRange(transitions.Select(t => new Transition { Id = t.Id, Json = t.Json }));
        return message;
    }

    public static ImmutableArray<StoredHealth> UpstreamsOf(FollowResponse message) =>
        [
            .. message.Upstreams.Select(u => new StoredHealth(
                u.Upstream,
                u.UpdatedAt.ToDateTimeOffset(),
                u.Json.Length == 0 ? null : u.Json
            )),
        ];
}
