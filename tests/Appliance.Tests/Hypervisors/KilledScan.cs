using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>A scan that is killed at a step of its own, which is known by what it has made.</summary>
internal sealed partial class KilledScan
{
    private const int MostTries = 10;

    // SIGSTOP, SIGCONT.
    private const int Stop = 19, Continue = 18;

    private readonly Process _process;

    private KilledScan(Process process) => _process = process;

    /// <summary>Of its lease.</summary>
    public string Key { get; private set; } = "";

    public bool HasWorker { get; private set; }

    /// <summary>Its view is open, as far as it can be seen.</summary>
    public bool IsOpen { get; private set; }

    public bool WasOpen { get; private set; }

    /// <summary>The worker was there, and is no more: what is made is being undone.</summary>
    public bool IsEnding { get; private set; }

    /// <summary>Kills a scan at a step, with another scan where one was over before it was seen there.</summary>
    /// <param name="leases">The folder of its journal.</param>
    /// <param name="isOpen">By the key of its lease.</param>
    /// <returns>The key of its lease.</returns>
    public static string At(string step, string leases, Func<Process> start, Func<string, bool> isOpen, Func<KilledScan, bool> isReached)
    {
        for (int tries = 0; tries < MostTries; tries++)
        {
            using Process process = start();
            var scan = new KilledScan(process);
            bool isMet = scan.WaitFor(leases, isOpen, isReached);
            process.Kill();
            process.WaitForExit();
            if (isMet)
            {
                return scan.Key;
            }
        }

        throw new InvalidOperationException($"{step} was not met in {MostTries} scans");
    }

    /// <summary>A process has a child, which of a scan is a sandbox.</summary>
    public static bool HasChild(Process process)
    {
        try
        {
            return Directory.GetDirectories($"/proc/{process.Id}/task").Any(t => File.ReadAllText(t + "/children").Length > 0);
        }
        catch (IOException)
        {
            return false;
        }
    }

    /// <returns>False where it ended before it was seen there.</returns>
    private bool WaitFor(string leases, Func<string, bool> isOpen, Func<KilledScan, bool> isReached)
    {
        bool wasWorker = false;
        while (!_process.HasExited)
        {
            // Often enough for the short steps, and the scan needs a processor too.
            Thread.Sleep(1);

            // The steps at the end are short. There it is looked at while it stands still, and goes on for a moment only.
            HasWorker = HasChild(_process);
            IsEnding = wasWorker && !HasWorker;
            if (IsEnding)
            {
                _ = Kill(_process.Id, Stop);
            }

            string? key = Directory.Exists(leases) ? Directory.GetFiles(leases, "*.json").Select(f => Path.GetFileNameWithoutExtension(f)).FirstOrDefault() : null;
            if (key is not null)
            {
                Key = key;
                IsOpen = isOpen(key);
                WasOpen |= IsOpen;
                if (isReached(this))
                {
                    return true;
                }

                wasWorker |= IsOpen && HasWorker;
            }

            _ = Kill(_process.Id, Continue);
        }

        return false;
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);
}
