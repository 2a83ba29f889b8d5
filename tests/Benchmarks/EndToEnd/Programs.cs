using System.Globalization;
using Vmsweep.Benchmarks.Measuring;
using Vmsweep.Benchmarks.Workload;

namespace Vmsweep.Benchmarks.EndToEnd;

/// <summary>The command lines that are compared. Each writes its result to a file.</summary>
internal sealed class Programs(ImageSet set, BenchmarkRules rules, int threads)
{
    // Findings and gaps are results, not failures.
    private static readonly int[] ResultStatuses = [1, 3];

    private static string LauncherPath => Path.Combine(Repository.Root, "vmsweep");

    public static void Build() => Measured.Script("\"$1\" --version > /dev/null", [LauncherPath]);

    /// <param name="state">Folder of what is remembered.</param>
    /// <param name="more">Another file of rules.</param>
    public Cost Scan(string image, string report, string state = "none", string? more = null, params string[] options) =>
        Launch(report, [LauncherPath, "scan", image, .. RuleOptions, .. more is null ? (string[])[] : ["--rules", more], .. Threads, "--format", "json", "--no-progress", "--state", state, .. options]);

    /// <summary>A scan with one rule that never matches.</summary>
    public Cost ScanWithout(string image, string report)
    {
        string rule = Path.Combine(set.Scratch, "one.yar");
        File.WriteAllText(rule, "rule nothing { strings: $a = \"vmsweep benchmark, never there\" condition: $a and filesize == 1 }\n");
        return Launch(report, [LauncherPath, "scan", image, "--rules", rule, .. Threads, "--format", "json", "--no-progress", "--state", "none"]);
    }

    /// <summary>With the engines and lists that the options name.</summary>
    public Cost ScanEngines(string image, string report, params string[] options) =>
        Launch(report, [LauncherPath, "scan", image, .. options, .. Threads, "--format", "json", "--no-progress", "--state", "none"]);

    /// <summary>With one file of rules.</summary>
    public static Cost ScanWith(string image, string rules, string report, params string[] options) =>
        Launch(report, [LauncherPath, "scan", image, "--rules", rules, "--format", "json", "--no-progress", "--state", "none", .. options]);

    private static Cost Launch(string output, string[] command)
    {
        Cost cost = Measured.Script("out=$1; shift; \"$@\" > \"$out\" 2> \"$out.errors\"", [output, .. command], ResultStatuses);
        return new FileInfo(output).Length > 0 ? cost : throw new InvalidOperationException($"no result: {File.ReadAllText(output + ".errors")}");
    }

    public Cost Yara(string folder, string output) =>
        Measured.Script("out=$1; shift; \"$@\" > \"$out\" 2> \"$out.errors\"", [output, "yara", .. YaraArguments, folder]);

    /// <summary>Mounts read-only, matches, unmounts; ntfs-3g's own process counts.</summary>
    public Cost MountAndYara(string image, string mount, string output)
    {
        Directory.CreateDirectory(mount);
        return Measured.Script(
            """
            out=$1; image=$2; mount=$3; shift 3
            PATH=$PATH:/usr/sbin:/sbin
            ntfs-3g -o ro,no_detach "$image" "$mount" > "$out.mount" 2>&1 & daemon=$!
            for i in $(seq 200); do mountpoint -q "$mount" && break; sleep 0.02; done
            mountpoint -q "$mount"
            trap 'umount "$mount"; wait $daemon' EXIT
            "$@" "$mount" > "$out" 2> "$out.errors"
            """,
            [output, image, mount, "yara", .. YaraArguments]);
    }

    public Cost List(string image, string output) => List(image, output, threads);

    public static Cost List(string image, string output, int threads) => Launch(
        output,
        [LauncherPath, "ls", image, "-R", "--files", "--sha256", "--format", "tsv", "--threads", threads.ToString(CultureInfo.InvariantCulture), "--no-progress"]);

    /// <summary>Names and sizes alone.</summary>
    public static Cost ListNames(string image, string output) => Launch(output, [LauncherPath, "ls", image, "-R", "--files", "--format", "tsv", "--no-progress"]);

    public static Cost OpenSsl(string folder, string output, int processes = 2) =>
        Measured.Script("out=$(realpath \"$1\"); cd \"$2\"; find -type f -print0 | xargs -0 -P$3 -n200 openssl dgst -sha256 -r > \"$out\"", [output, folder, processes.ToString(CultureInfo.InvariantCulture)]);

    private string[] Threads => ["--threads", threads.ToString(CultureInfo.InvariantCulture)];

    public IEnumerable<string> RuleOptions => rules.Sources.SelectMany(s => new[] { "--rules", s });

    private IEnumerable<string> YaraArguments =>
        ["-r", "-w", "-e", "-p", threads.ToString(CultureInfo.InvariantCulture), .. rules.Files.Select(f => $"{f.Namespace}:{f.Path}")];
}
