using System.Diagnostics;
using Vmsweep.Signatures.ClamAv;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Updates;

/// <summary>
/// Has <c>clamscan</c> load a bundle's parts for ClamAV, and nothing else: a daemon whose folder holds a database that is malformed keeps what it
/// has, and does not start any more once it ended.
/// </summary>
internal static class ClamAvCheck
{
    private const string Program = "clamscan";

    /// <summary>Its own database, which is larger than what a bundle may be, takes half a minute.</summary>
    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(10);

    private const int MostSaid = 5;

    /// <summary>Whether it can be done here.</summary>
    public static bool IsPossible => Sandbox.Find(Program) is not null;

    /// <exception cref="BundleException">A part is malformed.</exception>
    public static void Run(IReadOnlyList<string> files, string folder, CancellationToken cancellation)
    {
        string empty = Path.GetTempFileName();
        try
        {
            var start = new ProcessStartInfo(Sandbox.Find(Program)!, [.. files.Select(f => "--database=" + f), "--detect-pua=yes", "--no-summary", empty])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            };
            using Process process = Process.Start(start)!;
            Task<string> said = process.StandardError.ReadToEndAsync(cancellation);
            process.OutputDataReceived += (_, _) => { };
            process.BeginOutputReadLine();
            using CancellationTokenRegistration end = cancellation.Register(process.Kill);
            if (!process.WaitForExit(Longest))
            {
                process.Kill();
                throw new BundleException($"clamscan did not load the parts for ClamAV within {Longest.TotalMinutes:0} minutes");
            }

            cancellation.ThrowIfCancellationRequested();
            if (process.ExitCode != 0)
            {
                throw new BundleException("the parts for ClamAV do not load: " + Said(said.GetAwaiter().GetResult(), folder));
            }
        }
        finally
        {
            File.Delete(empty);
        }
    }

    private static string Said(string error, string folder) => string.Join("; ", error
        .Replace(folder + "/", "", StringComparison.Ordinal)
        .Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
        .Select(l => l.Replace("LibClamAV Error: ", "", StringComparison.Ordinal))
        .Take(MostSaid));
}
