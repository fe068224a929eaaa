using ControlPlane.TestKit;

[assembly: AssemblyFixture(typeof(PostgresFixture))]
