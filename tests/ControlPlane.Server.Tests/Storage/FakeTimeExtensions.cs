using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Server.Tests.Storage;

internal static class FakeTimeExtensions
{
    /// <summary>Advances the clock step by step until something has happened that waits for it, however late it began to wait.</summary>
    public static async Task AdvanceUntilAsync(this FakeTimeProvider time, TimeSpan step, Task happened)
    {
        while (!happened.IsCompleted)
        {
            TestContext.Current.CancellationToken.ThrowIfCancellationRequested();
            time.Advance(step);
            await Task.Yield();
        }

        await happened;
    }
}
