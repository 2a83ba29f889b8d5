using System.Text.Json.Serialization;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.DiskReaders.Inspection.Guest;
using Vmsweep.Signatures.Archives;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Worker;

/// <summary>What a worker is asked to do. One job for each worker; it ends with it.</summary>
internal abstract record WorkerJob
{
    public required WorkerLimits Limits { get; init; }

    /// <summary>Unix sockets, by sandbox paths, that the job may connect to. Without any it may make no socket at all.</summary>
    public IReadOnlyList<string> Sockets { get; init; } = [];
}

/// <summary>What a worker may use.</summary>
/// <param name="HeapBytes">Managed and rented memory.</param>
/// <param name="CpuSeconds">Processor time, after which the kernel ends it.</param>
internal sealed record WorkerLimits(long HeapBytes, long CpuSeconds);

/// <summary>Compiles rules and answers with the compiled bundle as data frames.</summary>
/// <param name="Sources">Rule files and folders as the sandbox sees them.</param>
/// <param name="Builtin">The built-in rules are part of it.</param>
/// <param name="Strict">A rule that does not compile ends the job.</param>
internal sealed record CompileJob(IReadOnlyList<string> Sources, bool Builtin, bool Strict) : WorkerJob
{
    /// <summary>Sets of rule ids that are compiled already: where little is missing in one of them, only that is compiled.</summary>
    public IReadOnlyList<byte[]> Compiled { get; init; } = [];

    /// <summary>Sets of rule ids that verdicts were made with: what was added to each since is compiled by itself.</summary>
    public IReadOnlyList<byte[]> Decided { get; init; } = [];
}

/// <summary>Checks and counts what stands in the parts of a bundle. Anything that is wrong with one ends the job.</summary>
/// <param name="Folder">What the parts' paths are relative to, as the sandbox sees it.</param>
/// <param name="Parts">The parts' paths.</param>
internal sealed record CheckPartsJob(string Folder, IReadOnlyList<string> Parts) : WorkerJob;

/// <summary>Runs rules over known good files: what matches is a false alarm, and each rule's cost is measured.</summary>
/// <param name="Sources">Rule files and folders as the sandbox sees them.</param>
/// <param name="Builtin">The built-in rules are part of it.</param>
/// <param name="HashSets">Compiled sets of hashes, which must know none of the files.</param>
/// <param name="Folder">The good files.</param>
/// <param name="SampleBytes">How much of them each rule alone is measured on.</param>
/// <param name="MemoryBytes">The largest file that is held at once.</param>
/// <param name="TimeoutSeconds">For one file.</param>
internal sealed record TryRulesJob(IReadOnlyList<string> Sources, bool Builtin, IReadOnlyList<string> HashSets, string Folder, long SampleBytes, long MemoryBytes, int TimeoutSeconds) : WorkerJob;

/// <summary>A job on the disks of one VM: volumes may lie on several of them.</summary>
internal abstract record VmJob : WorkerJob
{
    /// <summary>Each disk's files, by sandbox paths.</summary>
    public required IReadOnlyList<ChainPlan> Disks { get; init; }

    /// <summary>A file is packed as one stream: several threads at several places of it would each send it back to an earlier one.</summary>
    [JsonIgnore]
    public bool IsOneStream => Disks.Any(d => d.Files.Any(f => f.IsGzip));

    /// <summary>The VM's memory, by sandbox paths; null where it has none or it is left out.</summary>
    public MemoryPlan? Memory { get; init; }

    /// <summary>What unlocks encrypted volumes. Never part of a command line or an environment.</summary>
    public IReadOnlyList<byte[]> Secrets { get; init; } = [];

    /// <summary>Which states of volumes: null for the present one, <c>all</c>, or the id of an earlier one that a volume keeps of itself.</summary>
    public string? VolumeStates { get; init; }

    /// <summary>Deleted files are listed too.</summary>
    public bool IncludeDeleted { get; init; }

    /// <summary>The worker's standard output is the user's own: content goes there, and messages go to standard error.</summary>
    public bool OwnsOutput { get; init; }
}

/// <param name="Rules">Compiled rules; null when YARA is not asked for.</param>
/// <param name="HashSets">Compiled sets of malware's hashes.</param>
/// <param name="Threads">Matching threads.</param>
/// <param name="MemoryBytes">Content held at once; larger files are matched in windows.</param>
/// <param name="TimeoutSeconds">For one content.</param>
internal sealed record ScanJob(ScanRules? Rules, IReadOnlyList<string> HashSets, int Threads, long MemoryBytes, int TimeoutSeconds) : VmJob
{
    /// <summary>
    /// What is to be run over a content of which a verdict is known, by the number of the plan that comes with the verdict: rules that were
    /// added since it was made, or nothing. Null when nothing is remembered; otherwise the worker asks, and standard input has the answers.
    /// </summary>
    public IReadOnlyList<DataPart>? Plans { get; init; }

    /// <summary>Compiled sets of hashes whose contents are not matched.</summary>
    public IReadOnlyList<string> KnownGood { get; init; } = [];

    /// <summary>Where <c>clamd</c> is reached, one of <see cref="WorkerJob.Sockets"/>; null when ClamAV is not asked for.</summary>
    public string? ClamdSocket { get; init; }

    /// <summary>Budgets for what is inside of each content; null when it is not opened.</summary>
    public ArchiveLimits? Archives { get; init; }

    /// <summary>Where executables are is recorded.</summary>
    public bool KeepsSeen { get; init; }

    /// <summary>What of the disks is known to be as it was; null when contents are not traced.</summary>
    public TracingJob? Tracing { get; init; }

    /// <summary>The layers of the disks' chains of which something is known or is to be; null: none.</summary>
    public LayersJob? Layers { get; init; }

    /// <summary>The part, by bytes, of what need not be read that is read all the same, to see that it is what it was.</summary>
    public double RecheckShare { get; init; }

    /// <summary>How fast stored bytes may be read; null: as fast as they come.</summary>
    public PacingJob? Pacing { get; init; }
}

/// <summary>Stored bytes are read no faster than the supervisor says while the job runs.</summary>
/// <param name="Rates">A file by its sandbox path: for each store a little-endian i64 of bytes a second, 0 to stop, -1 for no limit. The supervisor writes into it.</param>
/// <param name="Stores">The number of the store that each of the job's disks lies on. Memory belongs to the first disk's.</param>
internal sealed record PacingJob(string Rates, IReadOnlyList<int> Stores);

/// <summary>Contents are traced to where they stand on the disks, so that this scan or the next need not read what did not change.</summary>
/// <param name="Key">Of this VM, not known to its guest: traces are short, and nobody may look for two contents that have the same.</param>
/// <param name="Disks">In the order of the job's.</param>
/// <param name="Earlier">What <see cref="Pipeline.Changes.EarlierTraces"/> reads, by its sandbox path; null when nothing is known of before.</param>
internal sealed record TracingJob(byte[] Key, IReadOnlyList<TracedDisk> Disks, string? Earlier)
{
    /// <summary>Of all disks together: a job is one frame.</summary>
    public const int MostRanges = 1 << 15;
}

/// <param name="Name">What tells the disk from the VM's others, now and before.</param>
/// <param name="Changed">Offset and length of each range that may have changed, in order; null when all of it may have.</param>
internal sealed record TracedDisk(string Name, IReadOnlyList<ChangedRange>? Changed);

/// <summary>Layers that other VMs may be made over too: what shows through from one whole, and was matched there, need not be read.</summary>
/// <param name="Layers">Each once, whatever disks have it.</param>
/// <param name="Disks">In the order of the job's.</param>
internal sealed record LayersJob(IReadOnlyList<LayerTraces> Layers, IReadOnlyList<LayeredDisk> Disks);

/// <param name="Key">Of the layer, not known to any guest.</param>
/// <param name="Earlier">What <see cref="Pipeline.Changes.EarlierTraces"/> reads, by its sandbox path; null when nothing is known yet.</param>
internal sealed record LayerTraces(byte[] Key, string? Earlier);

internal sealed record LayeredDisk(IReadOnlyList<DiskLayer> Layers);

/// <param name="Depth">How many layers are above it.</param>
/// <param name="File">The number of its top file in the disk's plan.</param>
/// <param name="Layer">The number in <see cref="LayersJob.Layers"/>.</param>
internal sealed record DiskLayer(int Depth, int File, int Layer);

/// <summary>Where something lies in a file of several.</summary>
internal readonly record struct DataPart(long Offset, long Length)
{
    [JsonIgnore]
    public bool IsEmpty => Length == 0;
}

/// <param name="Own">What was compiled for this run, and the index of all its rules.</param>
/// <param name="Base">What was compiled before and holds the rest of the rules; null when nothing is missing in <paramref name="Own"/>.</param>
internal sealed record ScanRules(RuleFileParts Own, RuleFileParts? Base);

/// <param name="Path">As the sandbox has it.</param>
internal sealed record RuleFileParts(string Path, CompiledParts Parts);

/// <param name="Index">The identities of the run's rules.</param>
/// <param name="Content">Rules that follow from content alone.</param>
/// <param name="Volatile">Rules that ask for more.</param>
internal sealed record CompiledParts(DataPart Index, DataPart Content, DataPart Volatile);

internal sealed record InfoJob : VmJob;

/// <param name="Path">Only this volume, folder or file; empty for all.</param>
/// <param name="Recursive">Everything below, not only the folder's own entries.</param>
/// <param name="FilesOnly">Leaves out folders, links and devices.</param>
/// <param name="Sha256">Hashes contents.</param>
/// <param name="Threads">Hashing threads.</param>
internal sealed record ListJob(string Path, bool Recursive, bool FilesOnly, bool Sha256, int Threads) : VmJob;

internal sealed record CatJob(string Path) : VmJob;

/// <param name="Length">-1: to the end.</param>
internal sealed record ReadJob(long Offset, long Length) : VmJob;

/// <summary>What a worker says. The supervisor believes none of it further than it must: texts are escaped where they are shown.</summary>
internal abstract record WorkerEvent;

/// <param name="Index">Which of the job's disks.</param>
internal sealed record DiskEvent(int Index, string Format, long SizeBytes, int SectorBytes, string Scheme, IReadOnlyList<ChainReport> Chain) : WorkerEvent;

/// <param name="Disk">Which of the job's disks it stands on.</param>
internal sealed record VolumeEvent(int Disk, VolumeReport Volume) : WorkerEvent;

/// <summary>What the VM's disks say of its system; said once, and only when there is one.</summary>
internal sealed record GuestEvent(GuestFacts Guest) : WorkerEvent;

/// <summary>What is known of the VM's memory; said again when more is known.</summary>
internal sealed record MemoryEvent(MemoryReport Memory) : WorkerEvent;

internal sealed record FindingEvent(FindingReport Finding) : WorkerEvent;

internal sealed record GapEvent(GapReport Gap) : WorkerEvent;

/// <param name="Steps">Grows with everything that is done, so that a supervisor can tell work from a hang.</param>
/// <param name="Coverage">By volume id; a disk's prefix, empty where there is one disk, is what lies outside its volumes.</param>
internal sealed record ProgressEvent(long Steps, long BytesDone, long BytesTotal, IReadOnlyDictionary<string, CoverageCounts> Coverage) : WorkerEvent;

/// <summary>How storage answered since the last such event; one for each store of the job.</summary>
internal sealed record PaceEvent(IReadOnlyList<StorePace> Stores) : WorkerEvent
{
    public const int MostStores = 4096;
}

/// <param name="Microseconds">All reads' time together, from asking to the last byte.</param>
/// <param name="LongestMicroseconds">Of one read.</param>
/// <param name="WaitedMicroseconds">For leave to read, all threads together.</param>
internal sealed record StorePace(long Reads, long Bytes, long Microseconds, long LongestMicroseconds, long WaitedMicroseconds);

internal sealed record EntriesEvent(IReadOnlyList<ListEntry> Entries) : WorkerEvent;

/// <param name="Path">In the contract's escaped form.</param>
/// <param name="Kind"><c>file</c>, <c>folder</c>, <c>link</c> or <c>device</c>.</param>
/// <param name="Sha256">Empty when not asked for or when the content cannot be read.</param>
internal sealed record ListEntry(string Path, string Kind, long SizeBytes, string Sha256);

internal sealed record CompiledEvent(IReadOnlyList<EngineReport> Engines, IReadOnlyList<RuleFaultReport> Faults, CompiledRules? Rules = null) : WorkerEvent;

/// <summary>What the data frames of a compilation hold.</summary>
/// <param name="All">Ids of all rules in use.</param>
/// <param name="Decisive">Ids of those that a verdict on content follows from: neither private nor volatile.</param>
/// <param name="Base">The number of the job's compiled set that holds what is not in the data; -1: the data holds all.</param>
/// <param name="Added">For each of the job's decided sets the rules that were added; empty when there are none, null when there are too many to be worth it.</param>
/// <param name="LibraryFile">The engine's own file.</param>
internal sealed record CompiledRules(byte[] All, byte[] Decisive, int Base, CompiledParts Parts, IReadOnlyList<DataPart?> Added, string LibraryFile)
{
    /// <summary>A rule asks what time it is.</summary>
    public bool AsksTime { get; init; }
}

/// <summary>What is known of these contents? Answered on the worker's standard input, in the order of asking.</summary>
/// <param name="Keys">One after another, as <see cref="ContentKey"/> writes them.</param>
internal sealed record AskEvent(byte[] Keys) : WorkerEvent
{
    /// <summary>More in one question would make its answer too long for a frame.</summary>
    public const int MostKeys = 64;

    /// <summary>Sends the answer; set by whoever listens to the worker.</summary>
    [JsonIgnore]
    public Action<ReadOnlyMemory<byte>>? Answer { get; set; }
}

/// <summary>Verdicts to be remembered.</summary>
internal sealed record KeepEvent(IReadOnlyList<KeptVerdict> Verdicts) : WorkerEvent
{
    public const int MostVerdicts = 4096;
}

/// <param name="Key">As <see cref="ContentKey"/> writes it.</param>
/// <param name="Payload">As <c>VerdictPayload</c> has it; to the supervisor it is bytes.</param>
/// <param name="HangsOnHashLists">It holds only as long as the run's hash lists stay the same.</param>
internal sealed record KeptVerdict(byte[] Key, byte[] Payload, bool HangsOnHashLists)
{
    /// <summary>A longer one is not worth keeping, and an answer of <see cref="AskEvent.MostKeys"/> of them still fits a frame.</summary>
    public const int MostPayloadBytes = 128 << 10;
}

/// <summary>Contents that were done without a gap.</summary>
/// <param name="Traces">One after another, <see cref="Pipeline.Changes.EarlierTraces.RecordBytes"/> each.</param>
/// <param name="Findings">For those with findings.</param>
internal sealed record TracedEvent(byte[] Traces, IReadOnlyList<TracedFindings> Findings) : WorkerEvent
{
    public const int MostTraces = 4096;

    /// <summary>The job's number of the layer that they belong to; -1: to the VM.</summary>
    public int Layer { get; init; } = -1;
}

/// <summary>Contents that were not to have changed have.</summary>
/// <param name="Layers">The job's numbers of the layers that they lie in; -1: of the VM's own disks.</param>
internal sealed record DisprovedEvent(IReadOnlyList<int> Layers) : WorkerEvent;

/// <param name="Trace">One of the event's.</param>
/// <param name="Payload">The findings, which are bytes to the supervisor.</param>
internal sealed record TracedFindings(byte[] Trace, byte[] Payload)
{
    public const int MostPayloadBytes = 128 << 10;
}

/// <summary>Where executables are.</summary>
/// <param name="LeftOut">How many more there are than are told; in the last event.</param>
internal sealed record SeenEvent(IReadOnlyList<SeenContent> Contents, long LeftOut) : WorkerEvent
{
    public const int MostContents = 1024;
}

/// <param name="Counts">Rules, hashes, signatures or entries of each part, in the order of the job.</param>
internal sealed record PartsCheckedEvent(IReadOnlyList<long> Counts) : WorkerEvent;

internal sealed record RulesTriedEvent(RuleTrial Trial) : WorkerEvent;

/// <summary>The job could not be carried out: rules that do not compile, a path that is not there.</summary>
internal sealed record FailedEvent(string Message) : WorkerEvent;

internal sealed record DoneEvent : WorkerEvent;

// Strict, so that a field that a broken worker leaves out is found here and not where it is used.
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(CompileJob))]
[JsonSerializable(typeof(CheckPartsJob))]
[JsonSerializable(typeof(TryRulesJob))]
[JsonSerializable(typeof(ScanJob))]
[JsonSerializable(typeof(InfoJob))]
[JsonSerializable(typeof(ListJob))]
[JsonSerializable(typeof(CatJob))]
[JsonSerializable(typeof(ReadJob))]
[JsonSerializable(typeof(DiskEvent))]
[JsonSerializable(typeof(VolumeEvent))]
[JsonSerializable(typeof(GuestEvent))]
[JsonSerializable(typeof(MemoryEvent))]
[JsonSerializable(typeof(FindingEvent))]
[JsonSerializable(typeof(GapEvent))]
[JsonSerializable(typeof(ProgressEvent))]
[JsonSerializable(typeof(PaceEvent))]
[JsonSerializable(typeof(EntriesEvent))]
[JsonSerializable(typeof(CompiledEvent))]
[JsonSerializable(typeof(PartsCheckedEvent))]
[JsonSerializable(typeof(RulesTriedEvent))]
[JsonSerializable(typeof(AskEvent))]
[JsonSerializable(typeof(KeepEvent))]
[JsonSerializable(typeof(TracedEvent))]
[JsonSerializable(typeof(DisprovedEvent))]
[JsonSerializable(typeof(SeenEvent))]
[JsonSerializable(typeof(FailedEvent))]
[JsonSerializable(typeof(DoneEvent))]
[JsonSerializable(typeof(List<RuleIdentity>))]
internal sealed partial class MessageJson : JsonSerializerContext;
