using ControlPlane.TestKit;

[assembly: AssemblyFixture(typeof(PostgresFixture))]

// Many of these tests wait, for sockets and other processes: two at a time would leave the cores idle.
[assembly: Xunit.v3.Parallelization(MaxThreads = 4)]
