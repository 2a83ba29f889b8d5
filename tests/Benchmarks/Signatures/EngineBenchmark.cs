using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using Vmsweep.Benchmarks.EndToEnd;
using Vmsweep.Benchmarks.Measuring;
using Vmsweep.Benchmarks.Workload;
using Vmsweep.Golden;
using Vmsweep.Signatures.Hashes;

namespace Vmsweep.Benchmarks.Signatures;

/// <summary>What each engine adds to reading and hashing, alone and together; ClamAV's by a daemon with a small database, which counts apart.</summary>
internal static class EngineBenchmark
{
    private const int Hashes = 1_000_000;

    public static void Run(ImageSet set, BenchmarkRules rules, int threads, int rounds)
    {
        var programs = new Programs(set, rules, threads);
        string list = Path.Combine(set.Scratch, "hashes.txt");
        File.WriteAllLines(list, Enumerable.Range(0, Hashes).Select(i => Convert.ToHexStringLower(SHA256.HashData(BitConverter.GetBytes(i)))));
        string compiled = Path.Combine(set.Scratch, "hashes.set");
        File.Delete(compiled);
        using (var builder = new HashSetBuilder(HashSetKind.Bad, set.Scratch))
        {
            builder.AddFile(list);
            builder.Build(compiled);
        }

        using var clamd = new ClamDaemon(set.Scratch);
        string image = set.Vmdk;
        string Result(string name) => Path.Combine(set.Scratch, name.Replace(' ', '-') + ".json");
        Subject Engines(string name, params string[] options) => new(name, [image], () => programs.ScanEngines(image, Result(name), options));
        const string Reading = "hash alone";
        Rounds costs = Rounds.Run(
        [
            Engines(Reading, "--engine", "hash", "--hashes", compiled),
            Engines("yara alone", ["--engine", "yara", .. programs.RuleOptions]),
            Engines("clamav alone", "--engine", "clamav", "--clamd", clamd.Socket),
            Engines("all three", ["--engine", "yara,hash,clamav", "--hashes", compiled, "--clamd", clamd.Socket, .. programs.RuleOptions]),
        ], rounds);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"\nengines: {set.Files} files, {Text.MiB(set.Bytes)}, NTFS in VMDK, {rules.Files.Count} rule files, {Hashes:N0} hashes, {threads} threads, {rounds} rounds, archives opened, page cache warm; clamd's own time and memory ({Text.MiB(clamd.PeakBytes)}) are not in the table"));
        costs.Print(Reading);
        foreach (string name in (string[])[Reading, "yara alone", "clamav alone", "all three"])
        {
            using JsonDocument json = JsonDocument.Parse(File.ReadAllText(Result(name)));
            JsonElement totals = json.RootElement.GetProperty("totals");
            Console.WriteLine($"  {name}: {totals.GetProperty("filesScanned")} files, {totals.GetProperty("findings")} findings, {totals.GetProperty("gaps")} gaps");
        }
    }

    /// <summary>A daemon of its own with one signature.</summary>
    private sealed class ClamDaemon : IDisposable
    {
        private readonly Process _process;

        public ClamDaemon(string scratch)
        {
            string folder = Directory.CreateDirectory(Path.Combine(scratch, "clamd")).FullName;
            Socket = Path.Combine(folder, "s");
            string configuration = Path.Combine(folder, "clamd.conf");
            File.WriteAllText(configuration, $"LocalSocket {Socket}\nDatabaseDirectory {folder}\nForeground yes\nStreamMaxLength 2000M\nMaxScanSize 2000M\nMaxFileSize 2000M\nUser root\nMaxThreads 4\n");
            File.WriteAllText(Path.Combine(folder, "own.ndb"), "Nothing:0:*:766d7377656570206e6f7468696e67206f66207468697320\n");
            _process = Process.Start(new ProcessStartInfo(Tool.Find("clamd"), ["-c", configuration]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            _process.OutputDataReceived += (_, _) => { };
            _process.BeginOutputReadLine();
            if (!SpinWait.SpinUntil(() => File.Exists(Socket) || _process.HasExited, TimeSpan.FromSeconds(60)) || _process.HasExited)
            {
                throw new InvalidOperationException("clamd did not start: " + _process.StandardError.ReadToEnd());
            }
        }

        public string Socket { get; }

        public long PeakBytes
        {
            get
            {
                _process.Refresh();
                return _process.PeakWorkingSet64;
            }
        }

        public void Dispose()
        {
            _process.Kill();
            _process.WaitForExit();
            _process.Dispose();
        }
    }
}
