using System.Collections.Immutable;
using ControlPlane.Core.Compilation;
using ControlPlane.Core.Snapshots;
using ControlPlane.Resources;

namespace ControlPlane.Core.Tests.Compilation;

public sealed class NodeGroupMatcherTests
{
    private static readonly NodeIdentity Node = new()
    {
        Id = "edge-7",
        Cluster = "edge",
        Region = "eu",
        Zone = "eu-1",
        SubZone = "rack-3",
        Metadata = ImmutableSortedDictionary<string, string>.Empty.Add("tier", "1").Add("build.canary", "true"),
    };

    public static TheoryData<string, NodeSelector, bool> Selectors =>
        new()
        {
            {
                "id",
                new NodeSelector { Ids = ["edge-6", "edge-7"] },
                true
            },
            {
                "another id",
                new NodeSelector { Ids = ["edge-"] },
                false
            },
            {
                "beginning of the id",
                new NodeSelector { Ids = ["edge-*"] },
                true
            },
            {
                "beginning of another id",
                new NodeSelector { Ids = ["core-*"] },
                false
            },
            {
                "cluster",
                new NodeSelector { Clusters = ["*"] },
                true
            },
            {
                "another cluster",
                new NodeSelector { Clusters = ["Edge"] },
                false
            },
            {
                "locality",
                new NodeSelector
                {
                    Region = "eu",
                    Zone = "eu-1",
                    SubZone = "rack-3",
                },
                true
            },
            {
                "another zone",
                new NodeSelector { Region = "eu", Zone = "eu-2" },
                false
            },
            {
                "metadata",
                new NodeSelector { Metadata = Map(("tier", "1"), ("build.canary", "true")) },
                true
            },
            {
                "other metadata",
                new NodeSelector { Metadata = Map(("tier", "1"), ("build.canary", "false")) },
                false
            },
            {
                "metadata that the node has not",
                new NodeSelector { Metadata = Map(("x", "")) },
                false
            },
            {
                "one of two conditions",
                new NodeSelector { Ids = ["edge-7"], Zone = "eu-2" },
                false
            },
        };

    [Theory]
    [MemberData(nameof(Selectors))]
    public void All_conditions_of_a_selector_must_hold(string name, NodeSelector selector, bool matches)
    {
        Assert.NotEmpty(name);
        Assert.Equal(matches, new NodeGroupSpec { Selectors = [selector] }.Matches(Node));
    }

    [Fact]
    public void Any_selector_is_enough()
    {
        NodeSelector no = new() { Ids = ["x"] };
        NodeSelector yes = new() { Ids = ["edge-7"] };
        Assert.True(new NodeGroupSpec { Selectors = [no, yes] }.Matches(Node));
        Assert.False(new NodeGroupSpec { Selectors = [no, no] }.Matches(Node));
    }

    private static ImmutableSortedDictionary<string, string> Map(params (string Key, string Value)[] pairs) =>
        pairs.ToImmutableSortedDictionary(p => p.Key, p => p.Value, StringComparer.Ordinal);
}
