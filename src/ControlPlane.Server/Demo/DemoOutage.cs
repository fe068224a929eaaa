using ControlPlane.Resources.Api;
using ControlPlane.Server.Health;

namespace ControlPlane.Server.Demo;

/// <summary>A backend stops and comes back, while clients ask through Envoy; tells what the server decided, and what the clients noticed.</summary>
internal sealed class DemoOutage(
    string name,
    DemoBackends backends,
    HealthQuestions health,
    Uri edge,
    TimeProvider time,
    Action<string> say
)
{
    private static readonly TimeSpan Away = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan Between = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan LongestWait = TimeSpan.FromMinutes(1);

    private readonly List<(TimeSpan At, bool Failed)> _requests = [];
    private long _stopped;

    /// <summary>Plays it to its end.</summary>
    public async Task PlayAsync(CancellationToken cancellationToken)
    {
        _stopped = time.GetTimestamp();
        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var asking = AskAsync(end.Token);
        await backends.StopAsync(name);
        var verdict = await UntilAsync(e => e.Status == "UNHEALTHY", cancellationToken);
        var decided = time.GetElapsedTime(_stopped);
        await Task.Delay(TimeSpan.FromSeconds(2), time, cancellationToken);
        await end.CancelAsync();
        await asking;
        var failed = _requests.Where(r => r.Failed).Select(r => r.At).ToList();
        Print(
            verdict is null
                ? $"{name} has stopped, and is still published after {decided.TotalSeconds:0} s."
                : $"{name} has stopped. After {decided.TotalSeconds:0.0} s: {verdict.Sentence}"
        );
        Print(
            failed.Count == 0
                ? $"Clients noticed nothing: none of {_requests.Count} requests failed."
                : $"Clients noticed it for {(failed[^1] - failed[0] + Between).TotalSeconds:0.0} s: {failed.Count} of {_requests.Count} requests failed."
        );

        await Task.Delay(Away, time, cancellationToken);
        await backends.StartAgainAsync(name, cancellationToken);
        var back = time.GetTimestamp();
        verdict = await UntilAsync(e => e.State == "UP" && e.Status == "HEALTHY", cancellationToken);
        Print($"{name} is back. After {time.GetElapsedTime(back).TotalSeconds:0.0} s: {verdict?.Sentence}");
    }

    private async Task<EndpointHealthView?> UntilAsync(Func<EndpointHealthView, bool> accept, CancellationToken cancellationToken)
    {
        var started = time.GetTimestamp();
        while (time.GetElapsedTime(started) < LongestWait + Away)
        {
            var view = await health.ExplainAsync("demo", zone: null, index: -1, TimeSpan.Zero, cancellationToken);
            if (view?.Endpoints.FirstOrDefault(e => e.Endpoint == name) is { } endpoint && accept(endpoint))
            {
                return endpoint;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(50), time, cancellationToken);
        }

        return null;
    }

    private async Task AskAsync(CancellationToken cancellationToken)
    {
        using var client = new HttpClient();
        try
        {
            while (true)
            {
                var at = time.GetElapsedTime(_stopped);
                bool failed;
                try
                {
                    using var response = await client.GetAsync(edge, cancellationToken);
                    failed = !response.IsSuccessStatusCode;
                }
                catch (HttpRequestException)
                {
                    failed = true;
                }

                _requests.Add((at, failed));
                await Task.Delay(Between, time, cancellationToken);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Enough asked.
        }
    }

    private void Print(string line) => say("  " + line);
}
