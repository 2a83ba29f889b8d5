using System.CommandLine;
using Vmsweep.Benchmarks;
using Vmsweep.Benchmarks.EndToEnd;
using Vmsweep.Benchmarks.FileSystems;
using Vmsweep.Benchmarks.Hypervisors;
using Vmsweep.Benchmarks.Inventory;
using Vmsweep.Benchmarks.Measuring;
using Vmsweep.Benchmarks.Readers;
using Vmsweep.Benchmarks.Running;
using Vmsweep.Benchmarks.Signatures;
using Vmsweep.Benchmarks.Workload;

if (args is [NodesBenchmark.NodeCommand, var connection, var secret, var name, var count])
{
    return NodesBenchmark.RunNode(connection, secret, name, int.Parse(count, System.Globalization.CultureInfo.InvariantCulture));
}

var work = new Option<string>("--work") { Description = "Folder that keeps the files and images between runs.", DefaultValueFactory = _ => Path.Combine(Path.GetTempPath(), "vmsweep-benchmarks") };
var size = new Option<long>("--size") { Description = "Bytes of files, such as 600M.", DefaultValueFactory = _ => (4L << 30) + (64L << 20), CustomParser = r => Text.Bytes(r.Tokens[0].Value) };
var rounds = new Option<int>("--rounds") { Description = "How often each program runs.", DefaultValueFactory = _ => 3 };
var threads = new Option<int>("--threads") { Description = "Threads of every program that takes a number.", DefaultValueFactory = _ => Environment.ProcessorCount };
var ruleSources = new Option<string[]>("--rules") { Description = "Rule file or folder; by default the corpus and generated rules, 3,000 together. Repeatable." };
var byChance = new Option<int>("--by-chance") { Description = "So many of the generated rules are made from the files' own bytes and match nearly everywhere: the worst case." };
var noMount = new Option<bool>("--no-mount") { Description = "Leave out ntfs-3g mount + yara." };
string corpus = Environment.GetEnvironmentVariable("VMSWEEP_CORPUS") ?? Path.Combine(Repository.Root, "../shared/corpus");

Command Make(string name, string description, Func<ParseResult, ImageSet, BenchmarkRules, bool> run)
{
    var command = new Command(name, description) { work, size, rounds, threads, ruleSources, byChance, noMount };
    command.SetAction(parsed =>
    {
        Measured.Prepare();
        Programs.Build();
        ImageSet set = ImageSet.Make(Path.GetFullPath(parsed.GetRequiredValue(work)), parsed.GetValue(size));
        BenchmarkRules rules = BenchmarkRules.Make(parsed.GetValue(ruleSources) ?? [], corpus, set, parsed.GetValue(byChance));
        return run(parsed, set, rules) ? 0 : 1;
    });
    return command;
}

bool Scan(ParseResult p, ImageSet set, BenchmarkRules rules) => ScanBenchmark.Run(set, rules, p.GetValue(threads), p.GetValue(rounds), !p.GetValue(noMount));
bool List(ParseResult p, ImageSet set, BenchmarkRules rules) => ListBenchmark.Run(set, rules, p.GetValue(threads), p.GetValue(rounds));

bool Cache(ParseResult p, ImageSet set, BenchmarkRules rules) => CacheBenchmark.Run(set, rules, p.GetValue(threads), p.GetValue(rounds));

bool Clones(ParseResult p, ImageSet set, BenchmarkRules rules) =>
    ClonesBenchmark.Run(set, BenchmarkRules.Make(p.GetValue(ruleSources) ?? [], corpus, set, p.GetValue(byChance), fewAreCommon: true), rules, p.GetValue(threads), p.GetValue(rounds));

bool Engines(ParseResult p, ImageSet set, BenchmarkRules rules)
{
    EngineBenchmark.Run(set, rules, p.GetValue(threads), p.GetValue(rounds));
    return true;
}

var readers = new Command("readers", "vmsweep read against qemu-img convert, for each container; ciphers against openssl speed.") { work, size, rounds };
readers.SetAction(parsed =>
{
    Measured.Prepare();
    Programs.Build();
    CipherBenchmark.Run(parsed.GetValue(rounds));
    return ReadBenchmark.Run(ReaderImages.Make(Path.GetFullPath(parsed.GetRequiredValue(work)), parsed.GetValue(size)), parsed.GetValue(rounds)) ? 0 : 1;
});
var open = new Command("open", "Sparse disks of 62 TiB: time and memory until they are open, and of vmsweep info.") { work, rounds };
open.SetAction(parsed =>
{
    Measured.Prepare();
    Programs.Build();
    OpenBenchmark.Run(Path.GetFullPath(parsed.GetRequiredValue(work)), parsed.GetValue(rounds));
});
var files = new Option<int>("--files") { Description = "Files of the walk.", DefaultValueFactory = _ => 1_000_000 };
var mounts = new Command("file-systems", "vmsweep ls --sha256 against openssl over the kernel's mount and ntfs-3g's, for each file system.") { work, size, rounds, threads };
mounts.SetAction(parsed =>
{
    Measured.Prepare();
    Programs.Build();
    return MountBenchmark.Run(MountedImages.Make(Path.GetFullPath(parsed.GetRequiredValue(work)), parsed.GetValue(size)), parsed.GetValue(threads), parsed.GetValue(rounds)) ? 0 : 1;
});
var walk = new Command("walk", "Names of a million files in each file system: time and memory.") { work, files, rounds };
walk.SetAction(parsed =>
{
    Measured.Prepare();
    Programs.Build();
    WalkBenchmark.Run(Path.GetFullPath(parsed.GetRequiredValue(work)), parsed.GetValue(files), parsed.GetValue(rounds));
});
var decoders = new Command("decoders", "Packed files of NTFS and Btrfs in MB/s, beside 7-Zip and the kernel.") { work, rounds };
decoders.SetAction(parsed =>
{
    Measured.Prepare();
    return DecoderBenchmark.Run(Path.GetFullPath(parsed.GetRequiredValue(work)), parsed.GetValue(rounds)) ? 0 : 1;
});
var micro = new Command("micro", "Time and memory of readers, walks and decoders, by BenchmarkDotNet.") { work };
micro.SetAction(parsed => Micro.Run(Path.GetFullPath(parsed.GetRequiredValue(work))));

var entries = new Option<long>("--entries") { Description = "Hashes in the set.", DefaultValueFactory = _ => 50_000_000 };
var hashes = new Command("hashes", "A compiled set of SHA-256 hashes: size beside its text, time to build, check and look up.") { work, entries };
hashes.SetAction(parsed => HashSetBenchmark.Run(Path.GetFullPath(parsed.GetRequiredValue(work)), parsed.GetValue(entries)) ? 0 : 1);

var copies = new Option<int>("--copies") { Description = "Archives of each nesting.", DefaultValueFactory = _ => 8 };
var archives = new Command("archives", "Members of archives in archives: how many are found and in what time, beside clamscan.") { work, copies, rounds };
archives.SetAction(parsed =>
{
    Measured.Prepare();
    Programs.Build();
    ArchiveBenchmark.Run(Path.GetFullPath(parsed.GetRequiredValue(work)), parsed.GetValue(copies), parsed.GetValue(rounds));
});

var vsphere = new Command("vsphere", "A VM's disk from a simulated vCenter against curl, and an inventory of ten thousand VMs.") { rounds };
vsphere.SetAction(parsed =>
{
    Measured.Prepare();
    Programs.Build();
    return VSphereBenchmark.Run(parsed.GetValue(rounds)) ? 0 : 1;
});
var bytes = new Option<long>("--bytes") { Description = "Size of the disk.", DefaultValueFactory = _ => 1L << 30, CustomParser = r => Text.Bytes(r.Tokens[0].Value) };
var nbd = new Command("nbd", "The NBD client against nbdcopy, on the same server.") { work, bytes, rounds };
nbd.SetAction(parsed => NbdBenchmark.Run(Path.GetFullPath(parsed.GetRequiredValue(work)), parsed.GetValue(bytes), parsed.GetValue(rounds)));
var vms = new Option<int>("--vms") { Description = "VMs of the datastore.", DefaultValueFactory = _ => 10_000 };
var inventory = new Command("inventory", "The ownership graph of a datastore of ten thousand VMs and fifty thousand files.") { work, vms, rounds };
inventory.SetAction(parsed =>
{
    Measured.Prepare();
    Programs.Build();
    return DatastoreBenchmark.Run(Path.GetFullPath(parsed.GetRequiredValue(work)), parsed.GetValue(vms), parsed.GetValue(rounds)) ? 0 : 1;
});
var running = new Command("running", "A running VM: time to the first file, the guest's own writes before, during and after, a second scan, guest memory.") { rounds };
running.SetAction(parsed =>
{
    Programs.Build();
    RunningBenchmark.Run(parsed.GetValue(rounds));
});
var governor = new Command("governor", "The sweep's latency governor against an NBD server that gets slower under load.");
governor.SetAction(_ => GovernorBenchmark.Run() ? 0 : 1);
var planned = new Option<int>("--vms") { Description = "VMs of the sweep.", DefaultValueFactory = _ => 48 };
var nodes = new Command("nodes", "Four nodes on one PostgreSQL against one, with an engine that sleeps; one of four killed at work.") { planned };
nodes.SetAction(parsed => NodesBenchmark.Run(parsed.GetValue(planned)) ? 0 : 1);

var root = new RootCommand("Measures vmsweep against other programs on the same files. Ratios only: absolute times say as much about the machine.")
{
    Make("end-to-end", "scan and ls.", (p, set, rules) => Scan(p, set, rules) & List(p, set, rules)),
    Make("scan", "vmsweep scan against yara over extracted files and over an ntfs-3g mount.", Scan),
    Make("ls", "vmsweep ls --sha256 against openssl over extracted files.", List),
    Make("cache", "vmsweep scan a second time, and after rules were added, against the first scan.", Cache),
    Make("clones", "Twenty linked clones and twenty full copies against their base, and a disk over a base again after a hundredth was written.", Clones),
    Make("engines", "vmsweep scan with each engine alone, and with all three.", Engines),
    archives,
    readers,
    open,
    mounts,
    walk,
    decoders,
    micro,
    hashes,
    vsphere,
    nbd,
    running,
    governor,
    nodes,
    inventory,
};
return root.Parse(args).Invoke();
