using System.Text.Json.Serialization;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.DiskReaders.Inspection.Guest;
using Vmsweep.Signatures.Archives;

namespace Vmsweep.Appliance.Worker;

/// <summary>What a worker is asked to do. One job for each worker; it ends with it.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "job")]
[JsonDerivedType(typeof(CompileJob), "compile")]
[JsonDerivedType(typeof(ScanJob), "scan")]
[JsonDerivedType(typeof(InfoJob), "info")]
[JsonDerivedType(typeof(ListJob), "list")]
[JsonDerivedType(typeof(CatJob), "cat")]
[JsonDerivedType(typeof(ReadJob), "read")]
internal abstract record WorkerJob
{
    public required WorkerLimits Limits { get; init; }
}

/// <summary>What a worker may use.</summary>
/// <param name="HeapBytes">Managed and rented memory.</param>
/// <param name="CpuSeconds">Processor time, after which the kernel ends it.</param>
internal sealed record WorkerLimits(long HeapBytes, long CpuSeconds);

/// <summary>Compiles rules and hash lists and answers with the compiled bundle as data frames.</summary>
/// <param name="Sources">Rule files and folders as the sandbox sees them.</param>
/// <param name="Builtin">The built-in rules are part of it.</param>
/// <param name="HashLists">Hash lists, to be checked only; workers read them by themselves.</param>
/// <param name="Strict">A rule that does not compile, or a line that is no hash, ends the job.</param>
internal sealed record CompileJob(IReadOnlyList<string> Sources, bool Builtin, IReadOnlyList<string> HashLists, bool Strict) : WorkerJob;

/// <summary>A job on the disks of one VM: volumes may lie on several of them.</summary>
internal abstract record VmJob : WorkerJob
{
    /// <summary>Each disk's files, by sandbox paths.</summary>
    public required IReadOnlyList<ChainPlan> Disks { get; init; }

    /// <summary>What unlocks encrypted volumes. Never part of a command line or an environment.</summary>
    public IReadOnlyList<byte[]> Secrets { get; init; } = [];

    /// <summary>Which states of volumes: null for the present one, <c>all</c>, or the id of an earlier one that a volume keeps of itself.</summary>
    public string? VolumeStates { get; init; }

    /// <summary>Deleted files are listed too.</summary>
    public bool IncludeDeleted { get; init; }

    /// <summary>The worker's standard output is the user's own: content goes there, and messages go to standard error.</summary>
    public bool OwnsOutput { get; init; }
}

/// <param name="RulesPath">The compiled bundle; null when YARA is not asked for.</param>
/// <param name="HashLists">Hash lists.</param>
/// <param name="Threads">Matching threads.</param>
/// <param name="MemoryBytes">Content held at once; larger files are matched in windows.</param>
/// <param name="TimeoutSeconds">For one content.</param>
internal sealed record ScanJob(string? RulesPath, IReadOnlyList<string> HashLists, int Threads, long MemoryBytes, int TimeoutSeconds) : VmJob
{
    /// <summary>Budgets for what is inside of each content; null when it is not opened.</summary>
    public ArchiveLimits? Archives { get; init; }
}

internal sealed record InfoJob : VmJob;

/// <param name="Path">Only this volume, folder or file; empty for all.</param>
/// <param name="Recursive">Everything below, not only the folder's own entries.</param>
/// <param name="FilesOnly">Leaves out folders, links and devices.</param>
/// <param name="Sha256">Hashes contents.</param>
/// <param name="Threads">Hashing threads.</param>
/// <param name="MemoryBytes">Content held at once.</param>
internal sealed record ListJob(string Path, bool Recursive, bool FilesOnly, bool Sha256, int Threads, long MemoryBytes) : VmJob;

internal sealed record CatJob(string Path) : VmJob;

/// <param name="Length">-1: to the end.</param>
internal sealed record ReadJob(long Offset, long Length) : VmJob;

/// <summary>What a worker says. The supervisor believes none of it further than it must: texts are escaped where they are shown.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "event")]
[JsonDerivedType(typeof(DiskEvent), "disk")]
[JsonDerivedType(typeof(VolumeEvent), "volume")]
[JsonDerivedType(typeof(GuestEvent), "guest")]
[JsonDerivedType(typeof(FindingEvent), "finding")]
[JsonDerivedType(typeof(GapEvent), "gap")]
[JsonDerivedType(typeof(ProgressEvent), "progress")]
[JsonDerivedType(typeof(EntriesEvent), "entries")]
[JsonDerivedType(typeof(CompiledEvent), "compiled")]
[JsonDerivedType(typeof(FailedEvent), "failed")]
[JsonDerivedType(typeof(DoneEvent), "done")]
internal abstract record WorkerEvent;

/// <param name="Index">Which of the job's disks.</param>
internal sealed record DiskEvent(int Index, string Format, long SizeBytes, int SectorBytes, string Scheme, IReadOnlyList<ChainReport> Chain) : WorkerEvent;

/// <param name="Disk">Which of the job's disks it stands on.</param>
internal sealed record VolumeEvent(int Disk, VolumeReport Volume) : WorkerEvent;

/// <summary>What the VM's disks say of its system; said once, and only when there is one.</summary>
internal sealed record GuestEvent(GuestFacts Guest) : WorkerEvent;

internal sealed record FindingEvent(FindingReport Finding) : WorkerEvent;

internal sealed record GapEvent(GapReport Gap) : WorkerEvent;

/// <param name="Steps">Grows with everything that is done, so that a supervisor can tell work from a hang.</param>
/// <param name="Coverage">By volume id; a disk's prefix, empty where there is one disk, is what lies outside its volumes.</param>
internal sealed record ProgressEvent(long Steps, long BytesDone, long BytesTotal, IReadOnlyDictionary<string, CoverageCounts> Coverage) : WorkerEvent;

internal sealed record EntriesEvent(IReadOnlyList<ListEntry> Entries) : WorkerEvent;

/// <param name="Path">In the contract's escaped form.</param>
/// <param name="Kind"><c>file</c>, <c>folder</c>, <c>link</c> or <c>device</c>.</param>
/// <param name="Sha256">Empty when not asked for or when the content cannot be read.</param>
internal sealed record ListEntry(string Path, string Kind, long SizeBytes, string Sha256);

internal sealed record CompiledEvent(IReadOnlyList<EngineReport> Engines, IReadOnlyList<RuleFaultReport> Faults) : WorkerEvent;

/// <summary>The job could not be carried out: rules that do not compile, a path that is not there.</summary>
internal sealed record FailedEvent(string Message) : WorkerEvent;

internal sealed record DoneEvent : WorkerEvent;

// Strict, so that a field that a broken worker leaves out is found here and not where it is used.
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(WorkerJob))]
[JsonSerializable(typeof(WorkerEvent))]
internal sealed partial class MessageJson : JsonSerializerContext;
