using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using System.Threading.Channels;
using ControlPlane.Core.Compilation;
using ControlPlane.Resources;
using ControlPlane.Resources.Secrets;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Server.Publishing;

/// <summary>
/// Reads what the <c>file:</c> and <c>env:</c> sources of secrets refer to, within the bounds that the operator set, and tells when a file's content has changed.
/// </summary>
/// <remarks>
/// References come from whoever may write objects; the bounds keep them from reading the rest of the machine. The kernel's notices make a rotation fast; the slow
/// poll makes it certain, since a folder can be a network mount, or appear after the start.
/// </remarks>
public sealed partial class SecretFiles : BackgroundService
{
    /// <summary>Largest value, in bytes; the largest CA bundles are a quarter of it.</summary>
    private const int MaxBytes = 1024 * 1024;

    internal static readonly TimeSpan PollInterval = TimeSpan.FromSeconds(10);

    /// <summary>Whoever replaces a certificate replaces its key, too: wait a moment for both.</summary>
    internal static readonly TimeSpan SettleTime = TimeSpan.FromMilliseconds(100);

    private Action<ResourceKey>? _changed;
    private readonly SecretFolder? _folder;
    private readonly string _environmentPrefix;
    private readonly TimeProvider _time;
    private readonly ILogger<SecretFiles> _logger;

    /// <summary>The secrets to watch, and the digest of what their sources held when somebody was told last; null if nobody was.</summary>
    private readonly ConcurrentDictionary<ResourceKey, (SecretSpec Spec, string? Digest)> _watched = new();

    /// <summary>Holds one token while a look is due.</summary>
    private readonly Channel<bool> _due = Channel.CreateBounded<bool>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite }
    );

    /// <summary>Creates the reader.</summary>
    /// <param name="folder">The only folder that <c>file:</c> reaches into; null refuses all of them.</param>
    /// <param name="environmentPrefix">How the name of a variable must begin for <c>env:</c> to reach it; empty refuses all of them.</param>
    /// <param name="time">The clock of the poll.</param>
    /// <param name="logger">Takes what cannot be watched.</param>
    public SecretFiles(string? folder, string environmentPrefix, TimeProvider time, ILogger<SecretFiles> logger)
    {
        _folder = folder is null ? null : new SecretFolder(folder);
        _environmentPrefix = environmentPrefix;
        _time = time;
        _logger = logger;
    }

    /// <summary>Raised on a thread of the pool, once for each secret of which a source reads differently than before.</summary>
    public event Action<ResourceKey>? Changed
    {
        add
        {
            _changed += value;
            _due.Writer.TryWrite(true);
        }
        remove => _changed -= value;
    }

    /// <summary>Reads the values of a secret as they are now.</summary>
    public SecretMaterial Resolve(SecretSpec spec)
    {
        var values = ImmutableDictionary.CreateBuilder<SecretSource, ReadOnlyMemory<byte>>();
        var problems = new ProblemCollector();
        foreach (var (pointer, source) in spec.Sources())
        {
            if (Read(pointer, source, problems) is { } value)
            {
                values[source] = value;
            }
        }
        return new SecretMaterial(values.ToImmutable(), [.. problems.Problems]);
    }

    /// <summary>
    /// Begins to watch a secret's files. As it is not known what its reader saw, the secret is reported as changed once, and from then on when it is.
    /// </summary>
    public void Watch(ResourceKey key, SecretSpec spec)
    {
        if (!spec.Sources().Any(s => s.Source.File is not null))
        {
            Unwatch(key);
            return;
        }
        _watched.AddOrUpdate(key, _ => (spec, null), (_, known) => ReferenceEquals(known.Spec, spec) ? known : (spec, null));
        _due.Writer.TryWrite(true);
    }

    /// <summary>Stops to watch a secret that is gone.</summary>
    public void Unwatch(ResourceKey key) => _watched.TryRemove(key, out _);

    /// <summary>Looks at all watched secrets and reports those that read differently.</summary>
    internal void Look()
    {
        if (_changed is not { } changed)
        {
            // What is told to nobody would be taken as told.
            return;
        }

        foreach (var (key, known) in _watched)
        {
            var digest = DigestOf(known.Spec);
            // False if the secret was replaced or removed meanwhile: whoever did that reads it anew.
            if (digest != known.Digest && _watched.TryUpdate(key, (known.Spec, digest), known))
            {
                changed(key);
            }
        }
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var watcher = StartWatcher();
        while (!stoppingToken.IsCancellationRequested)
        {
            if (await WaitAsync(stoppingToken))
            {
                await Task.Delay(SettleTime, _time, stoppingToken);
                _due.Reader.TryRead(out _);
            }
            Look();
        }
    }

    /// <summary>Waits for a notice or the next poll; true for a notice.</summary>
    private async Task<bool> WaitAsync(CancellationToken cancellationToken)
    {
        using var poll = new CancellationTokenSource(PollInterval, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(poll.Token, cancellationToken);
        try
        {
            return await _due.Reader.WaitToReadAsync(either.Token);
        }
        catch (OperationCanceledException) when (poll.IsCancellationRequested)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return false;
        }
    }

    private FileSystemWatcher? StartWatcher()
    {
        if (_folder is null)
        {
            return null;
        }
        try
        {
            var watcher = new FileSystemWatcher(_folder.Path) { IncludeSubdirectories = true };
            watcher.Changed += (_, _) => _due.Writer.TryWrite(true);
            watcher.Created += (_, _) => _due.Writer.TryWrite(true);
            watcher.Deleted += (_, _) => _due.Writer.TryWrite(true);
            watcher.Renamed += (_, _) => _due.Writer.TryWrite(true);
            watcher.Error += (_, _) => _due.Writer.TryWrite(true);
            watcher.EnableRaisingEvents = true;
            return watcher;
        }
        catch (Exception e) when (e is IOException or ArgumentException or UnauthorizedAccessException)
        {
            LogNotWatched(_logger, _folder.Path, PollInterval.TotalSeconds, e.Message);
            return null;
        }
    }

    private ReadOnlyMemory<byte>? Read(string pointer, SecretSource source, ProblemCollector problems) =>
        source switch
        {
            { Inline: { } text } => Encoding.UTF8.GetBytes(text),
            { Env: { } name } => ReadVariable($"{pointer}/env", name, problems),
            { File: { } path } => ReadFile($"{pointer}/file", path, problems),
            _ => null,
        };

    private ReadOnlyMemory<byte>? ReadVariable(string pointer, string name, ProblemCollector problems)
    {
        if (_environmentPrefix.Length == 0 || !name.StartsWith(_environmentPrefix, StringComparison.Ordinal))
        {
            problems.Error(
                pointer,
                "secret-variable-refused",
                _environmentPrefix.Length == 0
                    ? "This server reads no environment variables for secrets: start it with '--secret-env-prefix'."
                    : $"Only variables whose name begins with '{_environmentPrefix}' may be read (--secret-env-prefix)."
            );
            return null;
        }
        var value = Environment.GetEnvironmentVariable(name);
        if (string.IsNullOrEmpty(value))
        {
            problems.Error(pointer, "secret-variable-missing", "The server's environment has no such variable, or an empty one.");
            return null;
        }
        return Encoding.UTF8.GetBytes(value);
    }

    private ReadOnlyMemory<byte>? ReadFile(string pointer, string path, ProblemCollector problems)
    {
        if (_folder is null)
        {
            problems.Error(pointer, "secret-file-refused", "This server reads no files for secrets: start it with '--secret-dir'.");
            return null;
        }
        try
        {
            var file = new FileInfo(_folder.Find(path));
            if (file.Length is 0 or > MaxBytes)
            {
                problems.Error(
                    pointer,
                    file.Length == 0 ? "secret-file-empty" : "secret-file-too-large",
                    file.Length == 0 ? "The file is empty." : $"The file has {file.Length} bytes; {MaxBytes} are the most."
                );
                return null;
            }
            return File.ReadAllBytes(file.FullName);
        }
        catch (SecretPathException e)
        {
            problems.Error(pointer, e.Code, e.Message);
        }
        catch (UnauthorizedAccessException)
        {
            problems.Error(pointer, "secret-file-unreadable", "The server may not read this file: check its owner and mode.");
        }
        catch (IOException)
        {
            // Its text would name the folder, which who writes objects need not know.
            problems.Error(pointer, "secret-file-unreadable", "The file cannot be read: it is being replaced, or its disk has failed.");
        }
        return null;
    }

    private string DigestOf(SecretSpec spec)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Span<byte> length = stackalloc byte[sizeof(int)];
        foreach (var (pointer, source) in spec.Sources())
        {
            var problems = new ProblemCollector();
            var value = Read(pointer, source, problems) ?? Encoding.UTF8.GetBytes(problems.Problems[0].Code);
            BitConverter.TryWriteBytes(length, value.Length);
            hash.AppendData(length);
            hash.AppendData(value.Span);
        }
        return Convert.ToHexString(hash.GetCurrentHash());
    }

    [LoggerMessage(
        1021,
        LogLevel.Warning,
        "Files of secrets in {Folder} cannot be watched and are looked at every {Seconds} s instead: {Reason}"
    )]
    private static partial void LogNotWatched(ILogger logger, string folder, double seconds, string reason);
}
