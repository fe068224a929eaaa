using ControlPlane.Resources.Upstreams;
using ControlPlane.Resources.Validation;

namespace ControlPlane.Resources.Tests.Upstreams;

public sealed class EndpointAndOverrideTests
{
    [Theory]
    [InlineData("address: 10.0.1.1\nport: 0", "/spec/port", "out-of-range")]
    [InlineData("address: cart.local\nport: 80", "/spec/address", "host-name-not-resolved")]
    [InlineData("address: 10.0.1.1\nport: 80\nweight: 0", "/spec/weight", "out-of-range")]
    public void A_registered_endpoint_obeys_the_rules_of_a_static_one(string yaml, string pointer, string code) =>
        SpecText.HasProblem(ResourceKind.Endpoint, yaml, pointer, code, ProblemSeverity.Error);

    [Theory]
    [InlineData("10.0.1.1", 80, "10.0.1.1:80")]
    [InlineData("2001:DB8:0::1", 443, "[2001:db8::1]:443")]
    [InlineData("a.example.com", 443, "a.example.com:443")]
    [InlineData("unix:/run/my app.sock", 0, "unix:_run_my_app.sock")]
    public void An_endpoint_without_an_id_is_named_by_its_address(string address, int port, string id)
    {
        Assert.Equal(id, new EndpointSpec { Address = address, Port = port }.DefaultId());
        Assert.Null(ResourceNames.Explain(ResourceKind.Endpoint, $"cart/{id}"));
    }

    [Fact]
    public void An_order_says_why_and_may_have_no_end()
    {
        var spec = SpecText.Good<OverrideSpec>(
            ResourceKind.Override,
            "action: drain\nreason: kernel update\nstartedAt: 2030-01-01T12:00:00Z\nexpiresAt: null"
        );
        Assert.Equal((OverrideAction.Drain, null), (spec.Action, spec.ExpiresAt));
    }

    [Theory]
    [InlineData("action: drain\nreason: ' '\nstartedAt: 2030-01-01T12:00:00Z", "/spec/reason", "reason-required")]
    [InlineData(
        "action: drain\nreason: x\nstartedAt: 2030-01-01T12:00:00Z\nexpiresAt: 2030-01-01T12:00:00Z",
        "/spec/expiresAt",
        "expires-before-start"
    )]
    [InlineData("action: drain\nreason: x\nstartedAt: 9999-12-31T23:59:59Z", "/spec/startedAt", "out-of-range")]
    public void An_order_without_reason_or_duration_is_refused(string yaml, string pointer, string code) =>
        SpecText.HasProblem(ResourceKind.Override, yaml, pointer, code, ProblemSeverity.Error);
}
