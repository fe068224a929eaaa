using System.Collections.Concurrent;
using System.Text.Json;
using System.Threading.Channels;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Health.Wire;
using ControlPlane.Server.Storage;
using Grpc.Core;

namespace ControlPlane.Server.Health;

/// <summary>What this server says to others while it decides: verdicts as they are made, outcomes of evidence, and reasons.</summary>
internal sealed class HealthPeerServer(
    HealthLeadership leadership,
    HealthKeeper keeper,
    HealthArchive archive,
    HealthQuestions questions,
    IHostApplicationLifetime lifetime,
    TimeProvider time
) : HealthPeerService.HealthPeerServiceBase
{
    /// <summary>A follower that has heard nothing for some of these takes the connection for dead.</summary>
    internal static readonly TimeSpan Heartbeat = TimeSpan.FromSeconds(1);

    private readonly ConcurrentDictionary<ServerCallContext, (string Server, string Address)> _followers = new();

    /// <summary>The servers that follow this one, by id, each with where it is reached; empty of one of an older version.</summary>
    public IReadOnlyCollection<(string Server, string Address)> Followers => [.. _followers.Values.DistinctBy(f => f.Server)];

    /// <summary>Changes that wait for a follower at most; one that falls behind is ended, and begins with everything again.</summary>
    private const int Backlog = 256;

    /// <summary>Upstreams that are told in one message.</summary>
    private const int Chunk = 500;

    public override async Task Follow(
        IAsyncStreamReader<FollowRequest> requestStream,
        IServerStreamWriter<FollowResponse> responseStream,
        ServerCallContext context
    )
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, lifetime.ApplicationStopping);
        if (!await requestStream.MoveNext(ending.Token))
        {
            return;
        }

        var first = requestStream.Current;
        RefuseUnlessMeant(first.Leader);
        var role = leadership.Role;
        _followers[context] = (first.Follower, first.Address);
        var changes = Channel.CreateBounded<HealthBatch>(new BoundedChannelOptions(Backlog) { SingleReader = true });
        using var subscription = archive.Subscribe(changes.Writer);
        var telling = TellAsync(changes.Reader, responseStream, ending.Token);
        var listening = ListenAsync(requestStream, ending.Token);
        try
        {
            await await Task.WhenAny(telling, listening, leadership.ChangeAsync(role));
        }
        catch (Exception e)
            when (ending.IsCancellationRequested && e is OperationCanceledException or IOException or InvalidOperationException)
        {
            // The other server went away, or this one does.
        }
        finally
        {
            _followers.TryRemove(context, out _);
            await ending.CancelAsync();
            await Task.WhenAll(telling, listening).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    public override async Task<RecordEvidenceResponse> RecordEvidence(RecordEvidenceRequest request, ServerCallContext context)
    {
        RefuseUnlessMeant(request.Leader);
        var outcomes = await keeper.RecordAsync(Read(request.Evidence), context.CancellationToken);
        var response = new RecordEvidenceResponse();
        if (!outcomes.IsDefault)
        {
            response.Outcomes.AddRange(outcomes.Select(o => o.ToString()));
        }

        return response;
    }

    public override async Task<ExplainUpstreamResponse> ExplainUpstream(ExplainUpstreamRequest request, ServerCallContext context)
    {
        RefuseUnlessMeant(request.Leader);
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, lifetime.ApplicationStopping);
        var view = await questions.ExplainHereAsync(
            request.Upstream,
            request.Zone.Length == 0 ? null : request.Zone,
            request.Index,
            request.Wait?.ToTimeSpan() ?? TimeSpan.Zero,
            ending.Token
        );
        return new ExplainUpstreamResponse { View = view is null ? "" : JsonSerializer.Serialize(view, ApiJson.Options) };
    }

    public override Task<PingResponse> Ping(PingRequest request, ServerCallContext context) =>
        Task.FromResult(new PingResponse { Leads = request.Leader == leadership.ServerId && leadership.Role.Leads });

    private async Task TellAsync(
        ChannelReader<HealthBatch> changes,
        IServerStreamWriter<FollowResponse> responses,
        CancellationToken cancellationToken
    )
    {
        // All that there is now, the fleet (its name is empty) first; what changed since the subscription comes after it, and once more does no harm.
        var whole = archive.Newest.Values.OrderBy(s => s.Upstream, StringComparer.Ordinal).Chunk(Chunk).ToList();
        await responses.WriteAsync(PeerMessages.Of(whole.Count > 0 ? whole[0] : [], [], isWhole: true), cancellationToken);
        foreach (var chunk in whole.Skip(1))
        {
            await responses.WriteAsync(PeerMessages.Of(chunk, [], isWhole: false), cancellationToken);
        }

        while (true)
        {
            using var wait = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            var beat = Task.Delay(Heartbeat, time, wait.Token);
            var next = changes.WaitToReadAsync(wait.Token).AsTask();
            var first = await Task.WhenAny(next, beat);
            cancellationToken.ThrowIfCancellationRequested();
            await wait.CancelAsync();
            if (first == beat)
            {
                await responses.WriteAsync(new FollowResponse(), cancellationToken);
            }
            else if (!await next)
            {
                throw new RpcException(new Status(StatusCode.ResourceExhausted, "The follower reads too slowly."));
            }

            while (changes.TryRead(out var batch))
            {
                await responses.WriteAsync(PeerMessages.Of(batch.Upstreams, batch.Transitions, isWhole: false), cancellationToken);
            }
        }
    }

    private async Task ListenAsync(IAsyncStreamReader<FollowRequest> requests, CancellationToken cancellationToken)
    {
        do
        {
            var evidence = Read(requests.Current.Evidence);
            if (evidence.Count > 0)
            {
                keeper.Record(evidence);
            }
        } while (await requests.MoveNext(cancellationToken));
    }

    private static List<HealthEvidence> Read(IEnumerable<Evidence> messages) =>
        [.. messages.Select(PeerMessages.Of).OfType<HealthEvidence>()];

    private void RefuseUnlessMeant(string leader)
    {
        if (leader != leadership.ServerId)
        {
            throw new RpcException(new Status(StatusCode.FailedPrecondition, "Another server listens at this address."));
        }

        if (!leadership.Role.Leads)
        {
            throw new RpcException(new Status(StatusCode.FailedPrecondition, "This server does not decide."));
        }
    }
}
