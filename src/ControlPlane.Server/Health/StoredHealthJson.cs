using System.Collections.Immutable;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Api;
using ControlPlane.Server.Storage;

namespace ControlPlane.Server.Health;

/// <summary>The model's memory as text: in the store, in the last-good file, and on the way to other servers.</summary>
internal static class StoredHealthJson
{
    /// <summary>Stands in the place of an upstream's name for what is remembered of the fleet.</summary>
    public const string Fleet = "";

    // Nine tenths of what is remembered is what an endpoint that nothing ever happened to has.
    private static readonly JsonSerializerOptions Options = new(JsonSerializerDefaults.Web)
    {
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase, allowIntegerValues: false) },
    };

    public static string Write(RememberedUpstream remembered) => JsonSerializer.Serialize(remembered, Options);

    public static string Write(FleetMemory memory) => JsonSerializer.Serialize(memory, Options);

    public static string Write(HealthTransitionView transition) => JsonSerializer.Serialize(transition, ApiJson.Options);

    public static HealthTransitionView ReadTransition(string json) =>
        JsonSerializer.Deserialize<HealthTransitionView>(json, ApiJson.Options)!;

    /// <summary>Reads what an upstream's memory was written as.</summary>
    /// <exception cref="JsonException">It is of a version that this server does not read.</exception>
    public static RememberedUpstream ReadUpstream(string json) => JsonSerializer.Deserialize<RememberedUpstream>(json, Options)!;

    /// <summary>Reads what the fleet's memory was written as.</summary>
    /// <exception cref="JsonException">It is of a version that this server does not read.</exception>
    public static FleetMemory ReadFleet(string json) => JsonSerializer.Deserialize<FleetMemory>(json, Options)!;

    /// <summary>Reads everything. What cannot be read is left out: its upstream is decided about as if it were new.</summary>
    public static HealthMemory Read(IEnumerable<StoredHealth> stored, Action<string, JsonException> unreadable)
    {
        FleetMemory? fleet = null;
        var upstreams = ImmutableDictionary.CreateBuilder<string, RememberedUpstream>(StringComparer.Ordinal);
        foreach (var (upstream, _, json) in stored)
        {
            try
            {
                if (json is null)
                {
                    continue;
                }

                if (upstream == Fleet)
                {
                    fleet = ReadFleet(json);
                }
                else
                {
                    upstreams[upstream] = ReadUpstream(json);
                }
            }
            catch (JsonException e)
            {
                unreadable(upstream, e);
            }
        }

        return new HealthMemory(fleet, upstreams.ToImmutable());
    }
}
