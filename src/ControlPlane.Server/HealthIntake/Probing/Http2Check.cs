using System.Net;
using System.Net.Http.Headers;
using System.Net.Security;
using ControlPlane.Core.Compilation.Probes;
using ControlPlane.Core.Health;
using Google.Protobuf;
using Grpc.Health.V1;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>Asks in HTTP/2 (RFC 9113): an HTTP request, or the gRPC health protocol. The frames are .NET's own; the connection is the probe's.</summary>
internal static class Http2Check
{
    /// <summary>What is read of an answer.</summary>
    private const int MaxBody = Http1ResponseReader.MaxBody;

    private static readonly MediaTypeHeaderValue GrpcType = new("application/grpc");

    public static async ValueTask<Answer> RunAsync(ProbeConnection connection, Probe probe)
    {
        if (probe.Tls is not null && connection.AlpnChoice != "h2")
        {
            return Unanswered(
                ProbeOutcome.Protocol(
                    connection.AlpnChoice.Length == 0
                        ? "asked for HTTP/2, the endpoint chose no protocol (ALPN)"
                        : $"asked for HTTP/2, the endpoint chose {connection.AlpnChoice} (ALPN)"
                )
            );
        }
        var session = (Http2Session)(connection.Rider ??= new Http2Session(connection));
        try
        {
            using var request = probe is GrpcProbe grpc ? Request(grpc) : Request((HttpProbe)probe);
            using var response = await session.Invoker.SendAsync(request, CancellationToken.None);
            var outcome = probe is HttpProbe http ? await ReadAsync(response, http) : await ReadGrpcAsync(response);
            return connection.Overdue() is { } overdue
                ? Unanswered(overdue)
                : new Answer(outcome, IsUnanswered: false, CanContinue: outcome.Passed);
        }
        catch (Exception e) when (ProbeConnection.IsBroken(e) || e is HttpRequestException or OperationCanceledException)
        {
            return new Answer(
                connection.Overdue() ?? FaultOf(e, session),
                session.FirstBytes.IsEmpty || connection.IsReused,
                CanContinue: false
            );
        }
    }

    private static Answer Unanswered(ProbeOutcome outcome) => new(outcome, IsUnanswered: true, CanContinue: false);

    private static HttpRequestMessage Request(HttpProbe probe)
    {
        var request = NewRequest(new HttpMethod(probe.Request.Method), probe, probe.Host, probe.Request.Path);
        foreach (var (name, value) in ProbeHeaders.Of(probe.Request))
        {
            if (!request.Headers.TryAddWithoutValidation(name, value))
            {
                request.Content ??= new ByteArrayContent([]);
                request.Content.Headers.TryAddWithoutValidation(name, value);
            }
        }
        return request;
    }

    private static HttpRequestMessage Request(GrpcProbe probe)
    {
        var message = new HealthCheckRequest { Service = probe.Service };
        var frame = new byte[5 + message.CalculateSize()];
        // A gRPC frame: not compressed, and how long.
        frame[4] = (byte)(frame.Length - 5);
        frame[3] = (byte)((frame.Length - 5) >> 8);
        message.WriteTo(frame.AsSpan(5));
        var request = NewRequest(HttpMethod.Post, probe, probe.Authority, "/grpc.health.v1.Health/Check");
        request.Headers.TryAddWithoutValidation("User-Agent", ProbeHeaders.UserAgent);
        request.Headers.TryAddWithoutValidation("TE", "trailers");
        request.Content = new ByteArrayContent(frame) { Headers = { ContentType = GrpcType } };
        return request;
    }

    private static HttpRequestMessage NewRequest(HttpMethod method, Probe probe, string host, string path)
    {
        var request = new HttpRequestMessage(method, new Uri((probe.Tls is null ? "http" : "https") + "://probe" + path))
        {
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };
        if (host.Length > 0)
        {
            request.Headers.Host = host;
        }
        return request;
    }

    private static async ValueTask<ProbeOutcome> ReadAsync(HttpResponseMessage response, HttpProbe probe)
    {
        var status = (int)response.StatusCode;
        await ReadBodyAsync(response);
        return ProbeOutcome.Status(status, probe.Request.Expects(status));
    }

    private static async ValueTask<ProbeOutcome> ReadGrpcAsync(HttpResponseMessage response)
    {
        if (response.StatusCode != HttpStatusCode.OK)
        {
            return ProbeOutcome.Status((int)response.StatusCode, isExpected: false);
        }
        if (response.Content.Headers.ContentType?.MediaType?.StartsWith("application/grpc", StringComparison.Ordinal) != true)
        {
            return ProbeOutcome.Protocol("asked in gRPC, the endpoint answered in plain HTTP");
        }
        var body = await ReadBodyAsync(response);
        var code = Header(response.TrailingHeaders, "grpc-status") ?? Header(response.Headers, "grpc-status");
        if (code != "0")
        {
            return new ProbeOutcome(
                FailureClass.Status,
                code switch
                {
                    null => "gRPC answer without a status",
                    "5" => "gRPC health: unknown service",
                    "12" => "gRPC health: the endpoint does not implement it",
                    _ => $"gRPC status {code}",
                }
            );
        }
        try
        {
            var status = body.Length >= 5 && body.Span[0] == 0 ? HealthCheckResponse.Parser.ParseFrom(body.Span[5..]).Status : default;
            return new ProbeOutcome(
                status == HealthCheckResponse.Types.ServingStatus.Serving ? FailureClass.None : FailureClass.Status,
                status switch
                {
                    HealthCheckResponse.Types.ServingStatus.Serving => "gRPC health: SERVING",
                    HealthCheckResponse.Types.ServingStatus.NotServing => "gRPC health: NOT_SERVING",
                    HealthCheckResponse.Types.ServingStatus.ServiceUnknown => "gRPC health: unknown service",
                    _ => "gRPC health: UNKNOWN",
                }
            );
        }
        catch (InvalidProtocolBufferException)
        {
            return ProbeOutcome.Protocol("the gRPC answer is not one of the health protocol");
        }
    }

    private static string? Header(HttpHeaders headers, string name) =>
        headers.TryGetValues(name, out var values) ? values.FirstOrDefault() : null;

    private static async ValueTask<ReadOnlyMemory<byte>> ReadBodyAsync(HttpResponseMessage response)
    {
        await using var body = await response.Content.ReadAsStreamAsync();
        var kept = new byte[256];
        var (length, total) = (0, 0);
        var rest = new byte[1024];
        while (total < MaxBody)
        {
            var read = await body.ReadAsync(length < kept.Length ? kept.AsMemory(length) : rest);
            if (read == 0)
            {
                break;
            }
            length = Math.Min(kept.Length, length + read);
            total += read;
        }
        return kept.AsMemory(0, length);
    }

    private static ProbeOutcome FaultOf(Exception exception, Http2Session session)
    {
        var first = session.FirstBytes;
        if (!first.IsEmpty && first is not [0, _, _, 4, ..])
        {
            return ProbeOutcome.Protocol($"asked in HTTP/2, the endpoint {ForeignBytes.Describe(first)}");
        }
        for (var e = exception; e is not null; e = e.InnerException)
        {
            switch (e)
            {
                case System.Net.Sockets.SocketException socket:
                    return ProbeOutcome.OfTransfer(socket.SocketErrorCode);
                case HttpProtocolException protocol:
                    return ProbeOutcome.Protocol($"HTTP/2 error {protocol.ErrorCode}");
            }
        }
        return
            exception
                is HttpRequestException
                {
                    HttpRequestError: HttpRequestError.ConfigurationLimitExceeded or HttpRequestError.InvalidResponse
                }
            ? ProbeOutcome.Protocol("the answer is not one of HTTP/2")
            : new ProbeOutcome(FailureClass.Reset, session.FirstBytes.IsEmpty ? "closed without an answer" : "closed within the answer");
    }
}

/// <summary>HTTP/2 on one connection.</summary>
internal sealed class Http2Session : IDisposable
{
    private readonly FirstBytesStream? _watched;

    public Http2Session(ProbeConnection connection)
    {
        var stream = connection.AsStream();
        // Over TLS the library wants the TLS stream itself; and what the peer speaks, ALPN has settled there.
        _watched = stream is SslStream ? null : new FirstBytesStream(stream);
        var isTaken = false;
        Invoker = new HttpMessageInvoker(
            new SocketsHttpHandler
            {
                ConnectCallback = (_, _) =>
                {
                    // Its own second attempt would go unseen.
                    if (isTaken)
                    {
                        throw new IOException("The connection of this probe is used up.");
                    }
                    isTaken = true;
                    return ValueTask.FromResult(_watched ?? stream);
                },
                AllowAutoRedirect = false,
                UseCookies = false,
                UseProxy = false,
                AutomaticDecompression = DecompressionMethods.None,
                EnableMultipleHttp2Connections = false,
                MaxResponseHeadersLength = Http1ResponseReader.MaxHead / 1024,
                InitialHttp2StreamWindowSize = 65535,
                PooledConnectionIdleTimeout = Timeout.InfiniteTimeSpan,
                PooledConnectionLifetime = Timeout.InfiniteTimeSpan,
                ActivityHeadersPropagator = null,
            }
        );
    }

    public HttpMessageInvoker Invoker { get; }

    /// <summary>How the peer's first answer on the connection begins; empty if it said nothing yet, or speaks TLS.</summary>
    public ReadOnlySpan<byte> FirstBytes => _watched is null ? default : _watched.FirstBytes;

    public void Dispose() => Invoker.Dispose();
}

/// <summary>Passes everything on, and remembers how what is read begins.</summary>
internal sealed class FirstBytesStream(Stream inner) : Stream
{
    private readonly byte[] _first = new byte[40];
    private int _length;

    public ReadOnlySpan<byte> FirstBytes => _first.AsSpan(0, _length);

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var read = await inner.ReadAsync(buffer, cancellationToken);
        var kept = Math.Min(read, _first.Length - _length);
        buffer.Span[..kept].CopyTo(_first.AsSpan(_length));
        _length += kept;
        return read;
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        inner.WriteAsync(buffer, cancellationToken);

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override Task FlushAsync(CancellationToken cancellationToken) => inner.FlushAsync(cancellationToken);

    public override void Flush() => inner.Flush();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            inner.Dispose();
        }
        base.Dispose(disposing);
    }
}
