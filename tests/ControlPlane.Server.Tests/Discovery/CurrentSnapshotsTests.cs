using ControlPlane.Core.Snapshots;
using ControlPlane.Server.Discovery;
using ControlPlane.TestKit;

namespace ControlPlane.Server.Tests.Discovery;

public sealed class CurrentSnapshotsTests
{
    [Fact]
    public void A_change_that_is_merged_with_one_of_endpoints_does_not_wait_as_that_may()
    {
        var snapshots = new CurrentSnapshots(new Nothing());
        snapshots.ViewFor(new NodeIdentity { Id = "n" });

        Publish(Resources.Endpoints("a", 1));
        Publish(Resources.Endpoints("a", 2));
        Assert.True(snapshots.TakePending().Values.Single().IsOfEndpointsAlone);

        Publish(Resources.Endpoints("a", 3));
        Publish(Resources.Cluster("a"));
        Assert.False(snapshots.TakePending().Values.Single().IsOfEndpointsAlone);

        void Publish(EncodedResource resource) =>
            snapshots.Publish((_, before) => SnapshotChange.Make(before, before.Revision + 1, [resource], []));
    }

    private sealed class Nothing : IViewSource
    {
        public ViewKey ViewOf(NodeIdentity node) => default;

        public Snapshot Build(ViewKey view) => Snapshot.Empty;
    }
}
