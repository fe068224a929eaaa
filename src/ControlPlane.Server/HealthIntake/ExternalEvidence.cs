using System.Collections.Immutable;
using ControlPlane.Core.Health;
using ControlPlane.Resources.Api;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Server.HealthIntake;

/// <summary>Evidence of checkers that are not ours, as the API takes it.</summary>
internal static class ExternalEvidence
{
    /// <summary>What the names of outside authors begin with, so that none is taken for one of our own probers.</summary>
    private const string Prefix = "external/";

    /// <summary>The name under which the evidence of a token counts: one token is one observer, from however many zones it speaks (<see cref="EvidenceLedger.MaxZonesOfAuthor"/> are told apart).</summary>
    public static string AuthorOf(string token) => Prefix + token;

    /// <summary>Says everything that is wrong with a body.</summary>
    public static void Validate(EvidencePost post, ProblemCollector problems)
    {
        if (post.Items.Length is 0 or > EvidencePost.MaxItems)
        {
            problems.Error(
                "/items",
                "wrong-count",
                $"'items' holds {post.Items.Length} findings. Give 1 to {EvidencePost.MaxItems}; split more over several requests."
            );
            return;
        }

        for (var i = 0; i < post.Items.Length; i++)
        {
            var item = post.Items[i];
            if (item.Ttl <= TimeSpan.Zero || item.Ttl > EvidenceItem.MaxTtl)
            {
                problems.Error($"/items/{i}/ttl", "out-of-range", "'ttl' is above 0 and at most 10m. What lasts longer is posted again.");
            }

            if (item is { Passed: true, Class: not null })
            {
                problems.Error($"/items/{i}/class", "contradiction", "'class' says how a check failed, and this one passed. Leave it out.");
            }

            if (item.Zone is { } zone && (zone.Length > EvidenceItem.MaxZoneLength || zone.Any(char.IsControl)))
            {
                problems.Error(
                    $"/items/{i}/zone",
                    "invalid-zone",
                    $"'zone' has at most {EvidenceItem.MaxZoneLength} characters, none of them a control character."
                );
            }
        }
    }

    /// <summary>The findings as evidence.</summary>
    public static ImmutableArray<HealthEvidence> Of(EvidencePost post, string author, DateTimeOffset now) =>
        [
            .. post.Items.Select(item => new CheckResult
            {
                Upstream = item.Upstream,
                Endpoint = item.Endpoint,
                Author = author,
                Zone = item.Zone ?? "",
                Passed = item.Passed,
                Class = item.Passed ? FailureClass.None : ClassOf(item.Class),
                Text = item.Text ?? "",
                // Their clock is not ours: no check can have begun after its result came, or before what it replaces was forgotten.
                BegunAt = item.BegunAt is { } begun && begun < now && begun > now - EvidenceItem.MaxTtl ? begun : now,
                TimeToLive = item.Ttl,
            }),
        ];

    private static FailureClass ClassOf(EvidenceClass? given) =>
        given switch
        {
            EvidenceClass.Refused => FailureClass.Refused,
            EvidenceClass.Unreachable => FailureClass.Unreachable,
            EvidenceClass.ConnectTimeout => FailureClass.ConnectTimeout,
            EvidenceClass.TlsTimeout => FailureClass.TlsTimeout,
            EvidenceClass.Timeout => FailureClass.Timeout,
            EvidenceClass.Reset => FailureClass.Reset,
            EvidenceClass.Tls => FailureClass.Tls,
            EvidenceClass.Status => FailureClass.Status,
            EvidenceClass.Body => FailureClass.Body,
            EvidenceClass.Protocol => FailureClass.Protocol,
            _ => FailureClass.Unknown,
        };
}
