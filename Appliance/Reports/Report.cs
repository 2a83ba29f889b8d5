using System.Text.Json;
using System.Text.Json.Serialization;
using Vmsweep.Appliance.Results;
using Vmsweep.DiskReaders.Inspection.Guest;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Reports;

/// <summary>What a run found and what it did not read: schema <c>vmsweep.report/1</c>. Fields are only ever added.</summary>
internal sealed record Report
{
    public string Schema { get; init; } = "vmsweep.report/1";

    /// <summary><c>detected</c>, <c>clean</c> or <c>incomplete</c>.</summary>
    public required string Verdict { get; init; }

    public required DateTimeOffset StartedAt { get; init; }

    public required DateTimeOffset FinishedAt { get; init; }

    /// <summary><c>full</c> or <c>reduced</c>.</summary>
    public required string Sandbox { get; init; }

    /// <summary>Why the sandbox is reduced; absent when it is full.</summary>
    public string? SandboxDetail { get; init; }

    public required IReadOnlyList<EngineReport> Engines { get; init; }

    /// <summary>The signature bundle that was used; absent when none was.</summary>
    public BundleReport? Bundle { get; init; }

    /// <summary>Rules that did not compile, lines of lists and entries of allow lists: what was left out.</summary>
    public required IReadOnlyList<RuleFaultReport> RuleFaults { get; init; }

    public required IReadOnlyList<TargetReport> Targets { get; init; }

    public required ReportTotals Totals { get; init; }
}

/// <param name="Rules">Null where the engine does not say.</param>
/// <param name="Bundle">Empty where the engine does not say what it matches with.</param>
internal sealed record EngineReport(string Name, string Version, int? Rules, string Bundle)
{
    /// <summary>In place of a version that cannot be asked for.</summary>
    public const string Unknown = "unknown";

    /// <summary>How new the signatures are; absent where nothing tells.</summary>
    public DateTimeOffset? SignatureDate { get; init; }

    /// <summary>Why the engine did not take part, or not fully; absent when it did.</summary>
    public string? Fault { get; init; }

    public static EngineReport Of(EngineFacts facts) => new(facts.Name, facts.Version, facts.Rules, facts.Bundle) { SignatureDate = facts.SignatureDate };
}

internal sealed record RuleFaultReport(string File, int Line, string Message)
{
    public static string Text(IEnumerable<RuleFaultReport> faults) => string.Join('\n', faults.Select(f => $"{f.File}:{f.Line}: {f.Message}"));
}

internal sealed record TargetReport
{
    public required string Target { get; init; }

    public required VmReport Vm { get; init; }

    /// <summary>The earlier state that was read; absent for the present one.</summary>
    public string? Snapshot { get; init; }

    /// <summary>Earlier states that the VM's files keep; absent where they were not asked for.</summary>
    public IReadOnlyList<SnapshotReport>? Snapshots { get; init; }

    /// <summary>What the disks say of the system on them; absent where they say nothing.</summary>
    public GuestFacts? Guest { get; set; }

    public List<DiskReport> Disks { get; } = [];

    /// <summary>Memory of a suspended VM or a snapshot; absent where there is none.</summary>
    public MemoryReport? Memory { get; set; }

    public List<FindingReport> Findings { get; } = [];

    public List<GapReport> Gaps { get; } = [];

    /// <summary>What is worth knowing of how the VM was read, and kept nothing from being read; absent where there is nothing.</summary>
    public List<string>? Notes { get; set; }

    /// <summary>Executables that were there, for the store of results alone; empty where nothing is recorded.</summary>
    [JsonIgnore]
    public List<SeenContent> Seen { get; } = [];

    /// <summary>More executables than are kept.</summary>
    [JsonIgnore]
    public long SeenLeftOut { get; set; }

    /// <summary>What of it may be read after all when it is tried again, for a sweep alone.</summary>
    [JsonIgnore]
    public ReadLoss Loss { get; set; }

    /// <summary>What was done to the VM because of a detection; absent where nothing was asked for.</summary>
    public List<ActReport>? Acts { get; set; }

    /// <summary>What the scan owes to an earlier one; absent where it was not asked to read changes only.</summary>
    public ChangesReport? Changes { get; set; }
}

/// <summary>How a scan that was to read only what changed went about it.</summary>
/// <param name="Since">When the scan ran that this one builds on; absent where all was read.</param>
/// <param name="IsKept">The next such scan can build on this one.</param>
/// <param name="Detail">Why it reads or keeps less than was asked for; empty where it does not.</param>
internal sealed record ChangesReport(DateTimeOffset? Since, bool IsKept, string Detail);

/// <summary>Something that was done to a VM.</summary>
/// <param name="Act"><c>annotate</c>, <c>suspend</c>, <c>disconnect</c>, <c>tag</c> or <c>keep</c>.</param>
/// <param name="Undo">The command that undoes it; empty where nothing was done.</param>
internal sealed record ActReport(string Act, bool IsDone, string Detail, string Undo);

/// <param name="Id">What names the VM for good: its BIOS UUID, or the configuration's or image's path.</param>
/// <param name="Power"><c>off</c>, <c>suspended</c>, <c>running</c> or <c>unknown</c>.</param>
/// <param name="GuestOs">As the configuration declares it.</param>
internal sealed record VmReport(string Id, string Name, string Power, string GuestOs);

/// <param name="Parent">Id of the state it came from.</param>
/// <param name="IsCurrent">The present state came from it.</param>
internal sealed record SnapshotReport(string Id, string Name, DateTimeOffset? Created, string? Parent, bool IsCurrent);

internal sealed record DiskReport
{
    public required string Path { get; init; }

    public string Format { get; set; } = "unknown";

    public long SizeBytes { get; set; }

    public int SectorBytes { get; set; }

    /// <summary><c>mbr</c>, <c>gpt</c> or <c>none</c>; empty when the disk could not be opened.</summary>
    public string Scheme { get; set; } = "";

    public List<ChainReport> Chain { get; set; } = [];

    public List<VolumeReport> Volumes { get; } = [];

    /// <summary>Bytes outside every volume: partition tables and the gaps between partitions.</summary>
    public CoverageCounts Outside { get; set; } = new();
}

internal sealed record ChainReport(string Path, string Format);

internal sealed record VolumeReport
{
    public required string Id { get; init; }

    public required string Scheme { get; init; }

    /// <summary>The volume manager's name of it, such as <c>vg0/root</c>; empty where it has none.</summary>
    public string Name { get; init; } = "";

    public required string FileSystem { get; init; }

    public required string Label { get; init; }

    /// <summary>UUID or serial number of the file system.</summary>
    public string Uuid { get; init; } = "";

    /// <summary>Partition type as the table has it; of an assembled or unlocked volume how it lies on its members.</summary>
    public string PartitionType { get; init; } = "";

    public required long OffsetBytes { get; init; }

    public required long SizeBytes { get; init; }

    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>Where the guest shows the volume: <c>C:</c>, <c>/home</c>; absent where it is not known.</summary>
    public IReadOnlyList<string>? MountPoints { get; set; }

    public FileCounts Files { get; set; } = new();

    public ByteCounts Bytes { get; set; } = new();
}

/// <param name="Inherited">Beside those scanned: they show through whole from a base that was scanned, and that other VMs may be made over.</param>
/// <param name="Cached">Of those scanned: matched by an earlier scan already, so that at most rules added since were run.</param>
/// <param name="KnownGood">Of those scanned: by their hash alone, because a set of known-good hashes has it.</param>
/// <param name="Unchanged">Beside those scanned: an earlier scan did, and the hypervisor says that none of their bytes was written since.</param>
internal sealed record FileCounts(long Seen = 0, long Scanned = 0, long Inherited = 0, long Cached = 0, long KnownGood = 0, long Unchanged = 0);

/// <param name="Unchanged">Of the files that are unchanged: not read.</param>
/// <param name="Inherited">Of the files that are inherited: not read.</param>
internal sealed record ByteCounts(long Seen = 0, long Read = 0, long Unchanged = 0, long Inherited = 0);

/// <summary>How much of a volume, or of what lies outside volumes, was seen and scanned.</summary>
internal sealed record CoverageCounts(long FilesSeen = 0, long FilesScanned = 0, long BytesSeen = 0, long BytesRead = 0, long FilesCached = 0)
{
    /// <summary>Part of what was scanned.</summary>
    public long FilesKnownGood { get; init; }

    /// <summary>Not part of what was scanned.</summary>
    public long FilesUnchanged { get; init; }

    public long BytesUnchanged { get; init; }

    /// <summary>Not part of what was scanned.</summary>
    public long FilesInherited { get; init; }

    public long BytesInherited { get; init; }

    [JsonIgnore]
    public bool IsSound => FilesInherited >= 0 && BytesInherited >= 0 && FilesUnchanged >= 0 && BytesUnchanged >= 0 && FilesKnownGood >= 0 && FilesSeen >= 0 && FilesScanned >= 0 && FilesCached >= 0 && BytesSeen >= 0 && BytesRead >= 0;
}

internal sealed record FindingReport
{
    public required string Path { get; init; }

    /// <summary>The path as the guest's owner knows it, <c>C:\Users\...</c> or <c>/home/...</c>; absent where it is not known.</summary>
    public string? GuestPath { get; init; }

    /// <summary>Other names of the same content: hard links, and duplicates that were matched once.</summary>
    public IReadOnlyList<string> AlsoAt { get; init; } = [];

    public required long SizeBytes { get; init; }

    public required string Sha256 { get; init; }

    public required string Engine { get; init; }

    public required string Rule { get; init; }

    public required string Namespace { get; init; }

    public IReadOnlyList<string> Tags { get; init; } = [];

    public IReadOnlyDictionary<string, JsonElement> Meta { get; init; } = new Dictionary<string, JsonElement>();

    public required string Severity { get; init; }

    public IReadOnlyList<MatchReport> Matches { get; init; } = [];

    public IReadOnlyList<string> Inside { get; init; } = [];

    /// <summary>An allow list's entry fits: it does not count. Absent: it does.</summary>
    public SuppressedReport? Suppressed { get; init; }

    /// <summary>True: an earlier scan found it, and what it was found in was not written since; absent when it was found now.</summary>
    public bool? Unchanged { get; init; }

    /// <summary>True: found in a base that this VM is made over, where what it was found in shows through; absent when it was found now.</summary>
    public bool? Inherited { get; init; }

    /// <summary>Where it lies in the guest's memory; absent for files.</summary>
    public MemoryPlace? Memory { get; init; }
}

internal sealed record MatchReport(string String, long Offset, int Length)
{
    /// <summary>In memory: the address that its process, or the kernel, knows it by; absent where that is not known and for files.</summary>
    public string? VirtualAddress { get; init; }
}

internal sealed record GapReport(string Fault, string Path, string Structure, long Offset, long Bytes, string Detail)
{
    /// <summary>As of findings: the members on the way to what was not scanned; absent for the file itself.</summary>
    public IReadOnlyList<string>? Inside { get; init; }
}

/// <summary>Why a VM was not read to its end, where that may pass; what is worse stands later.</summary>
internal enum ReadLoss
{
    None,

    /// <summary>Something of it could not be opened.</summary>
    Part,

    /// <summary>Bytes did not come.</summary>
    Bytes,

    /// <summary>The hypervisor did not answer.</summary>
    Hypervisor,
}

/// <summary>How reports and worker messages become JSON.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    WriteIndented = true)]
[JsonSerializable(typeof(Report))]
internal sealed partial class ReportJson : JsonSerializerContext;

/// <summary>Values of a rule's <c>meta</c>.</summary>
[JsonSerializable(typeof(string))]
[JsonSerializable(typeof(long))]
[JsonSerializable(typeof(bool))]
internal sealed partial class MetaJson : JsonSerializerContext;
