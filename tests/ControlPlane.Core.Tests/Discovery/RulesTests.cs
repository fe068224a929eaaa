using System.Reflection;

namespace ControlPlane.Core.Tests.Discovery;

/// <summary>No rule of the protocol is without a test that names it, or a decision. This file is part of every project whose tests name rules.</summary>
public sealed class RulesTests
{
    private static readonly Dictionary<string, string> Projects = new(StringComparer.Ordinal)
    {
        ["core"] = "ControlPlane.Core.Tests",
        ["server"] = "ControlPlane.Server.Tests",
        ["envoy"] = "ControlPlane.EnvoyTests",
    };

    [Fact]
    public void Every_rule_that_this_project_is_to_prove_is_named_by_a_test()
    {
        var assembly = Assembly.GetExecutingAssembly();
        var named = assembly
            .GetTypes()
            .SelectMany(type => type.GetMethods())
            .SelectMany(method => method.GetCustomAttributes<TraitAttribute>())
            .Where(trait => trait.Name == "Rule")
            .Select(trait => trait.Value)
            .ToHashSet(StringComparer.Ordinal);
        var project = Projects.Single(p => p.Value == assembly.GetName().Name).Key;
        var listed = Rules.Where(rule => rule.Where.Contains(project)).Select(rule => rule.Id).ToHashSet(StringComparer.Ordinal);
        Assert.NotEmpty(listed);
        Assert.Empty(listed.Except(named).Order(StringComparer.Ordinal));
        Assert.Empty(named.Except(Rules.Select(rule => rule.Id)).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void The_list_holds_every_rule_once()
    {
        var all = new[] { ("T", 15), ("V", 14), ("S", 34), ("D", 33), ("O", 8), ("G", 12), ("P", 7) }.SelectMany(group =>
            Enumerable.Range(1, group.Item2).Select(number => $"{group.Item1}-{number:D2}")
        );
        Assert.Equal(all, Rules.Select(rule => rule.Id));
    }

    [Fact]
    public void Each_rule_is_proved_by_a_project_that_looks_or_is_a_decision_that_is_written_down()
    {
        var decided = File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "xds.md"))
            .Where(line => line.StartsWith("| ", StringComparison.Ordinal))
            .Select(line => line.Split('|')[1].Trim())
            .ToHashSet(StringComparer.Ordinal);
        Assert.All(
            Rules,
            rule =>
            {
                if (rule.Where is ["docs"])
                {
                    Assert.Contains(rule.Id, decided);
                }
                else
                {
                    Assert.NotEmpty(rule.Where);
                    Assert.Empty(rule.Where.Except(Projects.Keys));
                }
            }
        );
    }

    private static List<(string Id, string[] Where)> Rules =>
        [
            .. File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "rules.txt"))
                .Where(line => !line.StartsWith('#'))
                .Select(line => line.Split(' '))
                .Select(words => (words[0], words[1..])),
        ];
}
