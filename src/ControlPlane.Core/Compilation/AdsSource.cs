using Envoy.Config.Core.V3;

namespace ControlPlane.Core.Compilation;

/// <summary>Says to a proxy that it gets a resource on the stream on which it got the message that names it.</summary>
internal static class AdsSource
{
    public static ConfigSource New() => new() { Ads = new AggregatedConfigSource(), ResourceApiVersion = ApiVersion.V3 };
}
