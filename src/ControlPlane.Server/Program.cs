using ControlPlane.Server;

return await CommandLine.RunAsync(args);
