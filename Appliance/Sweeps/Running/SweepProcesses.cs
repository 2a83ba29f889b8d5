using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Serilog;
using Vmsweep.Scheduler.Jobs;

namespace Vmsweep.Appliance.Sweeps.Running;

/// <summary>
/// Starts each sweep as a process of its own, <c>vmsweep sweep run</c>: one that fails takes no other with it, each reads the configuration as it is when it starts, and none is lost when
/// the service goes away.
/// </summary>
/// <param name="command">How to start this program: the file, and what comes before its arguments.</param>
/// <param name="options">What every one of them is given, such as the state folder.</param>
/// <param name="say">Told what the operator should see.</param>
internal sealed partial class SweepProcesses(IReadOnlyList<string> command, IReadOnlyList<string> options, Action<string> say) : ISweepStarter
{
    /// <summary>Not SIGINT: what a shell's script starts in the background ignores that one, and so do its children.</summary>
    private const int Terminate = 15;

    private readonly Dictionary<string, Task> _running = new(StringComparer.Ordinal);

    /// <summary>One that runs already goes on.</summary>
    public Task StartAsync(string sweep, DateTimeOffset due, CancellationToken cancellation)
    {
        lock (_running)
        {
            if (!_running.TryGetValue(sweep, out Task? task) || task.IsCompleted)
            {
                _running[sweep] = task = RunAsync(sweep, due, cancellation);
            }

            return task;
        }
    }

    /// <summary>Until none runs any more.</summary>
    public Task WaitAsync()
    {
        lock (_running)
        {
            return Task.WhenAll(_running.Values);
        }
    }

    private async Task RunAsync(string sweep, DateTimeOffset due, CancellationToken cancellation)
    {
        // The caller has other sweeps to start.
        await Task.Yield();
        var start = new ProcessStartInfo(command[0], [.. command.Skip(1), "sweep", "run", "--wait-for-window", "--no-progress", "--due", due.ToString("O", CultureInfo.InvariantCulture), .. options, "--", sweep])
        {
            // What it has to say of faults goes where the service's own does; its report lies in the state folder.
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        try
        {
            using Process process = Process.Start(start) ?? throw new IOException("no process was made");
            say($"{sweep}: begins");
            Log.Information("the sweep {Sweep} was started as process {Process}", sweep, process.Id);
            process.StandardInput.Close();
            using (cancellation.Register(() => _ = process.HasExited ? 0 : Kill(process.Id, Terminate)))
            {
                await process.StandardOutput.BaseStream.CopyToAsync(Stream.Null, CancellationToken.None).ConfigureAwait(false);
                await process.WaitForExitAsync(CancellationToken.None).ConfigureAwait(false);
            }

            Log.Information("the sweep {Sweep} ended with status {Status}", sweep, process.ExitCode);
            say($"{sweep}: {process.ExitCode switch
            {
                0 => "clean",
                1 => "something was found",
                3 => "nothing was found, but not everything was read",
                2 => "could not run",
                var status => $"its process ended with status {status}; what it had not scanned comes next time",
            }} (vmsweep sweep show {sweep})");
        }
        catch (Exception e) when (e is IOException or System.ComponentModel.Win32Exception or InvalidOperationException)
        {
            Log.Warning("the sweep {Sweep} could not be started: {Reason}", sweep, e.Message);
        }
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);
}
