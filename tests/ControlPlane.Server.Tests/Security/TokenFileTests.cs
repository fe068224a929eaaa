using ControlPlane.Server.Security;

namespace ControlPlane.Server.Tests.Security;

public sealed class TokenFileTests
{
    [Fact]
    public void A_created_token_opens_what_its_line_says()
    {
        var (token, line) = TokenFile.Create("ci", TokenRole.Write);

        var read = Assert.Single(TokenFile.Parse("# tokens\n\n" + line + "\r\n"));
        Assert.Equal("ci", read.Name);
        Assert.Equal(TokenRole.Write, read.Role);
        Assert.Equal(TokenFile.Hash(token), read.Hash);
        Assert.DoesNotContain(token, line, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_wrong_line_is_named_and_none_is_repeated()
    {
        var text =
            $"cp_secret\nci admin sha256:{new string('a', 64)}\nci read sha256:{new string('a', 64)}\nci read sha256:{new string('b', 64)}\nx read sha256:zz";

        var message = Assert.Throws<FormatException>(() => TokenFile.Parse(text)).Message;

        Assert.Contains("line 1 ", message, StringComparison.Ordinal);
        Assert.Contains("line 2 ", message, StringComparison.Ordinal);
        Assert.Contains("line 4 names 'ci' a second time", message, StringComparison.Ordinal);
        Assert.Contains("line 5 ", message, StringComparison.Ordinal);
        Assert.DoesNotContain("cp_secret", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_without_tokens_is_refused_because_nobody_could_use_it() =>
        Assert.Contains(
            "holds no token",
            Assert.Throws<FormatException>(() => TokenFile.Parse("# none yet\n")).Message,
            StringComparison.Ordinal
        );
}
