using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json.Nodes;
using ControlPlane.Resources.RouteTables;
using ControlPlane.Resources.Validation;
using Envoy.Config.Core.V3;
using Envoy.Config.Route.V3;
using Envoy.Extensions.Path.Match.UriTemplate.V3;
using Envoy.Extensions.Path.Rewrite.UriTemplate.V3;
using Envoy.Extensions.Retry.Host.PreviousHosts.V3;
using Envoy.Type.Matcher.V3;
using Envoy.Type.Metadata.V3;
using Envoy.Type.V3;
using Google.Protobuf.Collections;
using Google.Protobuf.WellKnownTypes;
using CorsFilterPolicy = Envoy.Extensions.Filters.Http.Cors.V3.CorsPolicy;
using RetryPolicy = Envoy.Config.Route.V3.RetryPolicy;

namespace ControlPlane.Core.Compilation;

/// <summary>Turns a route table into Envoy's RouteConfiguration of the same name.</summary>
public static class RouteTableCompiler
{
    /// <summary>The key of Envoy's subset load balancer in metadata (<c>envoy.lb</c>).</summary>
    private const string SubsetNamespace = "envoy.lb";

    private const string SpecPointer = "/spec";

    /// <summary>Compiles a valid spec; equal inputs give equal messages.</summary>
    /// <param name="name">The object's name.</param>
    /// <param name="spec">What is wanted.</param>
    /// <param name="problems">Gets what is wrong with the raw parts; the message is then without them.</param>
    /// <param name="origins">Gets where parts of the message come from.</param>
    public static RouteConfiguration Compile(string name, RouteTableSpec spec, ProblemCollector problems, MessageOrigins? origins = null)
    {
        origins ??= new MessageOrigins();
        var table = new RouteConfiguration { Name = name, IgnorePortInHostMatching = spec.IgnorePortInHostMatching };
        AddHeaderEdits(spec.RequestHeaders, table.RequestHeadersToAdd, table.RequestHeadersToRemove);
        AddHeaderEdits(spec.ResponseHeaders, table.ResponseHeadersToAdd, table.ResponseHeadersToRemove);
        AddFilterConfig(spec.TypedPerFilterConfig, table.TypedPerFilterConfig, SpecPointer, problems, origins);

        var routeNames = spec.VirtualHosts.SelectMany(h => h.Routes).Select(r => r.Name).OfType<string>().ToHashSet(StringComparer.Ordinal);
        foreach (var (at, host) in spec.VirtualHosts.Index())
        {
            table.VirtualHosts.Add(VirtualHost(name, host, routeNames, $"{SpecPointer}/virtualHosts/{at}", problems, origins));
        }
        return table;
    }

    private static VirtualHost VirtualHost(
        string table,
        VirtualHostSpec spec,
        HashSet<string> routeNames,
        string pointer,
        ProblemCollector problems,
        MessageOrigins origins
    )
    {
        origins.Add(InMessage(pointer), pointer);
        var host = new VirtualHost { Name = spec.EffectiveName, RetryPolicy = Retry(spec.Retry) };
        host.Domains.AddRange(spec.Domains);
        AddHeaderEdits(spec.RequestHeaders, host.RequestHeadersToAdd, host.RequestHeadersToRemove);
        AddHeaderEdits(spec.ResponseHeaders, host.ResponseHeadersToAdd, host.ResponseHeadersToRemove);
        AddFilterConfig(spec.TypedPerFilterConfig, host.TypedPerFilterConfig, pointer, problems, origins);
        AddCors(spec.Cors, host.TypedPerFilterConfig);
        host.RateLimits.AddRange(spec.RateLimits.Select(RateLimit));
        foreach (var (at, route) in spec.Routes.Index())
        {
            var routeName = route.Name ?? GenerateName($"{table}/{host.Name}", route.Match, routeNames);
            host.Routes.Add(Route(routeName, route, $"{pointer}/routes/{at}", problems, origins));
        }
        return host;
    }

    /// <summary>
    /// A name made of what the route is for, not of its position: access-log records are attributed by it, also those that are on their way while
    /// a route is inserted before this one.
    /// </summary>
    private static string GenerateName(string prefix, RouteMatchSpec match, HashSet<string> taken)
    {
        var path = match switch
        {
            { Prefix: { } prefixMatch } => $"{prefixMatch}*",
            { PathSeparatedPrefix: { } separated } => $"{separated}/*",
            { Path: { } exact } => exact,
            { Regex: { } regex } => $"~{regex}",
            { PathTemplate: { } template } => template,
            _ => "CONNECT",
        };
        var wanted = prefix + (path.StartsWith('/') ? path : $"/{path}");
        var name = wanted;
        for (var count = 2; !taken.Add(name); count++)
        {
            name = string.Create(CultureInfo.InvariantCulture, $"{wanted}#{count}");
        }
        return name;
    }

    private static Route Route(string name, RouteSpec spec, string pointer, ProblemCollector problems, MessageOrigins origins)
    {
        origins.Add(InMessage(pointer), pointer);
        var route = new Route { Name = name, Match = Match(spec.Match) };
        if (spec.Redirect is { } redirect)
        {
            route.Redirect = Redirect(redirect);
        }
        else if (spec.DirectResponse is { } response)
        {
            route.DirectResponse = new DirectResponseAction
            {
                Status = response.Status,
                Body = response.Body is null ? null : new DataSource { InlineString = response.Body },
            };
        }
        else if (spec.NonForwarding)
        {
            route.NonForwardingAction = new NonForwardingAction();
        }
        else
        {
            route.Route_ = Action(spec);
        }
        AddHeaderEdits(spec.RequestHeaders, route.RequestHeadersToAdd, route.RequestHeadersToRemove);
        AddHeaderEdits(spec.ResponseHeaders, route.ResponseHeadersToAdd, route.ResponseHeadersToRemove);
        AddFilterConfig(spec.TypedPerFilterConfig, route.TypedPerFilterConfig, pointer, problems, origins);
        AddCors(spec.Cors, route.TypedPerFilterConfig);
        return route;
    }

    private static void AddFilterConfig(
        ImmutableSortedDictionary<string, JsonObject> configs,
        MapField<string, Any> target,
        string pointer,
        ProblemCollector problems,
        MessageOrigins origins
    )
    {
        target.Add(TypedConfig.Read(configs, pointer, problems));
        foreach (var name in configs.Keys)
        {
            var source = $"{pointer}/typedPerFilterConfig/{JsonPointer.Escape(name)}";
            origins.AddRaw(InMessage(source), source);
        }
    }

    /// <summary>Tables, virtual hosts, routes and what filters get of them stand in the message where they stand in the spec.</summary>
    private static string InMessage(string pointer) => pointer[SpecPointer.Length..];

    private static RouteMatch Match(RouteMatchSpec spec)
    {
        var match = new RouteMatch();
        switch (spec)
        {
            case { Prefix: { } prefix }:
                match.Prefix = prefix;
                break;
            case { PathSeparatedPrefix: { } separated }:
                match.PathSeparatedPrefix = separated;
                break;
            case { Path: { } path }:
                match.Path = path;
                break;
            case { Regex: { } regex }:
                match.SafeRegex = new RegexMatcher { Regex = regex };
                break;
            case { PathTemplate: { } template }:
                match.PathMatchPolicy = new TypedExtensionConfig
                {
                    Name = "envoy.path.match.uri_template.uri_template_matcher",
                    TypedConfig = EnvoyTypes.Pack(new UriTemplateMatchConfig { PathTemplate = template }),
                };
                break;
            default:
                match.ConnectMatcher = new RouteMatch.Types.ConnectMatcher();
                break;
        }
        if (!spec.CaseSensitive)
        {
            match.CaseSensitive = false;
        }
        if (!spec.Methods.IsEmpty)
        {
            var method = spec.Methods is [var only]
                ? new StringMatcher { Exact = only }
                : new StringMatcher { SafeRegex = new RegexMatcher { Regex = string.Join('|', spec.Methods) } };
            match.Headers.Add(new HeaderMatcher { Name = ":method", StringMatch = method });
        }
        match.Headers.AddRange(spec.Headers.Select(HeaderMatch));
        match.QueryParameters.AddRange(spec.QueryParameters.Select(QueryParameterMatch));
        match.Grpc = spec.Grpc ? new RouteMatch.Types.GrpcRouteMatchOptions() : null;
        match.RuntimeFraction = Fraction(spec.RuntimeFraction);
        return match;
    }

    private static HeaderMatcher HeaderMatch(HeaderMatchSpec spec)
    {
        var matcher = new HeaderMatcher
        {
            Name = spec.Name,
            InvertMatch = spec.Invert,
            TreatMissingHeaderAsEmpty = spec.TreatMissingAsEmpty,
        };
        if (spec.Value is { } value)
        {
            matcher.StringMatch = StringMatch(value);
        }
        else if (spec.Range is { } range)
        {
            matcher.RangeMatch = new Int64Range { Start = range.Start, End = range.End };
        }
        else
        {
            matcher.PresentMatch = spec.Present ?? true;
        }
        return matcher;
    }

    private static QueryParameterMatcher QueryParameterMatch(QueryParameterMatchSpec spec) =>
        spec.Value is { } value
            ? new QueryParameterMatcher { Name = spec.Name, StringMatch = StringMatch(value) }
            : new QueryParameterMatcher { Name = spec.Name, PresentMatch = spec.Present ?? true };

    /// <summary>Compiles a condition on a text.</summary>
    internal static StringMatcher StringMatch(StringMatchSpec spec)
    {
        var matcher = new StringMatcher { IgnoreCase = spec.IgnoreCase };
        switch (spec)
        {
            case { Exact: { } exact }:
                matcher.Exact = exact;
                break;
            case { Prefix: { } prefix }:
                matcher.Prefix = prefix;
                break;
            case { Suffix: { } suffix }:
                matcher.Suffix = suffix;
                break;
            case { Contains: { } contains }:
                matcher.Contains = contains;
                break;
            default:
                matcher.SafeRegex = new RegexMatcher { Regex = spec.Regex };
                break;
        }
        return matcher;
    }

    private static RuntimeFractionalPercent? Fraction(FractionSpec? spec)
    {
        if (spec is null)
        {
            return null;
        }
        var millionths = (uint)Math.Round(spec.Percent * 10_000);
        var percent = millionths switch
        {
            _ when millionths % 10_000 == 0 => new FractionalPercent { Numerator = millionths / 10_000 },
            _ when millionths % 100 == 0 => new FractionalPercent
            {
                Numerator = millionths / 100,
                Denominator = FractionalPercent.Types.DenominatorType.TenThousand,
            },
            _ => new FractionalPercent { Numerator = millionths, Denominator = FractionalPercent.Types.DenominatorType.Million },
        };
        return new RuntimeFractionalPercent { DefaultValue = percent, RuntimeKey = spec.RuntimeKey ?? "" };
    }

    private static RouteAction Action(RouteSpec spec)
    {
        var action = new RouteAction
        {
            MetadataMatch = Subset(spec.Subset),
            Timeout = spec.Timeout?.ToDuration(),
            IdleTimeout = spec.IdleTimeout?.ToDuration(),
            RetryPolicy = Retry(spec.Retry),
            Priority = spec.Priority == RoutePriority.High ? RoutingPriority.High : RoutingPriority.Default,
        };
        if (spec.Upstream is { } upstream)
        {
            action.Cluster = upstream;
        }
        else
        {
            action.WeightedClusters = new WeightedCluster();
            action.WeightedClusters.Clusters.AddRange(spec.Upstreams.Select(WeightedUpstream));
        }
        if (spec.MaxStreamDuration is not null || spec.GrpcTimeoutHeaderMax is not null)
        {
            action.MaxStreamDuration = new RouteAction.Types.MaxStreamDuration
            {
                MaxStreamDuration_ = spec.MaxStreamDuration?.ToDuration(),
                GrpcTimeoutHeaderMax = spec.GrpcTimeoutHeaderMax?.ToDuration(),
            };
        }
        action.HashPolicy.AddRange(spec.HashPolicy.Select(HashPolicy));
        action.RequestMirrorPolicies.AddRange(
            spec.Mirror.Select(m => new RouteAction.Types.RequestMirrorPolicy
            {
                Cluster = m.Upstream,
                RuntimeFraction = Fraction(m.Fraction),
            })
        );
        action.UpgradeConfigs.AddRange(
            spec.Upgrades.Select(u => new RouteAction.Types.UpgradeConfig
            {
                UpgradeType = u.Type,
                Enabled = u.Enabled,
                ConnectConfig = u.Terminate ? new RouteAction.Types.UpgradeConfig.Types.ConnectConfig() : null,
            })
        );
        action.RateLimits.AddRange(spec.RateLimits.Select(RateLimit));
        Rewrite(spec.Rewrite, action);
        return action;
    }

    private static WeightedCluster.Types.ClusterWeight WeightedUpstream(WeightedUpstreamSpec spec)
    {
        var weighted = new WeightedCluster.Types.ClusterWeight
        {
            Name = spec.Name,
            Weight = spec.Weight,
            MetadataMatch = Subset(spec.Subset),
        };
        AddHeaderEdits(spec.RequestHeaders, weighted.RequestHeadersToAdd, weighted.RequestHeadersToRemove);
        AddHeaderEdits(spec.ResponseHeaders, weighted.ResponseHeadersToAdd, weighted.ResponseHeadersToRemove);
        return weighted;
    }

    private static Metadata? Subset(ImmutableSortedDictionary<string, string> subset)
    {
        if (subset.IsEmpty)
        {
            return null;
        }
        var fields = new Struct();
        foreach (var (key, value) in subset)
        {
            fields.Fields.Add(key, Value.ForString(value));
        }
        return new Metadata { FilterMetadata = { [SubsetNamespace] = fields } };
    }

    private static RouteAction.Types.HashPolicy HashPolicy(HashPolicySpec spec)
    {
        var policy = new RouteAction.Types.HashPolicy { Terminal = spec.Terminal };
        switch (spec)
        {
            case { Header: { } header }:
                policy.Header = new RouteAction.Types.HashPolicy.Types.Header { HeaderName = header };
                break;
            case { Cookie: { } cookie }:
                policy.Cookie = new RouteAction.Types.HashPolicy.Types.Cookie
                {
                    Name = cookie.Name,
                    Ttl = cookie.Ttl?.ToDuration(),
                    Path = cookie.Path ?? "",
                };
                break;
            case { QueryParameter: { } parameter }:
                policy.QueryParameter = new RouteAction.Types.HashPolicy.Types.QueryParameter { Name = parameter };
                break;
            default:
                policy.ConnectionProperties = new RouteAction.Types.HashPolicy.Types.ConnectionProperties { SourceIp = true };
                break;
        }
        return policy;
    }

    private static void Rewrite(RewriteSpec? spec, RouteAction action)
    {
        if (spec is null)
        {
            return;
        }
        action.PrefixRewrite = spec.Prefix ?? "";
        action.RegexRewrite = RegexRewrite(spec.PathRegex);
        if (spec.PathTemplate is { } template)
        {
            action.PathRewritePolicy = new TypedExtensionConfig
            {
                Name = "envoy.path.rewrite.uri_template.uri_template_rewriter",
                TypedConfig = EnvoyTypes.Pack(new UriTemplateRewriteConfig { PathTemplateRewrite = template }),
            };
        }
        if (spec.Host is { } host)
        {
            action.HostRewriteLiteral = host;
        }
        else if (spec.HostFromHeader is { } header)
        {
            action.HostRewriteHeader = header;
        }
        else if (spec.HostFromEndpoint)
        {
            action.AutoHostRewrite = true;
        }
    }

    private static RegexMatchAndSubstitute? RegexRewrite(RegexRewriteSpec? spec) =>
        spec is null
            ? null
            : new RegexMatchAndSubstitute
            {
                Pattern = new RegexMatcher { Regex = spec.Pattern },
                Substitution = spec.Substitution,
            };

    private static RetryPolicy? Retry(RetrySpec? spec)
    {
        if (spec is null)
        {
            return null;
        }
        IEnumerable<string> implied =
        [
            .. spec.StatusCodes.IsEmpty ? Array.Empty<string>() : ["retriable-status-codes"],
            .. spec.Headers.IsEmpty ? Array.Empty<string>() : ["retriable-headers"],
        ];
        var policy = new RetryPolicy
        {
            RetryOn = string.Join(',', spec.On.Concat(implied).Distinct(StringComparer.Ordinal)),
            NumRetries = spec.NumRetries,
            PerTryTimeout = spec.PerTryTimeout?.ToDuration(),
            PerTryIdleTimeout = spec.PerTryIdleTimeout?.ToDuration(),
        };
        if (spec.BackOff is { } backOff)
        {
            policy.RetryBackOff = new RetryPolicy.Types.RetryBackOff
            {
                BaseInterval = backOff.BaseInterval.ToDuration(),
                MaxInterval = backOff.MaxInterval?.ToDuration(),
            };
        }
        if (spec.AvoidPreviousHosts)
        {
            policy.HostSelectionRetryMaxAttempts = spec.HostSelectionAttempts;
            policy.RetryHostPredicate.Add(
                new RetryPolicy.Types.RetryHostPredicate
                {
                    Name = "envoy.retry_host_predicates.previous_hosts",
                    TypedConfig = EnvoyTypes.Pack(new PreviousHostsPredicate()),
                }
            );
        }
        policy.RetriableStatusCodes.AddRange(spec.StatusCodes);
        policy.RetriableHeaders.AddRange(spec.Headers.Select(HeaderMatch));
        policy.RetriableRequestHeaders.AddRange(spec.RequestHeaders.Select(HeaderMatch));
        return policy;
    }

    private static RedirectAction Redirect(RedirectSpec spec)
    {
        var redirect = new RedirectAction
        {
            HostRedirect = spec.Host ?? "",
            PortRedirect = spec.Port ?? 0,
            StripQuery = spec.StripQuery,
            ResponseCode = spec.StatusCode switch
            {
                302 => RedirectAction.Types.RedirectResponseCode.Found,
                303 => RedirectAction.Types.RedirectResponseCode.SeeOther,
                307 => RedirectAction.Types.RedirectResponseCode.TemporaryRedirect,
                308 => RedirectAction.Types.RedirectResponseCode.PermanentRedirect,
                _ => RedirectAction.Types.RedirectResponseCode.MovedPermanently,
            },
        };
        if (spec.Scheme is { } scheme)
        {
            redirect.SchemeRedirect = scheme;
        }
        if (spec.Path is { } path)
        {
            redirect.PathRedirect = path;
        }
        else if (spec.PrefixRewrite is { } prefix)
        {
            redirect.PrefixRewrite = prefix;
        }
        else if (RegexRewrite(spec.PathRegex) is { } regex)
        {
            redirect.RegexRewrite = regex;
        }
        return redirect;
    }

    private static RateLimit RateLimit(RateLimitSpec spec)
    {
        var limit = new RateLimit { Stage = spec.Stage == 0 ? null : spec.Stage, DisableKey = spec.DisableKey ?? "" };
        limit.Actions.AddRange(spec.Actions.Select(RateLimitAction));
        return limit;
    }

    private static RateLimit.Types.Action RateLimitAction(RateLimitActionSpec spec)
    {
        var action = new RateLimit.Types.Action();
        switch (spec)
        {
            case { SourceCluster: true }:
                action.SourceCluster = new RateLimit.Types.Action.Types.SourceCluster();
                break;
            case { DestinationCluster: true }:
                action.DestinationCluster = new RateLimit.Types.Action.Types.DestinationCluster();
                break;
            case { MaskedRemoteAddress: { } mask }:
                action.MaskedRemoteAddress = new RateLimit.Types.Action.Types.MaskedRemoteAddress
                {
                    V4PrefixMaskLen = mask.V4PrefixLength,
                    V6PrefixMaskLen = mask.V6PrefixLength,
                };
                break;
            case { RequestHeader: { } header }:
                action.RequestHeaders = new RateLimit.Types.Action.Types.RequestHeaders
                {
                    HeaderName = header.Name,
                    DescriptorKey = header.Key,
                    SkipIfAbsent = header.SkipIfAbsent,
                };
                break;
            case { GenericKey: { } generic }:
                action.GenericKey = new RateLimit.Types.Action.Types.GenericKey
                {
                    DescriptorKey = generic.Key ?? "",
                    DescriptorValue = generic.Value,
                };
                break;
            case { HeaderValueMatch: { } match }:
                action.HeaderValueMatch = new RateLimit.Types.Action.Types.HeaderValueMatch
                {
                    DescriptorKey = match.Key ?? "",
                    DescriptorValue = match.Value,
                    ExpectMatch = match.ExpectMatch,
                };
                action.HeaderValueMatch.Headers.AddRange(match.Headers.Select(HeaderMatch));
                break;
            case { QueryParameterValueMatch: { } match }:
                action.QueryParameterValueMatch = new RateLimit.Types.Action.Types.QueryParameterValueMatch
                {
                    DescriptorKey = match.Key ?? "",
                    DescriptorValue = match.Value,
                    ExpectMatch = match.ExpectMatch,
                };
                action.QueryParameterValueMatch.QueryParameters.AddRange(match.QueryParameters.Select(QueryParameterMatch));
                break;
            case { Metadata: { } metadata }:
                var key = new MetadataKey { Key = metadata.Namespace };
                key.Path.AddRange(metadata.Path.Select(step => new MetadataKey.Types.PathSegment { Key = step }));
                action.Metadata = new RateLimit.Types.Action.Types.MetaData
                {
                    DescriptorKey = metadata.Key,
                    MetadataKey = key,
                    DefaultValue = metadata.DefaultValue ?? "",
                    Source =
                        metadata.Source == MetadataSource.RouteEntry
                            ? Envoy.Config.Route.V3.RateLimit.Types.Action.Types.MetaData.Types.Source.RouteEntry
                            : Envoy.Config.Route.V3.RateLimit.Types.Action.Types.MetaData.Types.Source.Dynamic,
                    SkipIfAbsent = metadata.SkipIfAbsent,
                };
                break;
            default:
                action.RemoteAddress = new RateLimit.Types.Action.Types.RemoteAddress();
                break;
        }
        return action;
    }

    private static void AddCors(CorsSpec? spec, MapField<string, Any> filterConfig)
    {
        if (spec is null)
        {
            return;
        }
        var policy = new CorsFilterPolicy
        {
            AllowMethods = string.Join(',', spec.AllowMethods),
            AllowHeaders = string.Join(',', spec.AllowHeaders),
            ExposeHeaders = string.Join(',', spec.ExposeHeaders),
            MaxAge = spec.MaxAge is { } age ? ((long)age.TotalSeconds).ToString(CultureInfo.InvariantCulture) : "",
            AllowCredentials = spec.AllowCredentials,
            AllowPrivateNetworkAccess = spec.AllowPrivateNetworkAccess ? true : null,
        };
        policy.AllowOriginStringMatch.AddRange(spec.AllowOrigins.Select(StringMatch));
        filterConfig.Add(WellKnownFilters.Cors, EnvoyTypes.Pack(policy));
    }

    private static void AddHeaderEdits(HeaderEditsSpec? spec, RepeatedField<HeaderValueOption> add, RepeatedField<string> remove)
    {
        if (spec is null)
        {
            return;
        }
        AddAll(spec.Set, HeaderValueOption.Types.HeaderAppendAction.OverwriteIfExistsOrAdd);
        AddAll(spec.Append, HeaderValueOption.Types.HeaderAppendAction.AppendIfExistsOrAdd);
        AddAll(spec.AddIfAbsent, HeaderValueOption.Types.HeaderAppendAction.AddIfAbsent);
        remove.AddRange(spec.Remove);

        void AddAll(ImmutableSortedDictionary<string, string> headers, HeaderValueOption.Types.HeaderAppendAction action)
        {
            foreach (var (name, value) in headers)
            {
                add.Add(
                    new HeaderValueOption
                    {
                        Header = new HeaderValue { Key = name, Value = value },
                        AppendAction = action,
                        // Envoy drops headers without a value unless told otherwise.
                        KeepEmptyValue = value.Length == 0,
                    }
                );
            }
        }
    }
}
