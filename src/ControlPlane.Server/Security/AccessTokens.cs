using System.Collections.Immutable;
using System.Security.Cryptography;

namespace ControlPlane.Server.Security;

/// <summary>The tokens that open the API now. Follows its file; while that is broken, the last good tokens stay in force.</summary>
internal sealed partial class AccessTokens : IDisposable
{
    private readonly string? _path;
    private readonly ILogger<AccessTokens> _logger;
    private readonly FileWatch? _watch;
    private ImmutableArray<HeldToken> _tokens = [];

    /// <summary>A token, and what is cancelled when it goes or changes its role.</summary>
    private sealed record HeldToken(ApiToken Token, CancellationTokenSource Withdrawal)
    {
        public bool Is(ApiToken token) =>
            Token.Name == token.Name && Token.Role == token.Role && Token.Hash.AsSpan().SequenceEqual(token.Hash.AsSpan());
    }

    /// <summary>Reads the token file, if there is one.</summary>
    /// <exception cref="StartupException">The file cannot be read or is not a token file.</exception>
    public AccessTokens(ServerOptions options, TimeProvider time, ILogger<AccessTokens> logger)
    {
        _path = options.AdminTokenFile;
        _logger = logger;
        if (_path is null)
        {
            return;
        }

        try
        {
            Replace(TokenFile.Parse(File.ReadAllText(_path)));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            throw new StartupException($"--admin-token-file {_path} cannot be used: {e.Message}.", e);
        }

        _watch = new FileWatch([_path], time, Reload);
    }

    /// <summary>Whether a token is needed. Without a token file the API is only reachable from this machine, and open.</summary>
    public bool Required => _path is not null;

    /// <summary>The token that a client presents, or null if it is none of ours. Takes the same time whichever it is.</summary>
    /// <param name="presented">What the client presents.</param>
    /// <param name="withdrawn">Is cancelled when the token is taken away or gets another role.</param>
    public ApiToken? Find(string presented, out CancellationToken withdrawn)
    {
        var hash = TokenFile.Hash(presented);
        HeldToken? found = null;
        foreach (var held in _tokens)
        {
            if (CryptographicOperations.FixedTimeEquals(hash, held.Token.Hash.AsSpan()))
            {
                found = held;
            }
        }

        withdrawn = found?.Withdrawal.Token ?? default;
        return found?.Token;
    }

    /// <summary>A client presented a token that is none of ours.</summary>
    public void Rejected(HttpContext http) => LogRejected(http.Connection.RemoteIpAddress?.ToString() ?? "a socket");

    public void Dispose() => _watch?.Dispose();

    private void Reload()
    {
        try
        {
            var tokens = TokenFile.Parse(File.ReadAllText(_path!));
            Replace(tokens);
            LogReloaded(_path!, tokens.Length);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            LogBroken(_path!, e.Message);
        }
    }

    /// <summary>Puts tokens in force. What goes on with one that is among them, as a watch does, is left alone.</summary>
    private void Replace(ImmutableArray<ApiToken> tokens)
    {
        var before = _tokens;
        ImmutableArray<HeldToken> now =
        [
            .. tokens.Select(token => before.FirstOrDefault(held => held.Is(token)) ?? new HeldToken(token, new CancellationTokenSource())),
        ];
        ImmutableInterlocked.InterlockedExchange(ref _tokens, now);
        foreach (var withdrawn in before.Except(now))
        {
            withdrawn.Withdrawal.Cancel();
        }
    }

    [LoggerMessage(5007, LogLevel.Information, "A token that is not known came from {Peer}")]
    private partial void LogRejected(string peer);

    [LoggerMessage(5001, LogLevel.Information, "Token file {File} reloaded: {Count} tokens")]
    private partial void LogReloaded(string file, int count);

    [LoggerMessage(5002, LogLevel.Error, "Token file {File} is broken and the tokens read before stay in force: {Reason}")]
    private partial void LogBroken(string file, string reason);
}
