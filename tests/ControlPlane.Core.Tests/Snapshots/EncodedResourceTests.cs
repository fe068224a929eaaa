using ControlPlane.Core.Snapshots;
using Envoy.Config.Cluster.V3;
using Envoy.Config.Core.V3;
using Google.Protobuf.WellKnownTypes;

namespace ControlPlane.Core.Tests.Snapshots;

public sealed class EncodedResourceTests
{
    [Fact]
    [Trait("Rule", "V-14")]
    public void V14_bytes_and_version_do_not_depend_on_the_order_in_which_maps_were_filled()
    {
        string[] keys = ["z", "a", "m", "b", "envoy.lb", "y"];
        var one = Of(keys);
        var other = Of(keys.Reverse());

        Assert.Equal(one.Payload.ToArray(), other.Payload.ToArray());
        Assert.Equal(one.Version, other.Version);
        Assert.NotEqual(one.Version, Of(keys.Skip(1)).Version);

        static EncodedResource Of(IEnumerable<string> keys)
        {
            var cluster = new Cluster { Name = "a", Metadata = new Metadata() };
            foreach (var key in keys)
            {
                // A map in each value of a map.
                var value = new Struct();
                value.Fields[key] = Value.ForString(key);
                value.Fields["k"] = Value.ForNumber(1);
                cluster.Metadata.FilterMetadata[key] = value;
            }

            return EncodedResource.Create(ResourceType.Cluster, "a", cluster);
        }
    }
}
