namespace ControlPlane.Core.Health;

/// <summary>What a window of traffic says of one endpoint (4.6).</summary>
internal struct OutlierJudgement
{
    /// <summary>Requests and errors.</summary>
    public RequestCounts Counts;

    /// <summary>Its error rate.</summary>
    public double Rate;

    /// <summary>The error rate that it is held against: of the others together, their median, or their lower quartile.</summary>
    public double Reference;

    /// <summary>How far its rate lies above the reference, in standard errors or modified z scores.</summary>
    public double Deviations;

    /// <summary>How far its rate lies above the reference.</summary>
    public double Gap;

    public bool IsOutlier;

    /// <summary>It would be an outlier, but its errors come from too few Envoys: it is that client. Null otherwise.</summary>
    public string? Client;

    /// <summary>Windows that were judged together.</summary>
    public int Windows;
}

/// <summary>The arithmetic of section 4.6 and of rule 4.</summary>
internal static class OutlierStatistics
{
    /// <summary>Share of the endpoints that look bad from which the others are no reference any more: one fifth.</summary>
    private const int LooksBadShare = 5;
    private const double MedianDeviations = 6.0;
    private const double LeastMedianDeviation = 0.01;
    private const double QuartileGap = 0.25;
    private const double QuartileMargin = 0.20;

    /// <summary>Envoys below which it is not asked how many of them see the errors.</summary>
    private const int EnvoysForBreadth = 4;

    /// <summary>The Wilson interval of a share, 95 %.</summary>
    public static (double Low, double High) Wilson(double successes, double total)
    {
        const double Z = 1.96;
        if (total <= 0)
        {
            return (0.0, 1.0);
        }
        var p = successes / total;
        var d = 1 + (Z * Z / total);
        var centre = (p + (Z * Z / (2 * total))) / d;
        var half = Z * Math.Sqrt((p * (1 - p) / total) + (Z * Z / (4 * total * total))) / d;
        return (centre - half, centre + half);
    }

    /// <summary>Judges endpoints against each other on one window, or several together, without asking who sent the requests.</summary>
    /// <param name="parameters">The bounds.</param>
    /// <param name="counts">Per endpoint; those without requests are not judged.</param>
    /// <param name="isCondemned">Per endpoint: condemned ones are judged, but are no reference for the others.</param>
    /// <param name="judgements">Written per endpoint.</param>
    public static void Judge(
        FleetOutlierParameters parameters,
        ReadOnlySpan<RequestCounts> counts,
        ReadOnlySpan<bool> isCondemned,
        Span<OutlierJudgement> judgements
    )
    {
        HoldAgainstOthers(counts, isCondemned, judgements);
        Span<int> enough = counts.Length <= 256 ? stackalloc int[counts.Length] : new int[counts.Length];
        var n = 0;
        for (var i = 0; i < counts.Length; i++)
        {
            if (counts[i].Total >= parameters.MinimumRequests)
            {
                enough[n++] = i;
            }
        }
        enough = enough[..n];
        if (n < 2)
        {
            return;
        }
        foreach (var i in enough)
        {
            ref var j = ref judgements[i];
            j.IsOutlier =
                j.Deviations >= parameters.Deviations
                && j.Gap >= parameters.Gap
                && Wilson(j.Counts.Errors, j.Counts.Total).Low >= j.Reference + parameters.Margin;
        }
        JudgeTheMany(parameters, enough, isCondemned, judgements);
    }

    /// <summary>4.6: errors from at least two, and a tenth, of the Envoys that send to it, none supplying more than half.</summary>
    /// <param name="byEnvoy">What each Envoy sent to the endpoint.</param>
    /// <param name="reporting">Envoys that reported at all; with fewer than four, breadth is not asked for.</param>
    /// <returns>Null if the errors are broad, else the Envoy that has most of them.</returns>
    public static LoadReporter? NarrowSource(ReadOnlySpan<(LoadReporter Reporter, RequestCounts Counts)> byEnvoy, int reporting)
    {
        if (reporting < EnvoysForBreadth)
        {
            return null;
        }
        var (sending, failing) = (0, 0);
        var (errors, most) = (0L, 0L);
        LoadReporter? source = null;
        foreach (var (reporter, counts) in byEnvoy)
        {
            sending += counts.Total > 0 ? 1 : 0;
            failing += counts.Errors > 0 ? 1 : 0;
            errors += counts.Errors;
            if (counts.Errors > most)
            {
                (most, source) = (counts.Errors, reporter);
            }
        }
        return failing >= Math.Max(2, (sending + 9) / 10) && most <= 0.5 * errors ? null : source;
    }

    /// <summary>4.6 response: max(0.1, 1 − gap / 0.25), as the nearest step.</summary>
    public static double CutFactor(FleetOutlierParameters parameters, double gap) =>
        WeightSteps.Nearest(Math.Max(0.1, 1 - (gap / parameters.DownGap)));

    public static double Median(Span<double> values)
    {
        values.Sort();
        var k = values.Length;
        return k == 0 ? 0.0
            : k % 2 == 1 ? values[k / 2]
            : (values[(k / 2) - 1] + values[k / 2]) / 2;
    }

    /// <summary>Each endpoint against all others that are not condemned.</summary>
    private static void HoldAgainstOthers(
        ReadOnlySpan<RequestCounts> counts,
        ReadOnlySpan<bool> isCondemned,
        Span<OutlierJudgement> judgements
    )
    {
        var (good, all) = (default(RequestCounts), default(RequestCounts));
        for (var i = 0; i < counts.Length; i++)
        {
            all += counts[i];
            good += isCondemned[i] ? default : counts[i];
        }
        var isReferenceAll = good.Total == 0;
        for (var i = 0; i < counts.Length; i++)
        {
            ref var j = ref judgements[i];
            j = new OutlierJudgement
            {
                Counts = counts[i],
                Rate = counts[i].ErrorRate,
                Windows = 1,
            };
            var others =
                isReferenceAll ? all - counts[i]
                : isCondemned[i] ? good
                : good - counts[i];
            if (counts[i].Total == 0 || others.Total <= 0)
            {
                continue;
            }
            double n = counts[i].Total;
            double m = others.Total;
            var pooled = (others.Errors + counts[i].Errors) / (m + n);
            var deviation = Math.Sqrt(pooled * (1 - pooled) * ((1 / n) + (1 / m)));
            j.Reference = others.Errors / m;
            j.Gap = j.Rate - j.Reference;
            j.Deviations = deviation > 0 ? j.Gap / deviation : 0.0;
        }
    }

    /// <summary>Where many look bad, the others together are no reference: their median is, or, where half look bad, their lower quartile.</summary>
    private static void JudgeTheMany(
        FleetOutlierParameters parameters,
        ReadOnlySpan<int> enough,
        ReadOnlySpan<bool> isCondemned,
        Span<OutlierJudgement> judgements
    )
    {
        var n = enough.Length;
        Span<double> all = n <= 256 ? stackalloc double[n] : new double[n];
        Span<double> reference = n <= 256 ? stackalloc double[n] : new double[n];
        var r = 0;
        for (var k = 0; k < n; k++)
        {
            all[k] = judgements[enough[k]].Rate;
            if (!isCondemned[enough[k]])
            {
                reference[r++] = all[k];
            }
        }
        if (r == 0)
        {
            all.CopyTo(reference);
            r = n;
        }
        reference = reference[..r];
        var median = Median(reference);
        all.Sort();
        var quartile = all[(n - 1) / 4];
        var (lookBad, farOff) = (0, 0);
        foreach (var i in enough)
        {
            lookBad += judgements[i].IsOutlier || judgements[i].Rate - median >= parameters.Gap ? 1 : 0;
            farOff += judgements[i].Rate - quartile >= QuartileGap ? 1 : 0;
        }
        var isHalfBad = 2 * farOff >= n;
        if (n < 3 || (!isHalfBad && LooksBadShare * lookBad <= n))
        {
            return;
        }
        for (var k = 0; k < r; k++)
        {
            reference[k] = Math.Abs(reference[k] - median);
        }
        var spread = Math.Max(Median(reference), LeastMedianDeviation);
        foreach (var i in enough)
        {
            ref var j = ref judgements[i];
            j.Deviations = 0.6745 * (j.Rate - median) / spread;
            j.Reference = median;
            j.Gap = j.Rate - median;
            var low = Wilson(j.Counts.Errors, j.Counts.Total).Low;
            j.IsOutlier = j.Deviations >= MedianDeviations && j.Gap >= parameters.Gap && low >= median + parameters.Margin;
            if (isHalfBad)
            {
                j.Reference = quartile;
                j.Gap = j.Rate - quartile;
                j.IsOutlier = j.Gap >= QuartileGap && low >= quartile + QuartileMargin;
            }
        }
    }
}
