using ControlPlane.Resources.Validation;
using Envoy.Config.Core.V3;
using Envoy.Config.Route.V3;
using Envoy.Extensions.AccessLoggers.File.V3;
using Google.Protobuf.Collections;
using Google.Protobuf.WellKnownTypes;
using static ControlPlane.Core.Compilation.Rules.SemanticRules;
using Value = Google.Protobuf.WellKnownTypes.Value;

namespace ControlPlane.Core.Compilation.Rules;

/// <summary>Header edits and the formats of headers, access logs and local replies.</summary>
internal static class HeaderRules
{
    public static IEnumerable<MessageRule> All() =>
        [
            On<HeaderValueOption>(CheckHeader),
            On<RouteConfiguration>((m, path) => CheckRemoved(m.RequestHeadersToRemove, m.ResponseHeadersToRemove, path)),
            On<VirtualHost>((m, path) => CheckRemoved(m.RequestHeadersToRemove, m.ResponseHeadersToRemove, path)),
            On<Route>((m, path) => CheckRemoved(m.RequestHeadersToRemove, m.ResponseHeadersToRemove, path)),
            On<WeightedCluster.Types.ClusterWeight>((m, path) => CheckRemoved(m.RequestHeadersToRemove, m.ResponseHeadersToRemove, path)),
            On<HealthCheck.Types.HttpHealthCheck>((m, path) => CheckRemoved(m.RequestHeadersToRemove, [], path)),
            On<SubstitutionFormatString>(CheckFormat),
            On<FileAccessLog>(
                (m, path) =>
                {
#pragma warning disable CS0612 // Deprecated by Envoy, and still taken by it.
                    CheckText(m.Format, "/format", extensible: false, path);
                    CheckStruct(m.JsonFormat, "/jsonFormat", extensible: false, path);
                    CheckStruct(m.TypedJsonFormat, "/typedJsonFormat", extensible: false, path);
#pragma warning restore CS0612
                }
            ),
        ];

    private static void CheckHeader(HeaderValueOption option, MessagePath path)
    {
        if (option.Header is not { } header)
        {
            return;
        }

        if (IsProtected(header.Key))
        {
            path.Error(
                "/header/key",
                "protected-header",
                "Host and headers that begin with a colon cannot be set here. Use the route's host rewrite and path rewrite."
            );
        }

#pragma warning disable CS0612 // Deprecated by Envoy, and still taken by it.
        if (option.Append is not null && option.AppendAction != HeaderValueOption.Types.HeaderAppendAction.AppendIfExistsOrAdd)
        {
            path.Error("/append", "one-of", "append is the old form of appendAction. Keep appendAction.");
        }
#pragma warning restore CS0612
        CheckText(header.Value, "/header/value", extensible: false, path);
    }

    private static void CheckRemoved(RepeatedField<string> request, RepeatedField<string> response, MessagePath path)
    {
        CheckNames(request, "/requestHeadersToRemove", path);
        CheckNames(response, "/responseHeadersToRemove", path);
    }

    private static void CheckNames(RepeatedField<string> names, string tail, MessagePath path)
    {
        for (var i = 0; i < names.Count; i++)
        {
            if (IsProtected(names[i]))
            {
                path.Error(
                    $"{tail}/{i}",
                    "protected-header",
                    "Host and headers that begin with a colon cannot be removed. Take the name out."
                );
            }
        }
    }

    private static bool IsProtected(string name) => name.StartsWith(':') || name.Equals("host", StringComparison.OrdinalIgnoreCase);

    private static void CheckFormat(SubstitutionFormatString format, MessagePath path)
    {
        var extensible = format.Formatters.Count > 0;
#pragma warning disable CS0612 // Deprecated by Envoy, and still taken by it.
        CheckText(format.TextFormat, "/textFormat", extensible, path);
#pragma warning restore CS0612
        CheckText(format.TextFormatSource?.InlineString ?? "", "/textFormatSource/inlineString", extensible, path);
        CheckStruct(format.JsonFormat, "/jsonFormat", extensible, path);
    }

    private static void CheckStruct(Struct? format, string tail, bool extensible, MessagePath path)
    {
        foreach (var (key, value) in format?.Fields ?? [])
        {
            CheckValue(value, $"{tail}/{JsonPointer.Escape(key)}", extensible, path);
        }
    }

    private static void CheckValue(Value value, string tail, bool extensible, MessagePath path)
    {
        switch (value.KindCase)
        {
            case Value.KindOneofCase.StringValue:
                CheckText(value.StringValue, tail, extensible, path);
                break;
            case Value.KindOneofCase.StructValue:
                CheckStruct(value.StructValue, tail, extensible, path);
                break;
            case Value.KindOneofCase.ListValue:
                for (var i = 0; i < value.ListValue.Values.Count; i++)
                {
                    CheckValue(value.ListValue.Values[i], $"{tail}/{i}", extensible, path);
                }

                break;
        }
    }

    private static void CheckText(string format, string tail, bool extensible, MessagePath path)
    {
        if (format.Contains('%', StringComparison.Ordinal))
        {
            path.Problems.CommandOperatorsIn(path.Pointer + tail, format, extensible);
        }
    }
}
