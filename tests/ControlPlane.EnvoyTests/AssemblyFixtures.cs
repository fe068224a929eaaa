using ControlPlane.TestKit;

[assembly: AssemblyFixture(typeof(PostgresFixture))]
// Each test runs processes of its own and measures how soon something happens: one at a time.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
