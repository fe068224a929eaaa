using ControlPlane.AdminClient;
using ControlPlane.Resources;
using ControlPlane.TestKit;

namespace ControlPlane.Server.Tests.Admin;

/// <summary>What is said of a secret whose file is gone.</summary>
public sealed class LostSecretTests
{
    [Fact]
    public async Task A_secret_whose_file_was_gone_at_the_start_is_not_said_to_be_in_force()
    {
        var folder = Directory.CreateTempSubdirectory("controlplane-secrets-").FullName;
        var store = "sqlite:" + Path.Combine(folder, "store.db");
        var secrets = Directory.CreateDirectory(Path.Combine(folder, "secrets")).FullName;
        var key = new ResourceKey(ResourceKind.Secret, "lost");
        try
        {
            await File.WriteAllTextAsync(Path.Combine(secrets, "value"), "x", TestContext.Current.CancellationToken);
            await using (var before = await ControlPlaneHost.StartAsync(o => o with { Store = store, SecretDir = secrets }))
            {
                await before.Client.PutAsync(key, """{"spec": {"generic": {"file": "value"}}}""");
            }

            File.Delete(Path.Combine(secrets, "value"));
            await using var after = await ControlPlaneHost.StartAsync(o => o with { Store = store, SecretDir = secrets });

            var text = await after.Http.GetStringAsync(
                new Uri("/api/v1/secrets/lost", UriKind.Relative),
                TestContext.Current.CancellationToken
            );
            Assert.Contains("proxies get nothing of it", text, StringComparison.Ordinal);
            Assert.DoesNotContain("the last good one is", text, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
