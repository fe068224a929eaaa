using System.Reflection;
using BenchmarkDotNet.Running;
using ControlPlane.Benchmarks;

if (args is ["fanout", .. var rest])
{
    await FanOut.RunAsync(rest);
}
else if (args is ["probes", .. var probes])
{
    await Probes.RunAsync(probes);
}
else if (args is ["probes-backend"])
{
    await Probes.ServeAsync();
}
else
{
    BenchmarkSwitcher.FromAssembly(Assembly.GetExecutingAssembly()).Run(args);
}
