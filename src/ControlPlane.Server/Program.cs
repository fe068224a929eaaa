using ControlPlane.Server;

return await ControlPlaneServer.RunAsync(args);
