using System.Buffers.Binary;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace ControlPlane.TestKit;

/// <summary>
/// A firewall that drops packets, for one socket of this process and without privileges: a socket filter (Linux, <c>SO_ATTACH_FILTER</c>) that lets nothing through.
/// On a listening socket it swallows the SYN of each new connection, on a connection everything that the peer sends.
/// </summary>
internal static class PacketDrop
{
    private const int SocketLevel = 1;
    private const int AttachFilter = 26;
    private const int DetachFilter = 27;

    // struct sock_filter { u16 code; u8 jt; u8 jf; u32 k; }: BPF_RET | BPF_K, keep 0 bytes.
    private static readonly byte[] Nothing = GC.AllocateArray<byte>(8, pinned: true);

    static PacketDrop() => BinaryPrimitives.WriteUInt16LittleEndian(Nothing, 0x06);

    /// <summary>Begins or ends it; what the peer sends again then is received.</summary>
    public static void Set(Socket socket, bool drops)
    {
        // struct sock_fprog { u16 len; struct sock_filter *filter; }
        Span<byte> program = stackalloc byte[16];
        program.Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(program, 1);
        BinaryPrimitives.WriteInt64LittleEndian(program[8..], Marshal.UnsafeAddrOfPinnedArrayElement(Nothing, 0));
        try
        {
            socket.SetRawSocketOption(SocketLevel, drops ? AttachFilter : DetachFilter, program);
        }
        catch (ObjectDisposedException)
        {
            // Nothing reaches a closed socket.
        }
    }
}
