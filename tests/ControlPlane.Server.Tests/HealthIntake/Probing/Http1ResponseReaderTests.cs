using System.Text;
using ControlPlane.Server.HealthIntake.Probing;

namespace ControlPlane.Server.Tests.HealthIntake.Probing;

public sealed class Http1ResponseReaderTests
{
    [Theory]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, true)]
    [InlineData("HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nok", 200, true)]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 200, false)]
    [InlineData("HTTP/1.1 204\r\n\r\n", 204, true)]
    [InlineData("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, true)]
    [InlineData("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, false)]
    [InlineData("HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", 200, true)]
    [InlineData("HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nTrailer: t\r\n\r\n", 503, true)]
    [InlineData(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        200,
        true
    )]
    [InlineData("\r\nHTTP/1.1 200 OK\nContent-Length: 0\n\n", 200, true)]
    public void A_response_is_read_alike_however_its_bytes_are_cut(string response, int status, bool keepsAlive)
    {
        var bytes = Encoding.Latin1.GetBytes(response);
        for (var size = 1; size <= bytes.Length; size++)
        {
            var reader = Read(bytes, size);
            Assert.True(reader.IsComplete, $"{size} bytes at a time: {reader.Fault}");
            Assert.Equal((status, keepsAlive), (reader.Status, reader.KeepsAlive));
        }
    }

    [Theory]
    [InlineData("SSH-2.0-OpenSSH_9.2\r\n", "asked in HTTP/1.1, the endpoint answered 'SSH-2.0-OpenSSH_9.2'")]
    [InlineData("\x15\x03\x01\x00\x02\x02\x46", "asked in HTTP/1.1, the endpoint answered in TLS")]
    [InlineData("\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64", "asked in HTTP/1.1, the endpoint answered in HTTP/2")]
    [InlineData("HTTP/1.1 20 OK\r\n", "asked in HTTP/1.1, the endpoint answered 'HTTP/1.1 20 OK'")]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "the answer's Content-Length is not a number")]
    [InlineData("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "the answer's chunks are not framed as they say")]
    [InlineData("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok!\r\n", "the answer's chunks are not framed as they say")]
    public void What_is_no_response_is_said(string answer, string fault)
    {
        var bytes = Encoding.Latin1.GetBytes(answer);
        Assert.Equal(fault, Read(bytes, bytes.Length).Fault);
    }

    [Fact]
    public void A_head_without_end_is_refused()
    {
        var reader = new Http1ResponseReader();
        reader.Reset(isHead: false);
        Assert.False(reader.Read("HTTP/1.1 200 OK\r\nX: "u8));
        var filler = Encoding.ASCII.GetBytes(new string('x', 1000));
        var read = 0;
        while (!reader.Read(filler))
        {
            Assert.True((read += filler.Length) < 2 * Http1ResponseReader.MaxHead);
        }
        Assert.Equal("the head of the answer is longer than 60 KB", reader.Fault);
    }

    [Theory]
    [InlineData("Content-Length: 104857600\r\n")]
    [InlineData("Transfer-Encoding: chunked\r\n")]
    [InlineData("")]
    public void Of_a_body_without_end_the_beginning_is_enough(string framing)
    {
        var reader = new Http1ResponseReader();
        reader.Reset(isHead: false);
        reader.Read(Encoding.ASCII.GetBytes($"HTTP/1.1 200 OK\r\n{framing}\r\n"));
        var part = framing.StartsWith('T') ? "1\r\nx\r\n"u8.ToArray() : Encoding.ASCII.GetBytes(new string('x', 1000));
        var read = 0;
        while (!reader.Read(part))
        {
            Assert.True((read += part.Length) < 10 * Http1ResponseReader.MaxBody);
        }
        Assert.True(reader.IsComplete);
        Assert.False(reader.KeepsAlive);
    }

    [Fact]
    public void A_body_that_ends_early_is_not_complete()
    {
        var reader = new Http1ResponseReader();
        reader.Reset(isHead: false);
        Assert.False(reader.Read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"u8));
        Assert.False(reader.End());
    }

    [Fact]
    public void An_answer_to_HEAD_has_no_body()
    {
        var reader = new Http1ResponseReader();
        reader.Reset(isHead: true);
        Assert.True(reader.Read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"u8));
        Assert.True(reader.KeepsAlive);
    }

    [Fact]
    public void After_bytes_that_nobody_asked_for_the_connection_is_not_used_again()
    {
        var reader = new Http1ResponseReader();
        reader.Reset(isHead: false);
        Assert.True(reader.Read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 Oops\r\n"u8));
        Assert.Equal(200, reader.Status);
        Assert.False(reader.KeepsAlive);
    }

    private static Http1ResponseReader Read(byte[] bytes, int size)
    {
        var reader = new Http1ResponseReader();
        reader.Reset(isHead: false);
        for (var i = 0; i < bytes.Length; i += size)
        {
            if (reader.Read(bytes.AsSpan(i, Math.Min(size, bytes.Length - i))))
            {
                break;
            }
        }
        return reader;
    }
}
