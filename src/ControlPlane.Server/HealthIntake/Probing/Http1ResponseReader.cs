using System.Globalization;

namespace ControlPlane.Server.HealthIntake.Probing;

/// <summary>
/// Reads one HTTP/1.x response (RFC 9112) as its bytes come, in a fixed amount of memory however long it is: of a line the beginning is kept, and of the body. Informational
/// responses are passed over.
/// </summary>
internal sealed class Http1ResponseReader
{
    /// <summary>Longest head, in bytes; as Envoy's default limit of headers.</summary>
    public const int MaxHead = 60 * 1024;

    /// <summary>What is read of a body; more is neither waited for nor read, and the connection is not used again.</summary>
    public const int MaxBody = 64 * 1024;

    // Enough to tell every header that matters, and its value.
    private readonly byte[] _line = new byte[128];
    private int _lineLength;
    private int _headLength;
    private Step _step;
    private bool _isHead;
    private bool _isHttp10;
    private bool _saysClose;
    private bool _saysKeepAlive;
    private bool _isChunked;
    private long _contentLength;
    private long _remaining;
    private long _bodyRead;

    private enum Step
    {
        StatusLine,
        Header,
        Body,
        BodyToEnd,
        ChunkSize,
        ChunkData,
        ChunkEnd,
        Trailer,
        Complete,
        Faulty,
    }

    /// <summary>The status of the response; 0 until its status line was read.</summary>
    public int Status { get; private set; }

    /// <summary>What is wrong with what was read; null if nothing is.</summary>
    public string? Fault { get; private set; }

    /// <summary>Whether nothing was read yet.</summary>
    public bool IsUntouched => _step == Step.StatusLine && _lineLength == 0 && _headLength == 0;

    /// <summary>Whether the whole response was read, or as much as is ever read.</summary>
    public bool IsComplete => _step == Step.Complete;

    /// <summary>Whether another request can follow on the connection.</summary>
    public bool KeepsAlive { get; private set; }

    /// <summary>How the body begins, up to 128 bytes; empty of one in chunks.</summary>
    public ReadOnlySpan<byte> BodyStart => _isChunked || Status == 0 ? default : _line.AsSpan(0, _lineLength);

    /// <summary>Begins anew.</summary>
    /// <param name="isHead">The request is HEAD, whose response has no body.</param>
    public void Reset(bool isHead)
    {
        _isHead = isHead;
        Fault = null;
        Status = 0;
        KeepsAlive = false;
        _headLength = 0;
        _bodyRead = 0;
        BeginHead();
    }

    /// <summary>Reads bytes.</summary>
    /// <returns>Whether it is done: complete, or faulty.</returns>
    public bool Read(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty && _step < Step.Complete)
        {
            switch (_step)
            {
                case Step.Body:
                case Step.ChunkData:
                    var taken = (int)Math.Min(bytes.Length, _remaining);
                    KeepStart(bytes[..taken]);
                    _remaining -= taken;
                    bytes = bytes[taken..];
                    CountBody(taken);
                    if (_remaining == 0 && _step < Step.Complete)
                    {
                        if (_step == Step.Body)
                        {
                            Complete(mayContinue: true);
                        }
                        else
                        {
                            BeginLine(Step.ChunkEnd);
                        }
                    }
                    break;
                case Step.BodyToEnd:
                    KeepStart(bytes);
                    CountBody(bytes.Length);
                    bytes = [];
                    break;
                default:
                    ReadLine(ref bytes);
                    break;
            }
        }
        if (_step == Step.Complete && !bytes.IsEmpty)
        {
            // What was not asked for: whoever sends it is out of step.
            KeepsAlive = false;
        }
        return _step >= Step.Complete;
    }

    /// <summary>The peer has closed the connection.</summary>
    /// <returns>Whether the response is complete by that.</returns>
    public bool End()
    {
        if (_step == Step.BodyToEnd)
        {
            Complete(mayContinue: false);
        }
        return _step == Step.Complete;
    }

    private void ReadLine(ref ReadOnlySpan<byte> bytes)
    {
        var end = bytes.IndexOf((byte)'\n');
        var part = end < 0 ? bytes : bytes[..end];
        bytes = end < 0 ? [] : bytes[(end + 1)..];
        var kept = Math.Min(part.Length, _line.Length - _lineLength);
        part[..kept].CopyTo(_line.AsSpan(_lineLength));
        _lineLength += kept;
        _headLength += part.Length + (end < 0 ? 0 : 1);
        if (_step == Step.StatusLine && _lineLength >= 5 && !_line.AsSpan(0, _lineLength).StartsWith("HTTP/"u8))
        {
            Fail($"asked in HTTP/1.1, the endpoint {ForeignBytes.Describe(_line.AsSpan(0, _lineLength))}");
        }
        else if (_headLength > MaxHead)
        {
            Fail($"the head of the answer is longer than {MaxHead / 1024} KB");
        }
        else if (end >= 0)
        {
            var line = _line.AsSpan(0, _lineLength);
            EndLine(line is [.., (byte)'\r'] ? line[..^1] : line);
        }
    }

    private void EndLine(ReadOnlySpan<byte> line)
    {
        switch (_step)
        {
            case Step.StatusLine when line.IsEmpty && Status == 0:
                // An empty line before a response is tolerated (RFC 9112, 2.2).
                BeginLine(Step.StatusLine);
                break;
            case Step.StatusLine:
                ReadStatusLine(line);
                break;
            case Step.Header when line.IsEmpty:
                EndHead();
                break;
            case Step.Header:
                ReadHeader(line);
                BeginLine(Step.Header);
                break;
            case Step.ChunkSize:
                ReadChunkSize(line);
                break;
            case Step.ChunkEnd:
                if (line.IsEmpty)
                {
                    BeginLine(Step.ChunkSize);
                }
                else
                {
                    Fail("the answer's chunks are not framed as they say");
                }
                break;
            case Step.Trailer when line.IsEmpty:
                Complete(mayContinue: true);
                break;
            default:
                BeginLine(Step.Trailer);
                break;
        }
    }

    private void ReadStatusLine(ReadOnlySpan<byte> line)
    {
        // HTTP/1.1 200 OK; the reason may be missing.
        if (
            line.Length < 12
            || !line.StartsWith("HTTP/1."u8)
            || line[8] != ' '
            || (line.Length > 12 && line[12] != ' ')
            || !int.TryParse(line[9..12], NumberStyles.None, CultureInfo.InvariantCulture, out var status)
            || status < 100
        )
        {
            Fail($"asked in HTTP/1.1, the endpoint {ForeignBytes.Describe(line)}");
            return;
        }
        Status = status;
        _isHttp10 = line[7] == '0';
        BeginLine(Step.Header);
    }

    private void ReadHeader(ReadOnlySpan<byte> line)
    {
        var colon = line.IndexOf((byte)':');
        if (colon <= 0)
        {
            return;
        }
        var value = line[(colon + 1)..].Trim(" \t"u8);
        switch (colon)
        {
            case 14 when Is(line[..colon], "content-length"):
                if (!long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out _contentLength))
                {
                    Fail("the answer's Content-Length is not a number");
                }
                break;
            case 17 when Is(line[..colon], "transfer-encoding"):
                _isChunked = value.Length >= 7 && Is(value[^7..], "chunked");
                break;
            case 10 when Is(line[..colon], "connection"):
                _saysClose |= Is(value, "close");
                _saysKeepAlive |= Is(value, "keep-alive");
                break;
        }
    }

    private void KeepStart(ReadOnlySpan<byte> body)
    {
        if (!_isChunked)
        {
            var kept = Math.Min(body.Length, _line.Length - _lineLength);
            body[..kept].CopyTo(_line.AsSpan(_lineLength));
            _lineLength += kept;
        }
    }

    private void EndHead()
    {
        _lineLength = 0;
        if (Status is >= 100 and < 200 and not 101)
        {
            BeginHead();
            return;
        }
        if (_isHead || Status is 101 or 204 or 304)
        {
            Complete(mayContinue: Status != 101);
        }
        else if (_isChunked)
        {
            BeginLine(Step.ChunkSize);
        }
        else if (_contentLength >= 0)
        {
            _remaining = _contentLength;
            _step = Step.Body;
            if (_remaining == 0)
            {
                Complete(mayContinue: true);
            }
        }
        else
        {
            _step = Step.BodyToEnd;
        }
    }

    private void ReadChunkSize(ReadOnlySpan<byte> line)
    {
        var semicolon = line.IndexOf((byte)';');
        var digits = (semicolon < 0 ? line : line[..semicolon]).Trim(" \t"u8);
        if (!long.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out _remaining) || _remaining < 0)
        {
            Fail("the answer's chunks are not framed as they say");
        }
        else if (_remaining == 0)
        {
            BeginLine(Step.Trailer);
        }
        else
        {
            // Chunks of one byte make lines, too, that count as little as the body.
            _headLength = 0;
            CountBody(line.Length);
            if (_step < Step.Complete)
            {
                _step = Step.ChunkData;
            }
        }
    }

    private void CountBody(int bytes)
    {
        _bodyRead += bytes;
        if (_bodyRead >= MaxBody && (_step == Step.BodyToEnd || _remaining > 0))
        {
            Complete(mayContinue: false);
        }
    }

    private void BeginHead()
    {
        _contentLength = -1;
        _isChunked = _saysClose = _saysKeepAlive = false;
        BeginLine(Step.StatusLine);
    }

    private void BeginLine(Step step)
    {
        if (_step != Step.Faulty || step == Step.StatusLine)
        {
            _step = step;
        }
        _lineLength = 0;
    }

    private void Complete(bool mayContinue)
    {
        _step = Step.Complete;
        KeepsAlive = mayContinue && (_isHttp10 ? _saysKeepAlive : !_saysClose);
    }

    private void Fail(string fault)
    {
        _step = Step.Faulty;
        Fault = fault;
    }

    private static bool Is(ReadOnlySpan<byte> text, string lowercase) => System.Text.Ascii.EqualsIgnoreCase(text, lowercase);
}
