using System.Reflection;

namespace ControlPlane.Server.Tests.Discovery;

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
        var listed = Rules.Where(rule => rule.Where.Contains("server")).Select(rule => rule.Id).ToHashSet(StringComparer.Ordinal);
        Assert.Empty(listed.Except(named).Order(StringComparer.Ordinal));
        Assert.Empty(named.Except(Rules.Select(rule => rule.Id)).Order(StringComparer.Ordinal));
    }

    private static List<(string Id, string[] Where)> Rules =>
        [
            .. File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "rules.txt"))
                .Where(line => !line.StartsWith('#'))
                .Select(line => line.Split(' '))
                .Select(words => (words[0], words[1..])),
        ];
}
