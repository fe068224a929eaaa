using System.Reflection;
using BenchmarkDotNet.Running;
using ControlPlane.Benchmarks;
using ControlPlane.Benchmarks.Fleet;

if (args is ["fanout", .. var rest])
{
    await FanOut.RunAsync(rest);
}
else if (args is ["fleet", .. var fleet])
{
    await FleetSimulator.RunAsync(fleet);
}
else if (args is ["whole", .. var store])
{
    await WholeServer.RunAsync(store.FirstOrDefault("sqlite"));
}
else if (args is ["load-reports", .. var reports])
{
    await LoadReports.RunAsync(reports);
}
else if (args is ["publication", .. var publication])
{
    await VerdictPublication.RunAsync(publication);
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
