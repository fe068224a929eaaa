using System.Buffers;
using System.Text;
using Google.Protobuf;

namespace ControlPlane.Server.Discovery;

/// <summary>
/// Reads protobuf fields from the buffers that they arrived in. Strings are all that is ever copied; what is skipped, such as the 61 KB of a node, costs
/// nothing.
/// </summary>
internal ref struct WireReader(ReadOnlySequence<byte> message)
{
    private SequenceReader<byte> _reader = new(message);

    /// <summary>The number of the field that was read last.</summary>
    public int Field { get; private set; }

    private WireFormat.WireType _wireType;

    /// <summary>Goes to the next field. Its value must be read or skipped.</summary>
    /// <returns>False at the end.</returns>
    public bool Next()
    {
        if (_reader.End)
        {
            return false;
        }

        var tag = ReadVarint();
        if (tag > uint.MaxValue)
        {
            throw Malformed();
        }

        Field = (int)(tag >> 3);
        _wireType = (WireFormat.WireType)(tag & 7);
        return Field != 0 ? true : throw Malformed();
    }

    public ulong ReadVarint()
    {
        ulong value = 0;
        for (var shift = 0; shift < 64; shift += 7)
        {
            if (!_reader.TryRead(out var b))
            {
                throw Malformed();
            }

            value |= (ulong)(b & 0x7f) << shift;
            if (b < 0x80)
            {
                return value;
            }
        }

        throw Malformed();
    }

    /// <summary>The value of an integer field.</summary>
    public ulong ReadNumber() => _wireType == WireFormat.WireType.Varint ? ReadVarint() : throw Malformed();

    /// <summary>The bytes of a string, bytes or message field.</summary>
    public ReadOnlySequence<byte> ReadBytes()
    {
        if (_wireType != WireFormat.WireType.LengthDelimited)
        {
            throw Malformed();
        }

        var length = ReadVarint();
        if (length > (ulong)_reader.Remaining)
        {
            throw Malformed();
        }

        var bytes = _reader.UnreadSequence.Slice(0, (long)length);
        _reader.Advance((long)length);
        return bytes;
    }

    public string ReadString() => Encoding.UTF8.GetString(ReadBytes());

    public void Skip()
    {
        switch (_wireType)
        {
            case WireFormat.WireType.Varint:
                ReadVarint();
                break;
            case WireFormat.WireType.LengthDelimited:
                ReadBytes();
                break;
            case WireFormat.WireType.Fixed32 when _reader.Remaining >= 4:
                _reader.Advance(4);
                break;
            case WireFormat.WireType.Fixed64 when _reader.Remaining >= 8:
                _reader.Advance(8);
                break;
            default:
                throw Malformed();
        }
    }

    private static InvalidDataException Malformed() => new("The message is not valid protobuf.");
}
