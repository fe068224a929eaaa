namespace ControlPlane.Core.Health;

/// <summary>
/// The parameters of <c>cluster.v3.OutlierDetection</c>, with Envoy's defaults. On merged counts only the success rate and the failure percentage can run; the
/// rest says what a proxy does by itself.
/// </summary>
public sealed record EnvoyOutlierParameters
{
    /// <summary>The defaults.</summary>
    public static EnvoyOutlierParameters Default { get; } = new();

    /// <summary><c>success_rate_minimum_hosts</c>: endpoints with enough requests that there must be.</summary>
    public int SuccessRateMinimumHosts { get; init; } = 5;

    /// <summary><c>success_rate_request_volume</c>: requests per interval from which an endpoint is judged.</summary>
    public int SuccessRateRequestVolume { get; init; } = 100;

    /// <summary><c>success_rate_stdev_factor</c>: standard deviations below the mean, times 1000.</summary>
    public int SuccessRateStdevFactor { get; init; } = 1900;

    /// <summary><c>failure_percentage_threshold</c>.</summary>
    public double FailurePercentageThreshold { get; init; } = 85;

    /// <summary><c>failure_percentage_minimum_hosts</c>.</summary>
    public int FailurePercentageMinimumHosts { get; init; } = 5;

    /// <summary><c>failure_percentage_request_volume</c>.</summary>
    public int FailurePercentageRequestVolume { get; init; } = 50;

    /// <summary><c>consecutive_5xx</c> and <c>consecutive_gateway_failure</c>, whose default is the same.</summary>
    public int Consecutive { get; init; } = 5;

    /// <summary><c>base_ejection_time</c>.</summary>
    public TimeSpan BaseEjectionTime { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary><c>max_ejection_time</c>.</summary>
    public TimeSpan MaxEjectionTime { get; init; } = TimeSpan.FromSeconds(300);

    /// <summary><c>interval</c>.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary><c>max_ejection_percent</c>.</summary>
    public double MaxEjectionPercent { get; init; } = 10;

    /// <summary><c>always_eject_one_host</c>.</summary>
    public bool AlwaysEjectOneHost { get; init; }
}

/// <summary>Outlier detection as Envoy does it (health design 2.2), and where gRPC does it otherwise (A50, 2.3).</summary>
internal static class EnvoyOutlierDetection
{
    /// <summary>2.2 point 4: endpoints whose success rate lies too far below the mean. Population deviation, strictly below.</summary>
    /// <param name="parameters">The bounds.</param>
    /// <param name="counts">Per endpoint.</param>
    /// <param name="isIgnored">Per endpoint: ejected ones do not contribute.</param>
    /// <param name="isOutlier">Set where it is one; others are left as they are.</param>
    /// <returns>The success rate, in percent, below which an endpoint is one; null if too few can be judged.</returns>
    public static double? SuccessRate(
        EnvoyOutlierParameters parameters,
        ReadOnlySpan<RequestCounts> counts,
        ReadOnlySpan<bool> isIgnored,
        Span<bool> isOutlier
    )
    {
        var (hosts, sum) = (0, 0.0);
        for (var i = 0; i < counts.Length; i++)
        {
            if (!isIgnored[i] && counts[i].Total >= parameters.SuccessRateRequestVolume)
            {
                hosts++;
                sum += Rate(counts[i]);
            }
        }
        if (hosts == 0 || hosts < parameters.SuccessRateMinimumHosts)
        {
            return null;
        }
        var mean = sum / hosts;
        var squares = 0.0;
        for (var i = 0; i < counts.Length; i++)
        {
            if (!isIgnored[i] && counts[i].Total >= parameters.SuccessRateRequestVolume)
            {
                squares += (Rate(counts[i]) - mean) * (Rate(counts[i]) - mean);
            }
        }
        var threshold = mean - (parameters.SuccessRateStdevFactor / 1000.0 * Math.Sqrt(squares / hosts));
        for (var i = 0; i < counts.Length; i++)
        {
            isOutlier[i] |= !isIgnored[i] && counts[i].Total >= parameters.SuccessRateRequestVolume && Rate(counts[i]) < threshold;
        }
        return threshold;
    }

    /// <summary>2.2 point 5: endpoints that fail too large a share. Envoy counts the threshold itself as too large, gRPC does not.</summary>
    public static void FailurePercentage(
        EnvoyOutlierParameters parameters,
        bool isGrpc,
        ReadOnlySpan<RequestCounts> counts,
        ReadOnlySpan<bool> isIgnored,
        Span<bool> isOutlier
    )
    {
        var hosts = 0;
        for (var i = 0; i < counts.Length; i++)
        {
            hosts += !isIgnored[i] && counts[i].Total >= parameters.FailurePercentageRequestVolume ? 1 : 0;
        }
        for (var i = 0; hosts >= parameters.FailurePercentageMinimumHosts && i < counts.Length; i++)
        {
            if (!isIgnored[i] && counts[i].Total >= parameters.FailurePercentageRequestVolume)
            {
                var failing = 100.0 - Rate(counts[i]);
                isOutlier[i] |= isGrpc ? failing > parameters.FailurePercentageThreshold : failing >= parameters.FailurePercentageThreshold;
            }
        }
    }

    /// <summary>2.2 point 6: whether Envoy may eject one more.</summary>
    /// <param name="parameters">The bounds.</param>
    /// <param name="ejected">Endpoints ejected now.</param>
    /// <param name="hosts">All endpoints of the cluster, of all priorities.</param>
    public static bool MayEject(EnvoyOutlierParameters parameters, int ejected, int hosts) =>
        100.0 * (ejected + 1) / hosts <= parameters.MaxEjectionPercent || (parameters.AlwaysEjectOneHost && ejected == 0);

    /// <summary>2.3: whether gRPC may. It looks at the state before, so it always ejects one and can overshoot by one.</summary>
    public static bool MayEjectInGrpc(EnvoyOutlierParameters parameters, int ejected, int hosts) =>
        100.0 * ejected / hosts < parameters.MaxEjectionPercent;

    private static double Rate(RequestCounts counts) => 100.0 * counts.Successes / counts.Total;
}

/// <summary>2.2 points 3, 7 and 8: how long Envoy ejects one endpoint. Everything but the ejection itself happens at ticks.</summary>
internal sealed class EnvoyEjection(EnvoyOutlierParameters parameters)
{
    private EjectionMultiplier _multiplier;
    private Instant _since = Instant.Never;
    private Instant _last = Instant.Never;

    public bool IsEjected { get; private set; }

    public int Multiplier => _multiplier.Value;

    public TimeSpan Duration => _multiplier.Duration(parameters.BaseEjectionTime, parameters.MaxEjectionTime);

    public void Eject(Instant now)
    {
        _multiplier.Eject(parameters.BaseEjectionTime, parameters.MaxEjectionTime);
        (IsEjected, _since) = (true, now);
    }

    public void Tick(Instant now)
    {
        if (IsEjected)
        {
            if (now - _since >= Duration)
            {
                (IsEjected, _last) = (false, now);
            }
        }
        else if (now - _last >= parameters.Interval)
        {
            _multiplier.Decay();
        }
    }
}

/// <summary>2.2 point 2: the consecutive failures of one endpoint. A counter that fires starts again at 0, whether or not the endpoint is ejected.</summary>
internal sealed class ConsecutiveFailures(EnvoyOutlierParameters parameters)
{
    private int _server;
    private int _gateway;

    /// <summary>Counts an answer.</summary>
    /// <returns>Whether the counter of 5xx fired, and that of gateway failures (502, 503, 504), which any other answer sets back.</returns>
    public (bool Server, bool Gateway) Count(int status) =>
        (Count(ref _server, status >= 500), Count(ref _gateway, status is 502 or 503 or 504));

    private bool Count(ref int counter, bool failed)
    {
        counter = failed ? counter + 1 : 0;
        if (counter != parameters.Consecutive)
        {
            return false;
        }
        counter = 0;
        return true;
    }
}
