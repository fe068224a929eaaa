namespace ControlPlane.Server;

/// <summary>The server cannot start, for a reason that its operator can mend: the message says what to do and is all that is printed.</summary>
public sealed class StartupException : Exception
{
    /// <summary>Creates the exception without details.</summary>
    public StartupException() { }

    /// <summary>Creates the exception with a message for the operator that holds no secret.</summary>
    public StartupException(string message)
        : base(message) { }

    /// <summary>Creates the exception with a message for the operator that holds no secret, and its cause.</summary>
    public StartupException(string message, Exception innerException)
        : base(message, innerException) { }
}
