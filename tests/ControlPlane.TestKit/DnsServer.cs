using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace ControlPlane.TestKit;

/// <summary>A DNS server on a UDP port of loopback (RFC 1035), by hand: it answers what it is told to, wrongly where it is told to, or not at all.</summary>
public sealed class DnsServer : IAsyncDisposable
{
    private const ushort TypeA = 1;
    private const ushort TypeAaaa = 28;
    private const ushort TypeSrv = 33;
    private const int HeadLength = 12;

    private readonly Socket _socket = new(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
    private readonly CancellationTokenSource _stop = new();
    private readonly ConcurrentDictionary<string, List<(ushort Type, int Ttl, byte[] Data)>> _records = new(
        StringComparer.OrdinalIgnoreCase
    );
    private readonly Task _answering;
    private int _questions;

    /// <summary>Starts a server that knows no name: every name does not exist.</summary>
    public DnsServer()
    {
        _socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        _answering = AnswerAsync();
    }

    /// <summary>Its address with port.</summary>
    public string Address => _socket.LocalEndPoint!.ToString()!;

    /// <summary>The response code of every answer, where it is not 0: 2 is SERVFAIL, 5 is REFUSED.</summary>
    public int ResponseCode { get; set; }

    /// <summary>Answers nothing.</summary>
    public bool IsSilent { get; set; }

    /// <summary>Answers with one record of those that there are, another one each time: nobody who asks gets what others do.</summary>
    public bool Rotates { get; set; }

    /// <summary>Questions received since the start.</summary>
    public int Questions => Volatile.Read(ref _questions);

    /// <summary>Replaces the addresses of a name; none makes one that exists and has none.</summary>
    public void Set(string name, int ttl, params string[] addresses) =>
        _records[name] = [
            .. addresses
                .Select(IPAddress.Parse)
                .Select(a => (a.AddressFamily == AddressFamily.InterNetwork ? TypeA : TypeAaaa, ttl, a.GetAddressBytes())),
        ];

    /// <summary>Replaces the services of a name.</summary>
    public void SetServices(string name, int ttl, params (int Priority, int Weight, int Port, string Target)[] services) =>
        _records[name] = [.. services.Select(s => (TypeSrv, ttl, Service(s.Priority, s.Weight, s.Port, s.Target)))];

    /// <summary>Forgets a name: it does not exist any more.</summary>
    public void Remove(string name) => _records.TryRemove(name, out _);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _answering;
        _socket.Dispose();
        _stop.Dispose();
    }

    private async Task AnswerAsync()
    {
        var buffer = new byte[4096];
        try
        {
            while (true)
            {
                var received = await _socket.ReceiveFromAsync(buffer, new IPEndPoint(IPAddress.Any, 0), _stop.Token);
                Interlocked.Increment(ref _questions);
                if (!IsSilent)
                {
                    await _socket.SendToAsync(Answer(buffer.AsSpan(0, received.ReceivedBytes)), received.RemoteEndPoint, _stop.Token);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // Stopped.
        }
    }

    private byte[] Answer(ReadOnlySpan<byte> request)
    {
        var (name, end) = ReadName(request);
        var type = BinaryPrimitives.ReadUInt16BigEndian(request[end..]);
        var exists = _records.TryGetValue(name, out var records);
        var answers = ResponseCode == 0 && exists ? records!.Where(r => r.Type == type).ToList() : [];
        if (Rotates && answers.Count > 0)
        {
            answers = [answers[Questions % answers.Count]];
        }

        var code =
            ResponseCode != 0 ? ResponseCode
            : exists ? 0
            : 3;

        var message = new List<byte>();
        message.AddRange(request[..2]);
        // A response, recursion available.
        AddNumber(message, 0x8180 | code);
        AddNumber(message, 1);
        AddNumber(message, answers.Count);
        AddNumber(message, 0);
        AddNumber(message, 0);
        message.AddRange(request[HeadLength..(end + 4)]);
        foreach (var (answerType, ttl, data) in answers)
        {
            // The name of the question, by reference.
            AddNumber(message, 0xC000 | HeadLength);
            AddNumber(message, answerType);
            AddNumber(message, 1);
            AddNumber(message, ttl >> 16);
            AddNumber(message, ttl & 0xFFFF);
            AddNumber(message, data.Length);
            message.AddRange(data);
        }
        return [.. message];
    }

    private static (string Name, int End) ReadName(ReadOnlySpan<byte> message)
    {
        var labels = new List<string>();
        var at = HeadLength;
        while (message[at] != 0)
        {
            labels.Add(Encoding.ASCII.GetString(message.Slice(at + 1, message[at])));
            at += message[at] + 1;
        }
        return (string.Join('.', labels), at + 1);
    }

    private static byte[] Service(int priority, int weight, int port, string target)
    {
        var data = new List<byte>();
        AddNumber(data, priority);
        AddNumber(data, weight);
        AddNumber(data, port);
        foreach (var label in target.Split('.', StringSplitOptions.RemoveEmptyEntries))
        {
            data.Add((byte)label.Length);
            data.AddRange(Encoding.ASCII.GetBytes(label));
        }
        data.Add(0);
        return [.. data];
    }

    private static void AddNumber(List<byte> message, int number)
    {
        message.Add((byte)(number >> 8));
        message.Add((byte)number);
    }
}
