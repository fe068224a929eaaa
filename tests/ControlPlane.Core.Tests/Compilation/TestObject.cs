using ControlPlane.Core.Compilation;
using ControlPlane.Resources;

namespace ControlPlane.Core.Tests.Compilation;

/// <summary>Objects as the store would have them.</summary>
internal static class TestObject
{
    /// <summary>An object of the first revision, with nothing but its name and spec.</summary>
    public static StoredResource Stored(ResourceKey key, ResourceSpec spec) =>
        new()
        {
            Manifest = new Manifest(key.Kind, new ResourceMetadata { Name = key.Name }, spec),
            Uid = Guid.Empty,
            Generation = 1,
            Revision = 1,
            CreatedAt = DateTimeOffset.UnixEpoch,
            UpdatedAt = DateTimeOffset.UnixEpoch,
            ManagedBy = "rest/test",
        };
}
