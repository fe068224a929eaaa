using ControlPlane.Server.Health;
using ControlPlane.TestKit;
using Microsoft.Extensions.DependencyInjection;

namespace ControlPlane.Server.Tests.Health;

/// <summary>Waits for which of several servers decides about health.</summary>
internal static class HealthRoles
{
    /// <summary>Longer than a lease lasts.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(40);

    public static Task LeadsAsync(this ControlPlaneHost host) =>
        Eventually.True(
            "the server to decide",
            _ => Task.FromResult(host.Services.GetRequiredService<HealthLeadership>().Role.Leads),
            Patience
        );

    public static Task FollowsAsync(this ControlPlaneHost host) =>
        Eventually.True(
            "the server to follow",
            _ => Task.FromResult(host.Services.GetRequiredService<HealthPeers>().IsFollowing),
            Patience
        );
}
