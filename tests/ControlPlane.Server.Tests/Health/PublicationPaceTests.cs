using ControlPlane.Server.Health;

namespace ControlPlane.Server.Tests.Health;

public sealed class PublicationPaceTests
{
    private readonly PublicationPace _pace = new();

    [Fact]
    public void A_lone_change_goes_out_at_once()
    {
        _pace.Changed("u", isUrgent: false, At(0));
        Assert.Equal(["u"], _pace.TakeDue(At(0)));
        Assert.Empty(_pace.TakeDue(At(0.5)));

        _pace.Changed("u", isUrgent: false, At(10));
        Assert.Equal(["u"], _pace.TakeDue(At(10)));
    }

    [Fact]
    public void A_further_change_waits_until_none_came_for_half_a_second()
    {
        _pace.Changed("u", isUrgent: false, At(0));
        _pace.TakeDue(At(0));
        _pace.Changed("u", isUrgent: false, At(0.5));
        Assert.Empty(_pace.TakeDue(At(0.5)));
        _pace.Changed("u", isUrgent: false, At(0.8));
        Assert.Empty(_pace.TakeDue(At(1.2)));
        Assert.Equal(["u"], _pace.TakeDue(At(1.3)));
    }

    [Fact]
    public void No_change_waits_longer_than_two_seconds()
    {
        _pace.Changed("u", isUrgent: false, At(0));
        _pace.TakeDue(At(0));
        var sent = new List<double>();
        for (var t = 0.5; t < 10; t += 0.5)
        {
            _pace.Changed("u", isUrgent: false, At(t));
            if (_pace.TakeDue(At(t)).Count > 0)
            {
                sent.Add(t);
            }
        }

        Assert.Equal([2.5, 5.0, 7.5], sent);
    }

    [Fact]
    public void What_is_urgent_goes_out_at_once_and_takes_along_what_waits()
    {
        _pace.Changed("u", isUrgent: false, At(0));
        _pace.TakeDue(At(0));
        _pace.Changed("u", isUrgent: false, At(0.2));
        _pace.Changed("u", isUrgent: true, At(0.3));
        Assert.Equal(["u"], _pace.TakeDue(At(0.3)));
        Assert.Empty(_pace.TakeDue(At(1)));
    }

    [Fact]
    public void One_upstream_does_not_hold_up_another()
    {
        _pace.Changed("u", isUrgent: false, At(0));
        _pace.TakeDue(At(0));
        _pace.Changed("u", isUrgent: false, At(0.3));
        _pace.Changed("v", isUrgent: false, At(0.3));
        Assert.Equal(["v"], _pace.TakeDue(At(0.3)));
    }

    [Fact]
    public void What_is_forgotten_does_not_go_out()
    {
        _pace.Changed("u", isUrgent: false, At(0));
        _pace.Forget("u");
        Assert.Empty(_pace.TakeDue(At(5)));
    }

    private static TimeSpan At(double seconds) => TimeSpan.FromSeconds(seconds);
}
