using System.Text;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Upstreams;
using ControlPlane.Server.HealthIntake.Probing;
using ControlPlane.TestKit;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace ControlPlane.Server.Tests.HealthIntake.Probing;

/// <summary>Peers that do what no server should. Each costs one probe's time and a bounded amount of memory, and is told apart.</summary>
public sealed class HostileBackendTests
{
    private static readonly HealthCheckSpec Quick = ProbeLab.Http() with { Timeout = TimeSpan.FromMilliseconds(300) };

    private static readonly HealthCheckSpec Http2 = new()
    {
        Http = new HttpCheckSpec { Path = "/", Codec = CheckCodec.Http2 },
    };

    [Fact]
    public async Task A_byte_now_and_then_is_a_timeout()
    {
        await using var backend = RawBackend.Start(
            async (stream, stop) =>
            {
                foreach (var b in "HTTP/1.1 200 OK\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"u8.ToArray())
                {
                    await stream.WriteAsync(new[] { b }, stop);
                    await Task.Delay(TimeSpan.FromMilliseconds(50), TimeProvider.System, stop);
                }
            }
        );
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(Quick, ProbeLab.Loopback(backend.Port)));
        Assert.Equal((FailureClass.Timeout, "no answer in time"), (result.Class, result.Text));
    }

    [Fact]
    public async Task Of_a_body_of_a_hundred_megabytes_the_beginning_is_read()
    {
        var sent = 0L;
        var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var backend = RawBackend.Start(
            async (stream, stop) =>
            {
                await RawBackend.ReadHeadAsync(stream, stop);
                await stream.WriteAsync("HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n"u8.ToArray(), stop);
                try
                {
                    for (; sent < 104857600; sent += 65536)
                    {
                        await stream.WriteAsync(new byte[65536], stop);
                    }
                }
                catch (IOException)
                {
                    // The prober has had enough.
                }
                ended.SetResult();
            }
        );
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(ProbeLab.Http(), ProbeLab.Loopback(backend.Port)));
        Assert.True(result.Passed);
        await ended.Task.WaitAsync(ProbeLab.Patience);
        // What the two kernels buffer, not the whole.
        Assert.InRange(sent, Http1ResponseReader.MaxBody, 50_000_000);
    }

    [Fact]
    public async Task A_redirect_is_an_answer_and_is_not_followed()
    {
        var requests = 0;
        await using var backend = RawBackend.Start(
            async (stream, stop) =>
            {
                await RawBackend.ReadHeadAsync(stream, stop);
                Interlocked.Increment(ref requests);
                await stream.WriteAsync("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"u8.ToArray(), stop);
            }
        );
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(ProbeLab.Http(), ProbeLab.Loopback(backend.Port)));
        Assert.Equal((FailureClass.Status, "HTTP 302"), (result.Class, result.Text));
        Assert.Equal(1, requests);
    }

    [Theory]
    [InlineData("", FailureClass.Reset, "closed without an answer")]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Le", FailureClass.Reset, "closed within the answer")]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok", FailureClass.Reset, "closed within the answer")]
    [InlineData(
        "220 mail.example.com ESMTP\r\n",
        FailureClass.Protocol,
        "asked in HTTP/1.1, the endpoint answered '220 mail.example.com ESMTP'"
    )]
    [InlineData("\x15\x03\x01\0\x02\x02\x46", FailureClass.Protocol, "asked in HTTP/1.1, the endpoint answered in TLS")]
    public async Task What_is_no_whole_answer_is_told_apart(string answer, FailureClass failure, string text)
    {
        await using var backend = RawBackend.Answering(answer);
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(ProbeLab.Http(), ProbeLab.Loopback(backend.Port)));
        Assert.Equal((failure, text), (result.Class, result.Text));
    }

    [Fact]
    public async Task A_reset_is_a_reset()
    {
        await using var backend = RawBackend.Start(
            async (stream, stop) =>
            {
                await RawBackend.ReadHeadAsync(stream, stop);
                stream.Socket.LingerState = new(enable: true, seconds: 0);
                stream.Socket.Dispose();
            }
        );
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(ProbeLab.Http(), ProbeLab.Loopback(backend.Port)));
        Assert.Equal((FailureClass.Reset, "connection reset"), (result.Class, result.Text));
    }

    [Fact]
    public async Task HTTP_2_spoken_where_only_HTTP_1_is_understood_is_a_matter_of_protocol()
    {
        await using var backend = RawBackend.Answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(Http2, ProbeLab.Loopback(backend.Port)));
        Assert.Equal(FailureClass.Protocol, result.Class);
        Assert.StartsWith("asked in HTTP/2, the endpoint answered 'HTTP/1.1", result.Text, StringComparison.Ordinal);

        // A server that knows HTTP/2 and does not want it.
        await using var refusing = await TestBackend.StartAsync("b");
        result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(Http2, ProbeLab.Loopback(refusing.Port)));
        Assert.Equal((FailureClass.Protocol, "asked in HTTP/2, the endpoint refused HTTP/2"), (result.Class, result.Text));
    }

    [Fact]
    public async Task HTTP_1_spoken_where_only_HTTP_2_is_understood_is_a_matter_of_protocol()
    {
        await using var backend = RawBackend.Answering("\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64");
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(ProbeLab.Http(), ProbeLab.Loopback(backend.Port)));
        Assert.Equal((FailureClass.Protocol, "asked in HTTP/1.1, the endpoint answered in HTTP/2"), (result.Class, result.Text));
    }

    [Theory]
    [InlineData("<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>")]
    [InlineData("Client sent an HTTP request to an HTTPS server.\n")]
    public async Task A_TLS_server_that_complains_about_plaintext_is_understood(string complaint)
    {
        await using var backend = RawBackend.Answering(
            $"HTTP/1.1 400 Bad Request\r\nContent-Length: {complaint.Length}\r\n\r\n{complaint}"
        );
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(ProbeLab.Http(), ProbeLab.Loopback(backend.Port)));
        Assert.Equal((FailureClass.Protocol, "asked in plaintext, the endpoint wants TLS (HTTP 400)"), (result.Class, result.Text));
    }

    [Fact]
    public async Task A_real_server_that_speaks_HTTP_2_only_is_understood()
    {
        await using var backend = await TestBackend.StartAsync("b", HttpProtocols.Http2);
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(ProbeLab.Http(), ProbeLab.Loopback(backend.Port)));
        Assert.Equal((FailureClass.Protocol, "asked in HTTP/1.1, the endpoint speaks HTTP/2 only (HTTP 400)"), (result.Class, result.Text));
    }

    [Fact]
    public async Task HTTP_2_is_spoken_with_prior_knowledge_and_on_one_connection()
    {
        await using var backend = await TestBackend.StartAsync("b", HttpProtocols.Http2);
        await using var lab = new ProbeLab();
        var check = new HealthCheckSpec
        {
            Http = new HttpCheckSpec
            {
                Path = "/ready",
                Codec = CheckCodec.Http2,
                Host = "shop.example.com",
            },
            Interval = TimeSpan.FromMilliseconds(50),
            EdgeInterval = TimeSpan.FromMilliseconds(50),
            ReuseConnection = true,
        };
        lab.Set(ProbeLab.Upstream(check, ProbeLab.Loopback(backend.Port)));
        for (var i = 0; i < 3; i++)
        {
            var result = await lab.NextAsync();
            Assert.Equal((true, "HTTP 200"), (result.Passed, result.Text));
        }
        Assert.Equal(("/ready", "shop.example.com"), (backend.LastRequest!.Path, backend.LastRequest.Host));
        backend.Status = 404;
        Assert.Equal("HTTP 404", (await NextFailureAsync(lab)).Text);
    }

    [Theory]
    [InlineData("pong\r\n", null, "")]
    [InlineData("xx pong", null, "")]
    [InlineData("-ERR", FailureClass.Body, "asked over TCP, the endpoint answered '-ERR'")]
    [InlineData("", FailureClass.Reset, "closed without an answer")]
    public async Task A_TCP_answer_must_contain_what_is_expected(string answer, FailureClass? failure, string text)
    {
        await using var backend = RawBackend.Start(
            async (stream, stop) =>
            {
                await stream.ReadExactlyAsync(new byte[4], stop);
                await stream.WriteAsync(Encoding.Latin1.GetBytes(answer), stop);
            }
        );
        var check = new HealthCheckSpec
        {
            Tcp = new TcpCheckSpec
            {
                Send = new PayloadSpec { Text = "ping" },
                Receive = [new PayloadSpec { Text = "po" }, new PayloadSpec { Hex = "6e67" }],
            },
        };
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(check, ProbeLab.Loopback(backend.Port)));
        Assert.Equal(failure ?? FailureClass.None, result.Class);
        Assert.Equal(failure is null ? "answered as expected" : text, result.Text);
    }

    [Fact]
    public async Task An_endless_TCP_answer_without_what_is_expected_ends()
    {
        await using var backend = RawBackend.Start(
            async (stream, stop) =>
            {
                while (true)
                {
                    await stream.WriteAsync(new byte[1000], stop);
                }
            }
        );
        var check = new HealthCheckSpec { Tcp = new TcpCheckSpec { Receive = [new PayloadSpec { Text = "pong" }] } };
        var result = await ProbeLab.ProbeOnceAsync(ProbeLab.Upstream(check, ProbeLab.Loopback(backend.Port)));
        Assert.Equal((FailureClass.Body, "the first 64 KB of the answer are not as expected"), (result.Class, result.Text));
    }

    private static async Task<CheckResult> NextFailureAsync(ProbeLab lab)
    {
        while (true)
        {
            var result = await lab.NextAsync();
            if (!result.Passed)
            {
                return result;
            }
        }
    }
}
