using System.Collections.Immutable;
using System.Net;
using ControlPlane.Resources.Upstreams;
using DnsClient;
using DnsClient.Protocol;

namespace ControlPlane.Server.HealthIntake.DnsResolution;

/// <summary>Asks DNS servers, without a cache of its own and without <c>/etc/hosts</c>. Names are absolute: no search list is tried.</summary>
internal sealed class DnsQuestions
{
    private const int DnsPort = 53;

    /// <summary>Time for one server to answer.</summary>
    private static readonly TimeSpan AnswerTime = TimeSpan.FromSeconds(2);

    private readonly LookupClient _client;

    /// <summary>Creates a client.</summary>
    /// <param name="servers">The servers to ask in this order; empty are those of this machine.</param>
    public DnsQuestions(ImmutableArray<string> servers)
    {
        var options = servers.IsEmpty ? new LookupClientOptions() : new LookupClientOptions([.. servers.Select(Server)]);
        options.UseCache = false;
        options.Timeout = AnswerTime;
        options.Retries = 1;
        options.ThrowDnsErrors = false;
        options.ContinueOnDnsError = true;
        options.ContinueOnEmptyResponse = false;
        options.UseRandomNameServer = false;
        _client = new LookupClient(options);
    }

    /// <summary>The addresses of a name.</summary>
    /// <param name="name">An absolute name.</param>
    /// <param name="family">Which addresses are wanted.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    public async Task<DnsAnswer<IPAddress>> AddressesAsync(string name, AddressPreference family, CancellationToken cancellationToken)
    {
        var (first, second) = family switch
        {
            AddressPreference.V4Only => (QueryType.A, (QueryType?)null),
            AddressPreference.V6Only => (QueryType.AAAA, null),
            AddressPreference.Auto => (QueryType.AAAA, QueryType.A),
            _ => (QueryType.A, QueryType.AAAA),
        };
        var answer = await AskAsync<AddressRecord>(name, first, cancellationToken);
        // A family that could not be asked for is not one that has no address.
        var goesOn = family == AddressPreference.All ? answer.Result == DnsResult.Found || IsNone(answer.Result) : IsNone(answer.Result);
        if (second is { } other && goesOn)
        {
            var more = await AskAsync<AddressRecord>(name, other, cancellationToken);
            answer = (answer.Result, more.Result) switch
            {
                (DnsResult.Found, DnsResult.Found) => DnsAnswer<AddressRecord>.Of(
                    [.. answer.Records, .. more.Records],
                    answer.Ttl < more.Ttl ? answer.Ttl : more.Ttl
                ),
                (DnsResult.Found, DnsResult.Empty or DnsResult.NotFound) => answer,
                (_, DnsResult.NotFound) when answer.Result == DnsResult.Empty => answer,
                _ => more,
            };
        }
        return answer.With(records => records.Select(r => r.Address));
    }

    /// <summary>The SRV records of a service (RFC 2782).</summary>
    public Task<DnsAnswer<SrvRecord>> ServicesAsync(string name, CancellationToken cancellationToken) =>
        AskAsync<SrvRecord>(name, QueryType.SRV, cancellationToken);

    private static bool IsNone(DnsResult result) => result is DnsResult.Empty or DnsResult.NotFound;

    private async Task<DnsAnswer<T>> AskAsync<T>(string name, QueryType type, CancellationToken cancellationToken)
        where T : DnsResourceRecord
    {
        try
        {
            var response = await _client.QueryAsync(name, type, QueryClass.IN, cancellationToken);
            switch (response.Header.ResponseCode)
            {
                case DnsHeaderResponseCode.NoError:
                    var records = response.Answers.OfType<T>().ToImmutableArray();
                    // An alias holds no longer than its own record.
                    return records.IsEmpty
                        ? DnsAnswer<T>.Without(DnsResult.Empty, "")
                        : DnsAnswer<T>.Of(records, TimeSpan.FromSeconds(response.Answers.Min(r => r.InitialTimeToLive)));
                case DnsHeaderResponseCode.NotExistentDomain:
                    return DnsAnswer<T>.Without(DnsResult.NotFound, "NXDOMAIN");
                case var code:
                    return DnsAnswer<T>.Without(DnsResult.Failure, Word(code));
            }
        }
        catch (DnsResponseException e)
        {
            return e.Code == DnsResponseCode.ConnectionTimeout
                ? DnsAnswer<T>.Without(DnsResult.Timeout, "")
                : DnsAnswer<T>.Without(
                    DnsResult.Failure,
                    e.InnerException is System.Net.Sockets.SocketException ? "no server reached" : "no valid answer"
                );
        }
    }

    private static string Word(DnsHeaderResponseCode code) =>
        code switch
        {
            DnsHeaderResponseCode.ServerFailure => "SERVFAIL",
            DnsHeaderResponseCode.Refused => "REFUSED",
            DnsHeaderResponseCode.FormatError => "FORMERR",
            DnsHeaderResponseCode.NotImplemented => "NOTIMP",
            _ => code.ToString(),
        };

    private static NameServer Server(string text) =>
        IPAddress.TryParse(text, out var address) ? new NameServer(address, DnsPort) : new NameServer(IPEndPoint.Parse(text));
}
