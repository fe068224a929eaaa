using System.Reflection;

namespace ControlPlane.Core.Tests.Discovery;

/// <summary>No rule of the protocol is without a test that names it.</summary>
public sealed class RulesTests
{
    [Fact]
    public void Every_rule_that_this_project_is_to_prove_is_named_by_a_test()
    {
        var named = Assembly
            .GetExecutingAssembly()
            .GetTypes()
            .SelectMany(type => type.GetMethods())
            .SelectMany(method => method.GetCustomAttributes<TraitAttribute>())
            .Where(trait => trait.Name == "Rule")
            .Select(trait => trait.Value)
            .ToHashSet(StringComparer.Ordinal);
        var listed = Rules.Where(rule => rule.Where.Contains("core")).Select(rule => rule.Id).ToHashSet(StringComparer.Ordinal);
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

    private static List<(string Id, string[] Where)> Rules =>
        [
            .. File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "rules.txt"))
                .Where(line => !line.StartsWith('#'))
                .Select(line => line.Split(' '))
                .Select(words => (words[0], words[1..])),
        ];
}
