using System.Collections.Immutable;
using System.Security.Cryptography;

namespace ControlPlane.Server.Security;

/// <summary>The tokens that open the API now. Follows its file; while that is broken, the last good tokens stay in force.</summary>
internal sealed partial class AccessTokens : IDisposable
{
    private readonly string? _path;
    private readonly ILogger<AccessTokens> _logger;
    private readonly FileWatch? _watch;
    private ImmutableArray<ApiToken> _tokens = [];

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
            _tokens = TokenFile.Parse(File.ReadAllText(_path));
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
    public ApiToken? Find(string presented)
    {
        var hash = TokenFile.Hash(presented);
        ApiToken? found = null;
        foreach (var token in _tokens)
        {
            if (CryptographicOperations.FixedTimeEquals(hash, token.Hash.AsSpan()))
            {
                found = token;
            }
        }

        return found;
    }

    public void Dispose() => _watch?.Dispose();

    private void Reload()
    {
        try
        {
            var tokens = TokenFile.Parse(File.ReadAllText(_path!));
            ImmutableInterlocked.InterlockedExchange(ref _tokens, tokens);
            LogReloaded(_path!, tokens.Length);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            LogBroken(_path!, e.Message);
        }
    }

    [LoggerMessage(5001, LogLevel.Information, "Token file {File} reloaded: {Count} tokens")]
    private partial void LogReloaded(string file, int count);

    [LoggerMessage(5002, LogLevel.Error, "Token file {File} is broken and the tokens read before stay in force: {Reason}")]
    private partial void LogBroken(string file, string reason);
}
