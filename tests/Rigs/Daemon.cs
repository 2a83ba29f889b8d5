using System.Diagnostics;
using System.Text;
using Vmsweep.Golden;

namespace Vmsweep.Rigs;

/// <summary>A server that a test starts and ends, by its process id.</summary>
public sealed class Daemon : IDisposable
{
    /// <summary>For a server to be ready on a machine that is busy with other tests.</summary>
    private static readonly TimeSpan MostStart = TimeSpan.FromSeconds(120);

    private readonly Process _process;
    private readonly StringBuilder _said = new();

    private Daemon(Process process) => _process = process;

    public int Id => _process.Id;

    public bool HasExited => _process.HasExited;

    /// <summary>What it has said on both outputs.</summary>
    public string Said
    {
        get
        {
            lock (_said)
            {
                return _said.ToString();
            }
        }
    }

    /// <param name="isReady">Asked again and again until it says so.</param>
    public static Daemon Start(string program, Func<bool> isReady, params IReadOnlyList<string> arguments)
    {
        var start = new ProcessStartInfo(Tool.Find(program), arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["LC_ALL"] = "C.UTF-8";
        var daemon = new Daemon(Process.Start(start)!);
        daemon._process.OutputDataReceived += daemon.Hear;
        daemon._process.ErrorDataReceived += daemon.Hear;
        daemon._process.BeginOutputReadLine();
        daemon._process.BeginErrorReadLine();
        long started = Stopwatch.GetTimestamp();
        while (!isReady())
        {
            if (daemon.HasExited || Stopwatch.GetElapsedTime(started) > MostStart)
            {
                string said = daemon.Said;
                daemon.Dispose();
                throw new InvalidOperationException($"{program} is not ready: {said}");
            }

            Thread.Sleep(20);
        }

        return daemon;
    }

    /// <summary>As a crash ends it.</summary>
    public void Kill()
    {
        _process.Kill(entireProcessTree: true);
        _process.WaitForExit();
    }

    /// <summary>A signal by its name, such as TERM.</summary>
    public void Signal(string name) => Tool.Run("/bin/kill", "-" + name, Id.ToString(System.Globalization.CultureInfo.InvariantCulture));

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            Kill();
        }

        _process.Dispose();
    }

    private void Hear(object sender, DataReceivedEventArgs line)
    {
        lock (_said)
        {
            _said.AppendLine(line.Data);
        }
    }
}
