using System.Diagnostics;
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
            (int status, _, string error) = Scan(files, [empty], cancellation);
            if (status != 0)
            {
                throw new BundleException("the parts for ClamAV do not load: " + Said(error, folder));
            }
        }
        finally
        {
            File.Delete(empty);
        }
    }

    /// <summary>What the parts find in files that are known to be good.</summary>
    /// <param name="good">A folder, or one file.</param>
    /// <returns>Path and signature; and what went wrong, empty where nothing did.</returns>
    public static (IReadOnlyList<(string Path, string Signature)> Alarms, string Fault) Try(IReadOnlyList<string> files, string good, CancellationToken cancellation)
    {
        (int status, string output, string error) = Scan(
            files, ["--infected", "--recursive", "--max-dir-recursion=200", "--follow-dir-symlinks=0", "--follow-file-symlinks=0", "--max-filesize=2000M", "--max-scansize=2000M", good], cancellation);
        List<(string, string)> alarms = [];
        foreach (string line in output.Split('\n').Where(l => l.EndsWith(Found, StringComparison.Ordinal)))
        {
            int at = line.LastIndexOf(": ", StringComparison.Ordinal);
            if (at > 0)
            {
                alarms.Add((line[..at], line[(at + 2)..^Found.Length]));
            }
        }

        return (alarms, status is 0 or 1 ? "" : Said(error, good));
    }

    private const string Found = " FOUND";

    private static (int Status, string Output, string Error) Scan(IReadOnlyList<string> files, IReadOnlyList<string> arguments, CancellationToken cancellation)
    {
        var start = new ProcessStartInfo(Sandbox.Find(Program)!, [.. files.Select(f => "--database=" + f), "--detect-pua=yes", "--no-summary", .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync(cancellation);
        Task<string> output = process.StandardOutput.ReadToEndAsync(cancellation);
        using CancellationTokenRegistration end = cancellation.Register(process.Kill);
        if (!process.WaitForExit(Longest))
        {
            process.Kill();
            throw new BundleException($"clamscan did not come to its end within {Longest.TotalMinutes:0} minutes");
        }

        cancellation.ThrowIfCancellationRequested();
        return (process.ExitCode, output.GetAwaiter().GetResult(), error.GetAwaiter().GetResult());
    }

    private static string Said(string error, string folder) => string.Join("; ", error
        .Replace(folder + "/", "", StringComparison.Ordinal)
        .Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
        .Select(l => l.Replace("LibClamAV Error: ", "", StringComparison.Ordinal))
        .Take(MostSaid));
}
