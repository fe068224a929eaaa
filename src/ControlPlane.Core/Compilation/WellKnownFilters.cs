namespace ControlPlane.Core.Compilation;

/// <summary>Names under which the HTTP filters stand in every listener of ours, so that route tables and raw filters can refer to them.</summary>
internal static class WellKnownFilters
{
    public const string Cors = "envoy.filters.http.cors";
    public const string Router = "envoy.filters.http.router";
}
