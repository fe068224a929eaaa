using System.Reflection;
using Microsoft.Extensions.Logging;

namespace ControlPlane.Server.Tests.Telemetry;

public sealed class EventIdTests
{
    // As Telemetry/README.md has it.
    private static readonly Dictionary<string, int> FirstIdByFolder = new()
    {
        ["Publishing"] = 1000,
        ["Storage"] = 2000,
        ["Discovery"] = 3000,
        ["Admin"] = 4000,
        ["Security"] = 5000,
        ["Demo"] = 6000,
        ["HealthIntake"] = 7000,
        ["Health"] = 8000,
    };

    private static readonly IReadOnlyList<(string Method, string Folder, int Id)> Events =
    [
        .. typeof(Program)
            .Assembly.GetTypes()
            .SelectMany(type =>
                type.GetMethods(
                    BindingFlags.Static | BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly
                )
            )
            .Select(method => (Method: method, Attribute: method.GetCustomAttribute<LoggerMessageAttribute>()))
            .Where(found => found.Attribute is not null)
            .Select(found =>
                (
                    $"{found.Method.DeclaringType}.{found.Method.Name}",
                    (found.Method.DeclaringType!.Namespace + ".").Split('.')[2],
                    found.Attribute!.EventId
                )
            ),
    ];

    [Fact]
    public void Every_log_message_has_an_event_id_of_its_own()
    {
        Assert.NotEmpty(Events);
        Assert.Empty(
            Events.GroupBy(e => e.Id).Where(g => g.Count() > 1).Select(g => $"{g.Key}: {string.Join(", ", g.Select(e => e.Method))}")
        );
    }

    [Fact]
    public void The_thousand_of_an_event_id_tells_the_folder_that_logs_it()
    {
        // 0 is for what belongs to no folder: the start and end of the process.
        var strays = Events.Where(e => e.Id / 1000 * 1000 != FirstIdByFolder.GetValueOrDefault(e.Folder));
        Assert.Empty(strays.Select(e => $"{e.Method} has {e.Id}"));
    }
}
