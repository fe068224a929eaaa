using System.Collections.Immutable;

namespace ControlPlane.TestKit;

/// <summary>What a load came to.</summary>
/// <param name="Sent">Requests that were answered or failed.</param>
/// <param name="Failures">Failed requests by reason: status with the answer's text, or what broke the connection. Empty if all went well.</param>
/// <param name="LastFailureAt">Timestamp at which the last one that failed was sent; null if all went well.</param>
public sealed record LoadReport(long Sent, ImmutableSortedDictionary<string, long> Failures, long? LastFailureAt)
{
    /// <summary>Number of failed requests.</summary>
    public long Failed => Failures.Values.Sum();

    /// <summary>One line per reason, for the message of an assertion.</summary>
    public override string ToString() =>
        $"{Sent} requests, {Failed} failed" + string.Concat(Failures.Select(f => $"{Environment.NewLine}  {f.Value} × {f.Key}"));
}

/// <summary>
/// A steady load of GET requests from some clients with kept-alive connections, which counts every request that is not answered 2xx. It does not retry.
/// </summary>
public sealed class LoadGenerator : IAsyncDisposable
{
    private const int ReasonLength = 200;

    private readonly Lock _lock = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly TimeProvider _time = TimeProvider.System;
    private readonly long _started;
    private readonly HttpClient _http = new(new SocketsHttpHandler { UseProxy = false }) { Timeout = TimeSpan.FromSeconds(15) };
    private readonly Func<HttpRequestMessage> _request;
    private readonly Task _clients;
    private long _sent;
    private ImmutableSortedDictionary<string, long> _failures = ImmutableSortedDictionary<string, long>.Empty;
    private long? _lastFailureAt;

    /// <summary>Starts the load.</summary>
    /// <param name="target">What is requested.</param>
    /// <param name="requestsPerSecond">Over all clients. A client waits for its answer before its next request, so slow answers lower it.</param>
    /// <param name="request">Makes each request, for headers and the like; a plain GET of <paramref name="target"/> if not given.</param>
    /// <param name="clients">How many requests may be in progress.</param>
    public LoadGenerator(Uri target, int requestsPerSecond, Func<HttpRequestMessage>? request = null, int clients = 8)
    {
        _request = request ?? (() => new HttpRequestMessage(HttpMethod.Get, target));
        _started = _time.GetTimestamp();
        var period = TimeSpan.FromSeconds((double)clients / requestsPerSecond);
        _clients = Task.WhenAll(Enumerable.Range(0, clients).Select(_ => RunClientAsync(period)));
    }

    /// <summary>The result so far.</summary>
    public LoadReport Report
    {
        get
        {
            lock (_lock)
            {
                return new LoadReport(_sent, _failures, _lastFailureAt);
            }
        }
    }

    /// <summary>Lets the requests in flight end, and gives the result.</summary>
    public async Task<LoadReport> StopAsync()
    {
        await _stop.CancelAsync();
        await _clients;
        return Report;
    }

    /// <summary>Ends the load.</summary>
    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _http.Dispose();
        _stop.Dispose();
    }

    private async Task RunClientAsync(TimeSpan period)
    {
        using var timer = new PeriodicTimer(period, _time);
        try
        {
            while (await timer.WaitForNextTickAsync(_stop.Token))
            {
                var sentAt = _time.GetTimestamp();
                var failure = await SendAsync();
                lock (_lock)
                {
                    _sent++;
                    if (failure is not null)
                    {
                        _failures = _failures.SetItem(failure, _failures.GetValueOrDefault(failure) + 1);
                        _lastFailureAt = Math.Max(sentAt, _lastFailureAt ?? sentAt);
                    }
                }
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // The end of the load.
        }
    }

    private async Task<string?> SendAsync()
    {
        try
        {
            using var request = _request();
            using var response = await _http.SendAsync(request);
            var text = await response.Content.ReadAsStringAsync();
            return response.IsSuccessStatusCode ? null : Reason($"{(int)response.StatusCode} {text}");
        }
        catch (HttpRequestException e)
        {
            return Reason($"{e.HttpRequestError}: {e.InnerException?.Message ?? e.Message}");
        }
        catch (TaskCanceledException)
        {
            return Reason("no answer within 15 s");
        }
    }

    // The second in which it happened tells which step of a test did it.
    private string Reason(string text)
    {
        var line = text.ReplaceLineEndings(" ").Trim();
        return $"at {_time.GetElapsedTime(_started).TotalSeconds:00} s: {(line.Length <= ReasonLength ? line : line[..ReasonLength] + "…")}";
    }
}
