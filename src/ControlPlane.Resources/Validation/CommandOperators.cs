using System.Collections.Frozen;
using System.Text.RegularExpressions;

namespace ControlPlane.Resources.Validation;

/// <summary>
/// Envoy's command operators (<c>%START_TIME%</c>, <c>%REQ(X-REQUEST-ID):36%</c>) in values of headers and formats of access logs. Envoy refuses a whole route
/// table or listener for one that it does not know.
/// </summary>
public static partial class CommandOperators
{
    /// <summary>Known to every supported Envoy, without parameters.</summary>
    private static readonly FrozenSet<string> Plain = Words(
        """
        ACCESS_LOG_TYPE BYTES_RECEIVED BYTES_RETRANSMITTED BYTES_SENT CONNECTION_ID CONNECTION_TERMINATION_DETAILS CUSTOM_FLAGS
        DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT DOWNSTREAM_DIRECT_LOCAL_ADDRESS
        DOWNSTREAM_DIRECT_LOCAL_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_PORT DOWNSTREAM_HANDSHAKE_DURATION
        DOWNSTREAM_HEADER_BYTES_RECEIVED DOWNSTREAM_HEADER_BYTES_SENT DOWNSTREAM_LOCAL_ADDRESS DOWNSTREAM_LOCAL_DNS_SAN
        DOWNSTREAM_LOCAL_EMAIL_SAN DOWNSTREAM_LOCAL_IP_SAN DOWNSTREAM_LOCAL_OTHERNAME_SAN DOWNSTREAM_LOCAL_PORT DOWNSTREAM_LOCAL_SUBJECT
        DOWNSTREAM_LOCAL_URI_SAN DOWNSTREAM_PEER_CERT DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1 DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256
        DOWNSTREAM_PEER_CHAIN_SERIALS DOWNSTREAM_PEER_DNS_SAN DOWNSTREAM_PEER_EMAIL_SAN DOWNSTREAM_PEER_FINGERPRINT_1
        DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_IP_SAN DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_OTHERNAME_SAN DOWNSTREAM_PEER_SERIAL
        DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_PORT DOWNSTREAM_TLS_CIPHER
        DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_VERSION DOWNSTREAM_TRANSPORT_FAILURE_REASON DOWNSTREAM_WIRE_BYTES_RECEIVED
        DOWNSTREAM_WIRE_BYTES_SENT DURATION FILTER_CHAIN_NAME GRPC_STATUS_NUMBER HOSTNAME LOCAL_REPLY_BODY PROTOCOL REQUEST_DURATION
        REQUEST_HEADERS_BYTES REQUEST_TX_DURATION RESPONSE_CODE RESPONSE_DURATION RESPONSE_FLAGS RESPONSE_FLAGS_LONG RESPONSE_HEADERS_BYTES
        RESPONSE_TRAILERS_BYTES RESPONSE_TX_DURATION ROUNDTRIP_DURATION ROUTE_NAME STREAM_ID TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT TRACE_ID
        UNIQUE_ID UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW UPSTREAM_CONNECTION_ID UPSTREAM_CONNECTION_POOL_READY_DURATION
        UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT UPSTREAM_HEADER_BYTES_RECEIVED
        UPSTREAM_HEADER_BYTES_SENT UPSTREAM_HOST UPSTREAM_HOST_NAME UPSTREAM_HOST_NAME_WITHOUT_PORT UPSTREAM_LOCAL_ADDRESS
        UPSTREAM_LOCAL_DNS_SAN UPSTREAM_LOCAL_IP_SAN UPSTREAM_LOCAL_PORT UPSTREAM_LOCAL_URI_SAN UPSTREAM_PEER_CERT UPSTREAM_PEER_DNS_SAN
        UPSTREAM_PEER_IP_SAN UPSTREAM_PEER_ISSUER UPSTREAM_PEER_SUBJECT UPSTREAM_PEER_URI_SAN UPSTREAM_PROTOCOL UPSTREAM_REMOTE_ADDRESS
        UPSTREAM_REMOTE_PORT UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_TLS_CIPHER UPSTREAM_TLS_SESSION_ID UPSTREAM_TLS_VERSION
        UPSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_WIRE_BYTES_RECEIVED UPSTREAM_WIRE_BYTES_SENT VIRTUAL_CLUSTER_NAME
        """
    );

    /// <summary>Known to every supported Envoy, with or without a parameter.</summary>
    private static readonly FrozenSet<string> WithOptionalParameter = Words(
        """
        DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT
        DOWNSTREAM_PEER_CERT_V_END DOWNSTREAM_PEER_CERT_V_START DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT EMIT_TIME EMIT_TIME_LOCAL GRPC_STATUS
        PATH REQUESTED_SERVER_NAME RESPONSE_CODE_DETAILS START_TIME START_TIME_LOCAL UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT
        UPSTREAM_PEER_CERT_V_END UPSTREAM_PEER_CERT_V_START UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
        """
    );

    private static readonly string[] GrpcStatusForms = ["CAMEL_STRING", "SNAKE_STRING", "NUMBER"];

    /// <summary>Known to every supported Envoy, with a parameter.</summary>
    private static readonly FrozenSet<string> WithParameter = Words(
        """
        CEL CLUSTER_METADATA COMMON_DURATION DYNAMIC_METADATA ENVIRONMENT FILTER_STATE METADATA PER_REQUEST_STATE QUERY_PARAM REQ RESP
        STREAM_INFO_REQ TRAILER UPSTREAM_FILTER_STATE UPSTREAM_METADATA
        """
    );

    /// <summary>Known to Envoy 1.40 and not to 1.36.</summary>
    private static readonly FrozenSet<string> New = Words(
        """
        COALESCE DOWNSTREAM_CX_RTT DOWNSTREAM_DETECTED_CLOSE_TYPE DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID
        DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID DOWNSTREAM_LOCAL_CLOSE_REASON DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256
        DOWNSTREAM_PEER_ISSUER_SERIAL DOWNSTREAM_TLS_GROUP LISTENER_NAME QUERY_PARAMS REQUEST_HEADER RESPONSE_HEADER RESPONSE_TRAILER
        ROUTE_RESOLUTION_COUNT ROUTE_RESOLUTION_TIME_US SPAN_ID UPSTREAM_CONNECTION_IDS_ATTEMPTED UPSTREAM_DETECTED_CLOSE_TYPE
        UPSTREAM_HOSTS_ATTEMPTED UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT UPSTREAM_HOST_NAMES_ATTEMPTED
        UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT UPSTREAM_LOCAL_CLOSE_REASON UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID UPSTREAM_SERVER_NAME
        UPSTREAM_TLS_GROUP
        """
    );

    /// <summary>Checks a text with command operators.</summary>
    /// <param name="problems">Takes what is wrong.</param>
    /// <param name="pointer">Where the text stands.</param>
    /// <param name="text">The text.</param>
    /// <param name="isExtended">Whether formatter extensions stand beside the text, whose operators are not known here.</param>
    public static void CommandOperatorsIn(this ProblemCollector problems, string pointer, string text, bool isExtended = false)
    {
        for (var at = text.IndexOf('%', StringComparison.Ordinal); at >= 0; at = text.IndexOf('%', at))
        {
            if (text.AsSpan(at).StartsWith("%%", StringComparison.Ordinal))
            {
                at += 2;
            }
            else if (Operator().Match(text, at) is { Success: true } found)
            {
                Check(problems, pointer, found, isExtended);
                at += found.Length;
            }
            else
            {
                problems.Error(
                    pointer,
                    "invalid-command-operator",
                    $"The percent sign at character {at + 1} begins no command operator such as %PROTOCOL% or %REQ(X-NAME)%. For a percent sign itself write %%."
                );
                return;
            }
            if (at >= text.Length)
            {
                return;
            }
        }
    }

    private static void Check(ProblemCollector problems, string pointer, Match found, bool isExtended)
    {
        var name = found.Groups["name"].Value;
        var hasParameter = found.Groups["parameter"].Length > 0;
        if (New.Contains(name))
        {
            problems.Warning(
                pointer,
                "new-command-operator",
                $"%{name}% is not known to Envoy 1.36, which refuses the whole object for it. Keep it from such proxies by node groups."
            );
        }
        else if (Plain.Contains(name))
        {
            if (hasParameter || found.Groups["length"].Success)
            {
                problems.Error(pointer, "invalid-command-operator", $"%{name}% takes no parameter and no length: write %{name}%.");
            }
        }
        else if (WithParameter.Contains(name))
        {
            if (!hasParameter)
            {
                problems.Error(
                    pointer,
                    "invalid-command-operator",
                    $"%{name}% needs a parameter in round brackets, as in %REQ(X-REQUEST-ID)%."
                );
            }
            else if (name is "REQ" or "RESP" or "TRAILER" && !IsHeaderChoice(found.Groups["parameter"].Value))
            {
                problems.Error(
                    pointer,
                    "invalid-command-operator",
                    $"%{name}% takes the name of a header, and at most one other to use where that is absent: %{name}(A?B)%."
                );
            }
        }
        else if (name == "GRPC_STATUS" && hasParameter && !GrpcStatusForms.Contains(found.Groups["parameter"].Value))
        {
            problems.Error(
                pointer,
                "invalid-command-operator",
                $"%GRPC_STATUS% takes the form of the status: {string.Join(", ", GrpcStatusForms)}, or none. Write %GRPC_STATUS(CAMEL_STRING)%."
            );
        }
        else if (!isExtended && !WithOptionalParameter.Contains(name))
        {
            var suggestion = Suggestion.For(name, [.. Plain, .. WithOptionalParameter, .. WithParameter]);
            problems.Error(
                pointer,
                "unknown-command-operator",
                $"Envoy knows no command operator %{name}%.{suggestion} For percent signs themselves write %%."
            );
        }
    }

    private static bool IsHeaderChoice(string parameter) =>
        parameter.Split('?') is { Length: <= 2 } names && names.All(n => HttpRules.IsToken(n.StartsWith(':') ? n[1..] : n));

    private static FrozenSet<string> Words(string text) =>
        text.Split((char[])[' ', '\n', '\r'], StringSplitOptions.RemoveEmptyEntries).ToFrozenSet(StringComparer.Ordinal);

    /// <summary>The form that Envoy's parser takes: an upper-case name, a parameter in round brackets, a length.</summary>
    [GeneratedRegex(
        @"\G%(?<name>[A-Z0-9_]+)(\((?<parameter>.*?)\))?(?<length>:[0-9]+)?%",
        RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture,
        matchTimeoutMilliseconds: 1000
    )]
    private static partial Regex Operator();
}
