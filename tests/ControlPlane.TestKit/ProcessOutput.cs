using System.Diagnostics;
using System.Text;

namespace ControlPlane.TestKit;

/// <summary>What a child process has written to one of its pipes so far.</summary>
public sealed class ProcessOutput
{
    private readonly StringBuilder _text = new();

    /// <summary>Takes a line: for <see cref="Process.OutputDataReceived"/> and <see cref="Process.ErrorDataReceived"/>.</summary>
    public void Add(object sender, DataReceivedEventArgs received)
    {
        // Null marks the end.
        if (received.Data is { } line)
        {
            lock (_text)
            {
                _text.AppendLine(line);
            }
        }
    }

    /// <inheritdoc/>
    public override string ToString()
    {
        lock (_text)
        {
            return _text.ToString();
        }
    }
}
