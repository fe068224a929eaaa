using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Net.Sockets;
using System.Text;
using ControlPlane.Core.Snapshots;
using ControlPlane.Server.Discovery;
using Envoy.Service.Discovery.V3;
using Google.Protobuf;

namespace ControlPlane.Benchmarks.Fleet;

/// <summary>
/// One proxy on a connection of its own: Delta ADS, a wildcard for clusters and names for assignments, every response acknowledged. It speaks just enough
/// HTTP/2 (RFC 9113) for one gRPC call, since a thousand real clients would cost more than the server that is measured. Linux loopback only: it trusts the server.
/// </summary>
internal sealed class SimulatedProxy(string id, IReadOnlyCollection<string> assignments) : IDisposable
{
    private const byte Data = 0,
        Headers = 1,
        ResetStream = 3,
        Settings = 4,
        Ping = 6,
        GoAway = 7,
        WindowUpdate = 8;

    private const int LargestWindow = int.MaxValue;

    private readonly Socket _socket = new(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
    private readonly ArrayBufferWriter<byte> _message = new();
    private readonly TaskCompletionSource _ended = new();

    /// <summary>Versions held, by name: what a reconnecting proxy says that it has.</summary>
    public Dictionary<string, string> Clusters { get; } = new(StringComparer.Ordinal);

    /// <summary>Likewise of assignments.</summary>
    public Dictionary<string, string> Assignments { get; } = new(StringComparer.Ordinal);

    /// <summary>Called for each resource that arrives, with its message.</summary>
    public Action<ResourceType, string, ReadOnlySequence<byte>>? Received { get; set; }

    /// <summary>Called for each response, after its resources.</summary>
    public Action<SimulatedProxy>? Answered { get; set; }

    public long BytesReceived { get; private set; }

    public int ResourcesReceived { get; private set; }

    public int Responses { get; private set; }

    /// <summary>It asks and never reads: what it is sent ends at HTTP/2's first window of 64 KiB.</summary>
    public bool Stalls { get; init; }

    /// <summary>Faults when the connection ends.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Connects, subscribes and reads until it is disposed.</summary>
    public async Task ConnectAsync(string host, int port, CancellationToken cancellationToken)
    {
        await _socket.ConnectAsync(host, port, cancellationToken);
        var output = new ArrayBufferWriter<byte>();
        output.Write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8);
        Span<byte> setting = stackalloc byte[6];
        BinaryPrimitives.WriteUInt16BigEndian(setting, 4); // SETTINGS_INITIAL_WINDOW_SIZE
        BinaryPrimitives.WriteInt32BigEndian(setting[2..], LargestWindow);
        Frame(output, Settings, flags: 0, stream: 0, Stalls ? [] : setting);
        Span<byte> window = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(window, LargestWindow - 65_535);
        if (!Stalls)
        {
            Frame(output, WindowUpdate, flags: 0, stream: 0, window);
        }

        Frame(output, Headers, flags: 0x4, stream: 1, RequestHeaders($"{host}:{port}"));
        Send(output, First(ResourceType.Cluster, [], Clusters));
        Send(output, First(ResourceType.Endpoints, assignments, Assignments));
        await _socket.SendAsync(output.WrittenMemory, cancellationToken);
        if (!Stalls)
        {
            _ = ReadAsync();
        }
    }

    public void Dispose() => _socket.Dispose();

    private DeltaDiscoveryRequest First(ResourceType type, IEnumerable<string> names, Dictionary<string, string> held)
    {
        var request = new DeltaDiscoveryRequest
        {
            Node = new() { Id = id, Cluster = "fleet" },
            TypeUrl = type.TypeUrl,
        };
        request.ResourceNamesSubscribe.Add(names);
        request.InitialResourceVersions.Add(held);
        return request;
    }

    private async Task ReadAsync()
    {
        try
        {
            var reader = PipeReader.Create(new NetworkStream(_socket));
            while (true)
            {
                var read = await reader.ReadAsync();
                var rest = read.Buffer;
                var output = new ArrayBufferWriter<byte>();
                while (TryReadFrame(ref rest, out var type, out var flags, out var payload))
                {
                    Take(type, flags, payload, output);
                }

                reader.AdvanceTo(rest.Start, rest.End);
                if (output.WrittenCount > 0)
                {
                    await _socket.SendAsync(output.WrittenMemory);
                }

                if (read.IsCompleted)
                {
                    throw new IOException("The server closed the connection.");
                }
            }
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException)
        {
            _ended.TrySetException(e);
        }
    }

    private static bool TryReadFrame(ref ReadOnlySequence<byte> rest, out byte type, out byte flags, out ReadOnlySequence<byte> payload)
    {
        type = flags = 0;
        payload = default;
        if (rest.Length < 9)
        {
            return false;
        }

        Span<byte> head = stackalloc byte[9];
        rest.Slice(0, 9).CopyTo(head);
        var length = (head[0] << 16) | (head[1] << 8) | head[2];
        if (rest.Length < 9 + length)
        {
            return false;
        }

        (type, flags) = (head[3], head[4]);
        payload = rest.Slice(9, length);
        rest = rest.Slice(9 + length);
        return true;
    }

    private void Take(byte type, byte flags, ReadOnlySequence<byte> payload, ArrayBufferWriter<byte> output)
    {
        switch (type)
        {
            case Data:
                BytesReceived += payload.Length;
                foreach (var segment in payload)
                {
                    _message.Write(segment.Span);
                }

                TakeMessages(output);
                break;
            case Settings when (flags & 1) == 0:
                Frame(output, Settings, flags: 1, stream: 0, []);
                break;
            case Ping when (flags & 1) == 0:
                Frame(output, Ping, flags: 1, stream: 0, payload.ToArray());
                break;
            case Headers when (flags & 1) != 0:
            case ResetStream:
            case GoAway:
                throw new IOException("The server ended the stream.");
        }
    }

    /// <summary>Takes the complete gRPC messages out of what has arrived: a flag, a length, the message.</summary>
    private void TakeMessages(ArrayBufferWriter<byte> output)
    {
        var all = _message.WrittenMemory;
        var at = 0;
        while (all.Length - at >= 5)
        {
            var length = BinaryPrimitives.ReadInt32BigEndian(all.Span[(at + 1)..]);
            if (all.Length - at - 5 < length)
            {
                break;
            }

            TakeResponse(new ReadOnlySequence<byte>(all.Slice(at + 5, length)), output);
            at += 5 + length;
        }

        if (at > 0)
        {
            var rest = all.Span[at..].ToArray();
            _message.ResetWrittenCount();
            _message.Write(rest);
        }
    }

    private void TakeResponse(ReadOnlySequence<byte> response, ArrayBufferWriter<byte> output)
    {
        var type = ResourceType.Find(TypeUrlOf(response))!;
        var held = type == ResourceType.Cluster ? Clusters : Assignments;
        var nonce = "";
        var reader = new WireReader(response);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 2:
                    TakeResource(type, held, reader.ReadBytes());
                    break;
                case 5:
                    nonce = reader.ReadString();
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        Send(output, new DeltaDiscoveryRequest { TypeUrl = type.TypeUrl, ResponseNonce = nonce });
        Responses++;
        Answered?.Invoke(this);
    }

    private void TakeResource(ResourceType type, Dictionary<string, string> held, ReadOnlySequence<byte> resource)
    {
        string name = "",
            version = "";
        ReadOnlySequence<byte> message = default;
        var reader = new WireReader(resource);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    version = reader.ReadString();
                    break;
                case 2:
                    message = reader.ReadBytes();
                    break;
                case 3:
                    name = reader.ReadString();
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        held[name] = version;
        ResourcesReceived++;
        Received?.Invoke(type, name, message);
    }

    private static string TypeUrlOf(ReadOnlySequence<byte> response)
    {
        var reader = new WireReader(response);
        while (reader.Next())
        {
            if (reader.Field == 4)
            {
                return reader.ReadString();
            }

            reader.Skip();
        }

        return "";
    }

    private static void Send(ArrayBufferWriter<byte> output, IMessage message)
    {
        var body = new byte[5 + message.CalculateSize()];
        BinaryPrimitives.WriteInt32BigEndian(body.AsSpan(1), body.Length - 5);
        message.WriteTo(body.AsSpan(5));
        for (var at = 0; at < body.Length; at += 16_384)
        {
            Frame(output, Data, flags: 0, stream: 1, body.AsSpan(at, Math.Min(16_384, body.Length - at)));
        }
    }

    private static void Frame(ArrayBufferWriter<byte> output, byte type, byte flags, int stream, ReadOnlySpan<byte> payload)
    {
        var head = output.GetSpan(9);
        head[0] = (byte)(payload.Length >> 16);
        head[1] = (byte)(payload.Length >> 8);
        head[2] = (byte)payload.Length;
        head[3] = type;
        head[4] = flags;
        BinaryPrimitives.WriteInt32BigEndian(head[5..], stream);
        output.Advance(9);
        output.Write(payload);
    }

    /// <summary>The request's headers in HPACK (RFC 7541), without its dynamic table.</summary>
    private static byte[] RequestHeaders(string authority)
    {
        var headers = new ArrayBufferWriter<byte>();
        headers.Write((ReadOnlySpan<byte>)[0x83, 0x86]); // :method POST, :scheme http
        headers.Write((ReadOnlySpan<byte>)[0x04]); // :path
        Text(headers, "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources");
        headers.Write((ReadOnlySpan<byte>)[0x01]); // :authority
        Text(headers, authority);
        headers.Write((ReadOnlySpan<byte>)[0x0f, 0x10]); // content-type
        Text(headers, "application/grpc");
        headers.Write((ReadOnlySpan<byte>)[0x00]);
        Text(headers, "te");
        Text(headers, "trailers");
        return headers.WrittenSpan.ToArray();
    }

    private static void Text(ArrayBufferWriter<byte> headers, string text)
    {
        headers.Write((ReadOnlySpan<byte>)[(byte)text.Length]);
        headers.Write(Encoding.ASCII.GetBytes(text));
    }
}
