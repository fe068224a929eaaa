using System.Reflection;
using BenchmarkDotNet.Running;
using ControlPlane.Benchmarks;

if (args is ["fanout", .. var rest])
{
    await FanOut.RunAsync(rest);
}
else
{
    BenchmarkSwitcher.FromAssembly(Assembly.GetExecutingAssembly()).Run(args);
}
