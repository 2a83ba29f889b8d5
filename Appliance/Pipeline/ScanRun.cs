using Serilog;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Signatures.Archives;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>What a scan was asked to do.</summary>
internal sealed record ScanSettings
{
    public required IReadOnlyList<string> RuleSources { get; init; }

    public required bool WithBuiltin { get; init; }

    public required bool StrictRules { get; init; }

    public required IReadOnlyList<string> HashLists { get; init; }

    /// <summary><c>yara</c>, <c>hash</c>.</summary>
    public required IReadOnlyList<string> Engines { get; init; }

    public required int Threads { get; init; }

    /// <summary>Content held at once.</summary>
    public required long MemoryBytes { get; init; }

    public required int MatchTimeoutSeconds { get; init; }

    /// <summary>Budgets for what is inside of archives and documents; null when they are not opened.</summary>
    public ArchiveLimits? Archives { get; init; } = new();

    /// <summary>Deleted files too.</summary>
    public bool IncludeDeleted { get; init; }

    /// <summary>What unlocks encrypted volumes.</summary>
    public IReadOnlyList<byte[]> Secrets { get; init; } = [];
}

/// <summary>Hears of everything as it happens. Called on one thread.</summary>
internal interface IScanListener
{
    void OnTarget(TargetReport target, int number, int count);

    void OnVolume(TargetReport target, DiskReport disk, VolumeReport volume);

    void OnFinding(TargetReport target, FindingReport finding);

    void OnGap(TargetReport target, GapReport gap);

    void OnProgress(TargetReport target, ProgressEvent progress);
}

/// <summary>The supervisor's part of a scan: one worker for each VM, and whatever becomes of it in the report.</summary>
internal sealed class ScanRun(ScanSettings settings, Sandbox sandbox, IWorker worker, TimeProvider time, IScanListener listener, CancellationToken cancellation)
{
    /// <summary>A worker that does nothing for so long hangs.</summary>
    public static readonly TimeSpan Silence = TimeSpan.FromMinutes(2);

    /// <summary>Heap for metadata, caches and findings, beside the content.</summary>
    public const long WorkerHeapBytes = 1L << 30;

    /// <exception cref="JobFailedException">The rules cannot be used.</exception>
    public Report Run(IReadOnlyList<Vm> vms)
    {
        DateTimeOffset started = time.GetUtcNow();
        using var run = new RunFolder();
        (string? rules, List<EngineReport> engines, IReadOnlyList<RuleFaultReport> faults) = Compile(run);
        List<TargetReport> targets = [];
        int number = 0;
        foreach (Vm vm in vms)
        {
            var target = new TargetReport { Target = vm.Target, Vm = vm.Identity, Snapshot = vm.Snapshot };
            targets.Add(target);
            listener.OnTarget(target, ++number, vms.Count);
            foreach (GapReport gap in vm.Gaps)
            {
                Add(target, gap);
            }

            foreach (string name in vm.Refused)
            {
                Add(target, HostileImage.ForbiddenReference(vm.Identity.Id, LengthOf(vm.Identity.Id), name));
            }

            foreach (GapReport gap in ManifestCheck.Run(vm.Manifest, cancellation))
            {
                Add(target, gap);
            }

            if (vm.Disks.Count > 0)
            {
                ScanDisks(target, vm, rules);
            }
        }

        return Finish(started, engines, faults, targets);
    }

    private (string? Rules, List<EngineReport> Engines, IReadOnlyList<RuleFaultReport> Faults) Compile(RunFolder run)
    {
        List<EngineReport> engines = [];
        bool withYara = settings.Engines.Contains("yara");
        bool withHashes = settings.Engines.Contains("hash") && settings.HashLists.Count > 0;
        if (!withYara && !withHashes)
        {
            return (null, engines, []);
        }

        List<(string Host, string Inside)> rules = withYara ? Binds(settings.RuleSources, "rules") : [];
        List<(string Host, string Inside)> lists = withHashes ? Binds(settings.HashLists, "hashes") : [];
        List<(string Host, string Inside)> binds = [.. rules, .. lists];
        var job = new CompileJob([.. rules.Select(b => b.Inside)], withYara && settings.WithBuiltin, [.. lists.Select(b => b.Inside)], settings.StrictRules) { Limits = Limits(0) };
        string path = run.File("rules");
        IReadOnlyList<RuleFaultReport> faults = [];
        using (FileStream bundle = File.Create(path))
        {
            WorkerOutcome outcome = worker.Run(job, binds, OnEvent, bundle.Write, cancellation);
            cancellation.ThrowIfCancellationRequested();
            if (outcome.End != WorkerEnd.Done)
            {
                throw new JobFailedException(outcome.End == WorkerEnd.Failed ? outcome.Detail : $"the rules could not be compiled: {outcome.Detail}");
            }
        }

        return (withYara ? path : null, engines, faults);

        void OnEvent(WorkerEvent message)
        {
            if (message is CompiledEvent compiled)
            {
                engines.AddRange(compiled.Engines);
                faults = [.. compiled.Faults.Select(f => f with { File = HostNameOf(f.File, binds) })];
            }
        }
    }

    private List<(string Host, string Inside)> Binds(IReadOnlyList<string> paths, string folder) =>
        [.. paths.Select((p, i) => (Path.GetFullPath(p), sandbox.Inside(Path.GetFullPath(p), $"{folder}/{i}/{Path.GetFileName(p.TrimEnd('/'))}")))];

    /// <summary>A path inside the sandbox as the operator knows it.</summary>
    private static string HostNameOf(string inside, List<(string Host, string Inside)> binds)
    {
        (string host, string root) = binds.FirstOrDefault(b => inside == b.Inside || inside.StartsWith(b.Inside + "/", StringComparison.Ordinal));
        return host is null ? inside : host + inside[root.Length..];
    }

    /// <summary>All disks of a VM go to one worker: groups, arrays and file systems may span them.</summary>
    private void ScanDisks(TargetReport target, Vm vm, string? rules)
    {
        foreach (VmDisk disk in vm.Disks)
        {
            target.Disks.Add(new DiskReport { Path = disk.Path });
        }

        if (cancellation.IsCancellationRequested)
        {
            foreach (VmDisk disk in vm.Disks)
            {
                Add(target, new CoverageGap(Fault.Limit, disk.Path, "scan", -1, 0, "interrupted before this disk was begun").ToReport());
            }

            return;
        }

        foreach (VmDisk disk in vm.Disks)
        {
            foreach (string name in disk.Refused)
            {
                Add(target, HostileImage.ForbiddenReference(disk.Path, LengthOf(disk.Plan.Files[0].Path), name));
            }
        }

        (List<ChainPlan> plans, List<(string Host, string Inside)> binds) = DiskBinds.Of(vm.Disks, sandbox);
        string? insideRules = null;
        if (rules is not null)
        {
            insideRules = sandbox.Inside(rules, "rules");
            binds.Add((rules, insideRules));
        }

        List<(string Host, string Inside)> lists = settings.Engines.Contains("hash") ? Binds(settings.HashLists, "hashes") : [];
        binds.AddRange(lists);
        var job = new ScanJob(insideRules, [.. lists.Select(l => l.Inside)], settings.Threads, settings.MemoryBytes, settings.MatchTimeoutSeconds)
        {
            Limits = Limits(vm.Disks.SelectMany(d => d.Plan.Files).Select(f => f.Path).Distinct().Total(LengthOf)),
            Disks = plans,
            Secrets = settings.Secrets,
            VolumeStates = vm.VolumeStates,
            IncludeDeleted = settings.IncludeDeleted,
            Archives = settings.Archives,
        };
        WorkerOutcome outcome = worker.Run(job, binds, message => OnEvent(target, message), null, cancellation);
        string stopped = vm.Disks.Count == 1 ? vm.Disks[0].Path : vm.Target;
        switch (outcome.End)
        {
            case WorkerEnd.Done:
                break;
            case WorkerEnd.Cancelled:
                Add(target, new CoverageGap(Fault.Limit, stopped, "scan", -1, Unread(target), "interrupted; what was scanned until then is reported").ToReport());
                break;
            case WorkerEnd.Hung:
                Log.Warning("the worker on {Disk} hung: {Detail}", stopped, outcome.Detail);
                Add(target, new CoverageGap(Fault.Timeout, stopped, "worker", -1, Unread(target), outcome.Detail).ToReport());
                break;
            default:
                Log.Warning("the worker on {Disk} failed: {Detail}", stopped, outcome.Detail);
                Add(target, new CoverageGap(Fault.Corrupt, stopped, "worker", -1, Unread(target), outcome.Detail).ToReport());
                break;
        }
    }

    private void OnEvent(TargetReport target, WorkerEvent message)
    {
        switch (message)
        {
            case DiskEvent opened:
                target.Disks.Fill(opened);
                break;
            case VolumeEvent volume:
                DiskReport disk = target.Disks.Of(volume.Disk);
                disk.Volumes.Add(volume.Volume);
                listener.OnVolume(target, disk, volume.Volume);
                break;
            case FindingEvent finding:
                Add(target, finding.Finding);
                break;
            case GapEvent gap:
                Add(target, gap.Gap);
                break;
            case ProgressEvent progress:
                Cover(target, progress.Coverage);
                listener.OnProgress(target, progress);
                break;
        }
    }

    private static void Cover(TargetReport target, IReadOnlyDictionary<string, CoverageCounts> coverage)
    {
        for (int i = 0; i < target.Disks.Count; i++)
        {
            DiskReport disk = target.Disks[i];
            if (coverage.TryGetValue(DiskBinds.Prefix(i, target.Disks.Count), out CoverageCounts? outside))
            {
                disk.Outside = outside;
            }

            foreach (VolumeReport volume in disk.Volumes)
            {
                if (coverage.TryGetValue(volume.Id, out CoverageCounts? counts))
                {
                    volume.Files = new FileCounts(counts.FilesSeen, counts.FilesScanned);
                    volume.Bytes = new ByteCounts(counts.BytesSeen, counts.BytesRead);
                }
            }
        }
    }

    private void Add(TargetReport target, FindingReport finding)
    {
        target.Findings.Add(finding);
        listener.OnFinding(target, finding);
    }

    private void Add(TargetReport target, GapReport gap)
    {
        target.Gaps.Add(gap);
        listener.OnGap(target, gap);
    }

    private Report Finish(DateTimeOffset started, List<EngineReport> engines, IReadOnlyList<RuleFaultReport> faults, List<TargetReport> targets)
    {
        List<DiskReport> disks = [.. targets.SelectMany(t => t.Disks)];
        List<VolumeReport> volumes = [.. disks.SelectMany(d => d.Volumes)];
        var totals = new ReportTotals(
            Saturating.Add(volumes.Total(v => v.Files.Seen), disks.Total(d => d.Outside.FilesSeen)),
            Saturating.Add(volumes.Total(v => v.Files.Scanned), disks.Total(d => d.Outside.FilesScanned)),
            Saturating.Add(volumes.Total(v => v.Bytes.Seen), disks.Total(d => d.Outside.BytesSeen)),
            Saturating.Add(volumes.Total(v => v.Bytes.Read), disks.Total(d => d.Outside.BytesRead)),
            targets.Total(t => t.Findings.Count),
            targets.Total(t => t.Gaps.Count));
        return new Report
        {
            Verdict = totals.Findings > 0 ? "detected" : totals.Gaps > 0 ? "incomplete" : "clean",
            StartedAt = started,
            FinishedAt = time.GetUtcNow(),
            Sandbox = sandbox.Name,
            SandboxDetail = sandbox.IsFull ? null : sandbox.Detail,
            Engines = engines,
            RuleFaults = faults,
            Targets = targets,
            Totals = totals,
        };
    }

    private static long Unread(TargetReport target) => Saturating.Add(
        target.Disks.SelectMany(d => d.Volumes).Total(v => Math.Max(0, v.Bytes.Seen - v.Bytes.Read)),
        target.Disks.Total(d => Math.Max(0, d.Outside.BytesSeen - d.Outside.BytesRead)));

    private static long LengthOf(string path) => new FileInfo(path) is { Exists: true } file ? file.Length : 0;

    /// <summary>An hour, and a second for each MiB of image: some fifty times what a slow scan takes.</summary>
    private WorkerLimits Limits(long imageBytes) => new(WorkerHeapBytes + settings.MemoryBytes + ArchiveContents.MostMemoryBytes(settings.MemoryBytes, settings.Threads) + DiskLimits.ForKeys(settings.Secrets), 3600 + (imageBytes >> 20));
}
