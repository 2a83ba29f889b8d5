using System.Text.RegularExpressions;
using Vmsweep.Appliance.Pipeline.Changes;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.DiskReaders.Inspection.Guest;

namespace Vmsweep.Appliance.Worker;

/// <summary>
/// What the supervisor requires of events before it believes them: a worker that a guest has taken over must not act on
/// terminals, forge lines of a listing, break sums or take back a finding. Texts of guests are free and are escaped where they are shown.
/// </summary>
internal static partial class WorkerEvents
{
    private static readonly string[] Severities = ["critical", "high", "medium", "low", "info"];
    private static readonly string[] Kinds = ["file", "folder", "link", "device"];

    /// <exception cref="InvalidDataException">No worker of ours says this.</exception>
    public static void Check(WorkerEvent message)
    {
        bool isSound = message switch
        {
            DiskEvent disk => disk.Index >= 0 && disk.SizeBytes >= 0 && Scheme().IsMatch(disk.Scheme),
            VolumeEvent { Volume: var volume } placed => placed.Disk >= 0 && VolumeId().IsMatch(volume.Id) && volume.OffsetBytes >= 0 && volume.SizeBytes >= 0,
            GuestEvent { Guest: var guest } => IsSound(guest),
            MemoryEvent { Memory: var memory } => IsSound(memory),
            FindingEvent { Finding.Memory: { } place } when !IsSound(place) => false,
            FindingEvent { Finding: var finding } => finding.Suppressed is null && Severities.Contains(finding.Severity) && Sha256().IsMatch(finding.Sha256) && finding.SizeBytes >= 0,
            GapEvent { Gap: var gap } => Faults.Names.Contains(gap.Fault),
            ProgressEvent progress => progress.BytesDone >= 0 && progress.BytesTotal >= 0 && progress.Coverage.All(c => c.Value is { IsSound: true }),
            PaceEvent pace => pace.Stores.Count <= PaceEvent.MostStores && pace.Stores.All(s => s is { Reads: >= 0, Bytes: >= 0, Microseconds: >= 0, LongestMicroseconds: >= 0, WaitedMicroseconds: >= 0 }),
            EntriesEvent entries => entries.Entries.All(e => e is not null && Kinds.Contains(e.Kind) && Sha256().IsMatch(e.Sha256) && !e.Path.AsSpan().ContainsAny('\t', '\n')),
            CompiledEvent compiled => compiled.Engines.All(e => e is not null && EngineWord().IsMatch(e.Name) && EngineWord().IsMatch(e.Version) && e.Rules is not < 0) && (compiled.Rules is null || IsSound(compiled.Rules)),
            AskEvent ask => ask.Keys.Length % ContentKey.Bytes == 0 && ask.Keys.Length is > 0 and <= AskEvent.MostKeys * ContentKey.Bytes,
            KeepEvent keep => keep.Verdicts.Count <= KeepEvent.MostVerdicts && keep.Verdicts.All(v => v is not null && v.Key.Length == ContentKey.Bytes && v.Payload.Length <= KeptVerdict.MostPayloadBytes),
            TracedEvent traced => traced.Layer >= -1 && traced.Traces.Length % EarlierTraces.RecordBytes == 0 && traced.Traces.Length <= TracedEvent.MostTraces * EarlierTraces.RecordBytes
                && traced.Findings.Count <= TracedEvent.MostTraces && traced.Findings.All(f => f is not null && f.Trace.Length == EarlierTraces.TraceBytes && f.Payload.Length <= TracedFindings.MostPayloadBytes),
            SeenEvent seen => seen.LeftOut >= 0 && seen.Contents.Count <= SeenEvent.MostContents
                && seen.Contents.All(c => c is not null && c.Sha256.Length == ContentKey.HashBytes && c.SizeBytes >= 0 && c.Path.Length is > 0 and <= SeenContent.MostPath),
            PartsCheckedEvent parts => parts.Counts.All(c => c >= 0),
            RulesTriedEvent tried => tried.Trial is { SampleFiles: >= 0, SampleBytes: >= 0, Files: >= 0, Bytes: >= 0 } && tried.Trial.Rules.All(r => r is not null && double.IsFinite(r.Milliseconds) && r.Milliseconds >= 0 && r.Line >= 0),
            _ => true,
        };
        if (!isSound)
        {
            throw new InvalidDataException($"an event of the kind {message.GetType().Name} breaks its rules");
        }
    }

    private static bool IsSound(CompiledRules rules)
    {
        IEnumerable<DataPart> parts = [rules.Parts.Index, rules.Parts.Content, rules.Parts.Volatile, .. rules.Added.OfType<DataPart>()];
        return rules.Base >= -1 && rules.All.Length % RuleIds.Bytes == 0 && rules.Decisive.Length % RuleIds.Bytes == 0 && parts.All(p => p.Offset >= 0 && p.Length >= 0);
    }

    /// <summary>Guest text is free, but not endless.</summary>
    private static bool IsSound(GuestFacts guest)
    {
        bool isShort = guest.Kernels.Count <= GuestFacts.MostItems && guest.HypervisorTools.Count <= GuestFacts.MostItems
            && guest.MountPoints.Count <= GuestFacts.MostItems && guest.OtherSystems.Count <= GuestFacts.MostItems;
        IEnumerable<string> texts =
        [
            guest.OperatingSystem, guest.Version, guest.Edition, guest.PatchLevel, guest.HostName, guest.TimeZone, guest.MachineId, guest.LastUser,
            guest.Packages?.Kind ?? "", .. guest.Kernels, .. guest.HypervisorTools.SelectMany(t => (string[])[t.Name, t.Version]),
            .. guest.MountPoints.SelectMany(m => (string[])[m.Path, m.Subvolume]), .. guest.OtherSystems,
        ];
        return isShort && texts.All(t => t.Length <= 2 * GuestFacts.MostText) && guest.Packages is not { Count: < 0 }
            && VolumeId().IsMatch(guest.Volume) && guest.MountPoints.All(m => VolumeId().IsMatch(m.Volume));
    }

    private static bool IsSound(MemoryReport memory) =>
        memory.SizeBytes >= 0 && Format().IsMatch(memory.Format) && memory.Regions.Count <= MemoryReport.MostRegions && memory.Regions.All(r => r.PhysicalAddress >= 0 && r.SizeBytes >= 0)
        && memory.Notes.Count <= GuestFacts.MostItems && memory.Notes.All(n => n.Length <= GuestFacts.MostText)
        && memory.System is not { Processes: < 0 } && memory.System is null or { Kind: "linux" or "windows", Version.Length: <= GuestFacts.MostText };

    private static bool IsSound(MemoryPlace place) =>
        Address().IsMatch(place.PhysicalAddress) && Address().IsMatch(place.VirtualAddress) && place.Process.Length <= GuestFacts.MostText
        && (place.AlsoIn is null || (place.AlsoIn.Count <= GuestFacts.MostItems && place.AlsoIn.All(a => Address().IsMatch(a.VirtualAddress) && a.Process.Length <= GuestFacts.MostText)));

    [GeneratedRegex(@"\A(0x[0-9a-f]{1,16}|unknown)\z", RegexOptions.CultureInvariant)]
    private static partial Regex Address();

    [GeneratedRegex(@"\A[a-z0-9/-]{0,64}\z", RegexOptions.CultureInvariant)]
    private static partial Regex Format();

    [GeneratedRegex(@"\A(d[0-9]{1,5})?v[0-9]{1,10}(@[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?\z", RegexOptions.CultureInvariant)]
    private static partial Regex VolumeId();

    [GeneratedRegex(@"\A[a-z0-9-]{0,32}\z", RegexOptions.CultureInvariant)]
    private static partial Regex Scheme();

    [GeneratedRegex(@"\A([0-9a-f]{64})?\z", RegexOptions.CultureInvariant)]
    private static partial Regex Sha256();

    [GeneratedRegex(@"\A[A-Za-z0-9.+-]{1,64}\z", RegexOptions.CultureInvariant)]
    private static partial Regex EngineWord();
}
