using System.Diagnostics;
using System.Diagnostics.Metrics;
using Grpc.Core;
using Grpc.Core.Interceptors;

namespace ControlPlane.Server.Telemetry;

/// <summary>
/// Measures the gRPC calls that this server answers, under the name and with the attributes of OpenTelemetry's semantic conventions: nothing that is maintained does so for
/// .NET's server. A stream is one call.
/// </summary>
internal sealed class RpcMetrics : Interceptor
{
    /// <summary>Name of the meter.</summary>
    public const string MeterName = "ControlPlane.Rpc";

    private readonly Histogram<double> _duration;

    public RpcMetrics(IMeterFactory meters)
    {
        _duration = meters
            .Create(MeterName)
            .CreateHistogram(
                "rpc.server.call.duration",
                "s",
                "Time from the first byte of a gRPC call to its end.",
                advice: new InstrumentAdvice<double>
                {
                    // From a question to a stream's greatest age.
                    HistogramBucketBoundaries = [0.005, 0.025, 0.1, 0.5, 1, 5, 30, 60, 600, 3600, 21600, 43200],
                }
            );
    }

    /// <inheritdoc/>
    public override Task<TResponse> UnaryServerHandler<TRequest, TResponse>(
        TRequest request,
        ServerCallContext context,
        UnaryServerMethod<TRequest, TResponse> continuation
    ) => MeasureAsync(context, () => continuation(request, context));

    /// <inheritdoc/>
    public override Task<TResponse> ClientStreamingServerHandler<TRequest, TResponse>(
        IAsyncStreamReader<TRequest> requestStream,
        ServerCallContext context,
        ClientStreamingServerMethod<TRequest, TResponse> continuation
    ) => MeasureAsync(context, () => continuation(requestStream, context));

    /// <inheritdoc/>
    public override Task ServerStreamingServerHandler<TRequest, TResponse>(
        TRequest request,
        IServerStreamWriter<TResponse> responseStream,
        ServerCallContext context,
        ServerStreamingServerMethod<TRequest, TResponse> continuation
    ) => MeasureAsync(context, () => DoneAsync(continuation(request, responseStream, context)));

    /// <inheritdoc/>
    public override Task DuplexStreamingServerHandler<TRequest, TResponse>(
        IAsyncStreamReader<TRequest> requestStream,
        IServerStreamWriter<TResponse> responseStream,
        ServerCallContext context,
        DuplexStreamingServerMethod<TRequest, TResponse> continuation
    ) => MeasureAsync(context, () => DoneAsync(continuation(requestStream, responseStream, context)));

    private static async Task<bool> DoneAsync(Task call)
    {
        await call;
        return true;
    }

    private async Task<T> MeasureAsync<T>(ServerCallContext context, Func<Task<T>> call)
    {
        var started = Stopwatch.GetTimestamp();
        // What is thrown and is no status is answered as this.
        var status = StatusCode.Unknown;
        try
        {
            var result = await call();
            status = context.Status.StatusCode;
            return result;
        }
        catch (RpcException e)
        {
            status = e.StatusCode;
            throw;
        }
        catch (OperationCanceledException) when (context.CancellationToken.IsCancellationRequested)
        {
            status = StatusCode.Cancelled;
            throw;
        }
        finally
        {
            _duration.Record(
                Stopwatch.GetElapsedTime(started).TotalSeconds,
                new KeyValuePair<string, object?>("rpc.system.name", "grpc"),
                new KeyValuePair<string, object?>("rpc.method", context.Method[1..]),
                new KeyValuePair<string, object?>("rpc.response.status_code", NameOf(status))
            );
        }
    }

    /// <summary>As gRPC writes it: <c>DEADLINE_EXCEEDED</c>.</summary>
    private static string NameOf(StatusCode status) =>
        status == StatusCode.OK
            ? "OK"
            : string.Concat(status.ToString().Select((c, i) => i > 0 && char.IsUpper(c) ? $"_{c}" : $"{char.ToUpperInvariant(c)}"));
}
