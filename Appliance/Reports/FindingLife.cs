using System.Text.Json.Serialization;

namespace Vmsweep.Appliance.Reports;

/// <summary>A finding and every scan that said something of it.</summary>
/// <param name="Scans">The earliest first.</param>
/// <param name="Last">As the last scan that saw it reported it, with a few of its matches.</param>
internal sealed record FindingLife(KnownFinding Finding, IReadOnlyList<FindingSeen> Scans, FindingReport? Last)
{
    public string Schema { get; init; } = "vmsweep.finding/1";
}

/// <param name="Kind"><c>new</c>, <c>seen</c>, <c>returned</c>, <c>suppressed</c> or <c>gone</c>.</param>
/// <param name="Run">The sweep's run; absent for a scan by itself.</param>
/// <param name="StartedAt">Absent where retention has removed the scan.</param>
/// <param name="Sha256">Of the content as this scan saw it.</param>
internal sealed record FindingSeen(long Scan, string Kind, string? Run, DateTimeOffset? StartedAt, DateTimeOffset? FinishedAt, string Sha256, string? Bundle);

/// <summary>What <c>findings list</c> answers in JSON.</summary>
/// <param name="IsCut">There are more.</param>
internal sealed record FindingList(IReadOnlyList<KnownFinding> Findings, bool IsCut)
{
    public string Schema { get; init; } = "vmsweep.findings/1";
}

/// <summary>What <c>hunt --sha256</c> and <c>hunt --rule NAME</c> answer in JSON.</summary>
/// <param name="Sightings">Executables with the hash that no rule matched; empty for a rule.</param>
/// <param name="NotKept">VMs of which not every executable is kept.</param>
internal sealed record HuntReport(IReadOnlyList<KnownFinding> Findings, IReadOnlyList<SightingReport> Sightings, IReadOnlyList<NotKeptReport> NotKept)
{
    public string Schema { get; init; } = "vmsweep.hunt/1";

    /// <summary>VMs in the store.</summary>
    public required long Vms { get; init; }
}

/// <param name="LastSeen">The last day a scan saw it, or could not tell; absent: the VM's last scan did.</param>
/// <param name="LastScan">Of the VM.</param>
internal sealed record SightingReport(string Tenant, string VmId, string VmName, string? Snapshot, string Path, long SizeBytes, DateOnly FirstSeen, DateOnly? LastSeen, DateTimeOffset LastScan);

/// <param name="Count">How many executables its last scan met beyond what is kept.</param>
internal sealed record NotKeptReport(string VmId, string VmName, long Count);

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    WriteIndented = true)]
[JsonSerializable(typeof(FindingLife))]
[JsonSerializable(typeof(FindingList))]
[JsonSerializable(typeof(HuntReport))]
internal sealed partial class FindingJson : JsonSerializerContext;
