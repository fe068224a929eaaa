namespace ControlPlane.Server.Demo;

/// <summary>Where a demo keeps its data: in a folder that goes with it, unless the operator named a place.</summary>
internal sealed class DemoFolder : IDisposable
{
    private readonly DirectoryInfo? _temporary;

    private DemoFolder(ServerOptions options, DirectoryInfo? temporary)
    {
        Options = options;
        _temporary = temporary;
    }

    /// <summary>The options, with the folder in its place.</summary>
    public ServerOptions Options { get; }

    /// <summary>Makes the folder where one is needed.</summary>
    public static DemoFolder For(ServerOptions options)
    {
        if (!options.Demo || options.Store is not null || options.DataDir != new ServerOptions().DataDir)
        {
            return new DemoFolder(options, null);
        }

        var temporary = Directory.CreateTempSubdirectory("controlplane-demo-");
        return new DemoFolder(options with { DataDir = temporary.FullName }, temporary);
    }

    /// <inheritdoc/>
    public void Dispose() => _temporary?.Delete(recursive: true);
}
