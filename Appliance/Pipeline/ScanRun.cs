using System.Globalization;
using Serilog;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Pipeline.Changes;
using Vmsweep.Appliance.Pipeline.Detections;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Postgres;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Signatures.AllowLists;
using Vmsweep.Signatures.Archives;
using Vmsweep.Signatures.ClamAv;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>What a scan was asked to do.</summary>
internal sealed record ScanSettings
{
    public required IReadOnlyList<string> RuleSources { get; init; }

    public required bool WithBuiltin { get; init; }

    public required bool StrictRules { get; init; }

    /// <summary>Lists in text and compiled sets.</summary>
    public required IReadOnlyList<string> HashLists { get; init; }

    /// <summary>The same of hashes whose contents need not be matched.</summary>
    public IReadOnlyList<string> KnownGood { get; init; } = [];

    /// <summary>Compiled sets that the store of bundles made, and nobody gave.</summary>
    public IReadOnlyList<string> StoredHashSets { get; init; } = [];

    /// <inheritdoc cref="StoredHashSets"/>
    public IReadOnlyList<string> StoredKnownGood { get; init; } = [];

    public string ClamdSocket { get; init; } = ClamdOptions.DefaultSocket;

    /// <summary>Where the daemon has its database.</summary>
    public string ClamdDatabaseFolder { get; init; } = ClamdState.DefaultDatabaseFolder;

    /// <summary>Of <see cref="EngineNames.All"/>.</summary>
    public required IReadOnlyList<string> Engines { get; init; }

    /// <summary>The operator named the engines: one that cannot take part is a gap.</summary>
    public bool EnginesAreNamed { get; init; }

    /// <summary>Without it a scan is less than what its operator expects: what he named, YARA unless he named others, ClamAV when he gave its socket.</summary>
    public bool IsAskedFor(string engine) => Engines.Contains(engine) && (EnginesAreNamed || engine is YaraRules.EngineName or ClamdEngine.EngineName);

    public required int Threads { get; init; }

    /// <summary>Content held at once.</summary>
    public required long MemoryBytes { get; init; }

    public required int MatchTimeoutSeconds { get; init; }

    /// <summary>Budgets for what is inside of archives and documents; null when they are not opened.</summary>
    public ArchiveLimits? Archives { get; init; } = new();

    /// <summary>All of that on which a verdict that is kept depends: one that ran out of time is not.</summary>
    public string ArchivesText => Archives is not { } a ? "" : string.Create(CultureInfo.InvariantCulture, $"{a.Depth} {a.Members} {a.Bytes} {a.Ratio}\n{string.Join('\n', a.Passwords)}");

    /// <summary>Deleted files too.</summary>
    public bool IncludeDeleted { get; init; }

    /// <summary>Memory of suspended VMs and snapshots too.</summary>
    public bool ScanMemory { get; init; } = true;

    /// <summary>That of VMs that run too, where their hypervisor hands it out.</summary>
    public bool ScanRunningMemory { get; init; }

    /// <summary>Where verdicts and compiled rules are remembered; null: nothing is.</summary>
    public string? StateFolder { get; init; }

    /// <summary>Where verdicts are kept; null: in the state folder.</summary>
    public PostgresSettings? Server { get; init; }

    /// <summary>What unlocks encrypted volumes.</summary>
    public IReadOnlyList<byte[]> Secrets { get; init; } = [];

    /// <summary>What is done to a hypervisor's VM on a detection; nothing unless asked for.</summary>
    public IReadOnlyList<VmAct> Acts { get; init; } = [];

    /// <summary>Of a hypervisor's VM only what changed since its last scan is read, where that can be told; and a mark is left for the next one.</summary>
    public bool OnlyChanges { get; init; }

    /// <summary>What shows through whole from a base that other VMs may be made over is not read where a scan since then has; null: everything is read.</summary>
    public DateTimeOffset? InheritFrom { get; init; }

    /// <summary>The part, by bytes, of what need not be read that is read all the same, to see that it is what it was.</summary>
    public double RecheckShare { get; init; } = DefaultRecheckShare;

    public const double DefaultRecheckShare = 0.002;

    /// <summary>Whose VMs they are, where he shares no verdicts with others; empty for all others together.</summary>
    public string Scope { get; init; } = "";

    /// <summary>The signature bundle that rules and lists come from; null for none.</summary>
    public BundleReport? Bundle { get; init; }

    /// <summary>Findings that do not count.</summary>
    public AllowList Allow { get; init; } = AllowList.Empty;

    /// <summary>What was left out before the scan began.</summary>
    public IReadOnlyList<RuleFaultReport> Faults { get; init; } = [];
}

/// <summary>Hears of everything as it happens. Called on one thread.</summary>
internal interface IScanListener
{
    void OnTarget(TargetReport target, int number, int count);

    void OnVolume(TargetReport target, DiskReport disk, VolumeReport volume);

    void OnFinding(TargetReport target, FindingReport finding);

    void OnGap(TargetReport target, GapReport gap);

    void OnNote(TargetReport target, string note)
    {
    }

    void OnAct(TargetReport target, ActReport act);

    void OnProgress(TargetReport target, ProgressEvent progress);
}

/// <summary>The supervisor's part of a scan: one worker for each VM, and whatever becomes of it in the report.</summary>
internal sealed class ScanRun(ScanSettings settings, Sandbox sandbox, IWorker worker, TimeProvider time, IScanListener listener, CancellationToken cancellation)
{
    /// <summary>A worker that does nothing for so long hangs.</summary>
    public static readonly TimeSpan Silence = TimeSpan.FromMinutes(2);

    /// <summary>Heap for metadata, caches and findings, beside the content.</summary>
    public const long WorkerHeapBytes = 1L << 30;

    /// <summary>Null: as fast as the bytes come.</summary>
    public IScanPacing? Pacing { get; init; }

    /// <summary>Takes each VM's results as soon as it is done; null: they are in the report alone.</summary>
    public IResultRecorder? Recorder { get; init; }

    /// <summary>Which contents were seen is told with a VM's report, for whoever records it.</summary>
    public bool KeepsSeen { get; init; }

    /// <summary>What runs beside this one has the same, so that none reads a base that another is reading.</summary>
    public LayerGate Gate { get; init; } = new();

    /// <summary>Files that other VMs are made over, where those are not all in one <see cref="Run"/>.</summary>
    public IReadOnlySet<string> Bases { get; set; } = new HashSet<string>();

    /// <param name="take">Takes each VM's part of the report when it is done, so that it need not be kept: the report that is returned has none. Null: it has them all.</param>
    /// <exception cref="JobFailedException">The rules cannot be used.</exception>
    public Report Run(IReadOnlyList<Vm> vms, Action<TargetReport>? take = null)
    {
        DateTimeOffset started = time.GetUtcNow();
        using ScanLane lane = ScanLane.Open(settings, sandbox, worker, time, cancellation);
        List<TargetReport> targets = [];
        Bases = vms.SelectMany(v => v.Disks).SelectMany(d => PlannedLayers.Parents(d.Plan)).Concat(Bases).ToHashSet(StringComparer.Ordinal);
        take ??= targets.Add;
        ReportTotals totals = ReportTotals.None;
        Task recording = Task.CompletedTask;
        try
        {
            for (int i = 0; i < vms.Count; i++)
            {
                DateTimeOffset begun = time.GetUtcNow();
                TargetReport target = Scan(vms[i], lane, i + 1, vms.Count);
                DateTimeOffset ended = time.GetUtcNow();
                recording.GetAwaiter().GetResult();

                // While the next VM is read: its worker has nothing to tell at first.
                recording = Recorder is { } recorder ? Task.Run(() => Record(recorder, target, lane, begun, ended), CancellationToken.None) : Task.CompletedTask;
                totals = totals.Plus(ReportTotals.Of(target));
                take(target);
            }
        }
        finally
        {
            recording.GetAwaiter().GetResult();
        }

        return Finish(started, lane, targets, totals);
    }

    private void Record(IResultRecorder recorder, TargetReport target, ScanLane lane, DateTimeOffset begun, DateTimeOffset ended)
    {
        recorder.Record(new FinishedScan(null, "", target, lane.Reports, settings.Bundle, begun, ended)
        {
            Depth = new ScanDepth(settings.IncludeDeleted, settings.Archives is not null),
            Rules = lane.RuleIndex,
        });
        target.Seen.Clear();
    }

    /// <summary>One VM of several.</summary>
    /// <param name="lane">Of the same settings.</param>
    public TargetReport Scan(Vm vm, ScanLane lane, int number = 1, int count = 1)
    {
        var target = new TargetReport { Target = vm.Target, Vm = vm.Identity, Snapshot = vm.Snapshot };
        listener.OnTarget(target, number, count);
        if (vm.Open is null)
        {
            Scan(target, vm, lane, null, () => null, cancellation);
            Act(target, vm, null);
        }
        else
        {
            ScanView(target, vm, lane, settings.OnlyChanges ? TrackedScan.Begin(lane.Cache, vm.Identity.Id, settings, lane.Prepared, lane.Engines) : null);
        }

        return target;
    }

    /// <summary>A VM of a hypervisor: its disks are there only while a view of it is open.</summary>
    /// <param name="tracking">Null when all is to be read.</param>
    private void ScanView(TargetReport target, Vm listed, ScanLane lane, TrackedScan? tracking)
    {
        IVmView view;
        try
        {
            cancellation.ThrowIfCancellationRequested();
            view = tracking is not null && listed.OpenTracked is { } open ? open(tracking.Since) : listed.Open!();
        }
        catch (OperationCanceledException)
        {
            Add(target, new CoverageGap(Fault.Limit, listed.Target, "scan", -1, 0, "interrupted before this VM was begun").ToReport());
            return;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            AddFailure(target, e);
            return;
        }

        try
        {
            if (settings.ScanRunningMemory && view.Vm is { Identity.Power: "running", Memory: null } without && !without.Gaps.Any(g => g.Structure == "guest memory"))
            {
                Add(target, new CoverageGap(Fault.Unsupported, listed.Target, "guest memory", -1, 0, "memory of running VMs is read from libvirt and QEMU alone").ToReport());
            }

            bool isWhole;
            using (var watch = new ViewWatch(view, time, cancellation))
            {
                isWhole = Scan(target, view.Vm, lane, tracking is null ? null : new Tracking(tracking, view.Changes), () => watch.Closed is { } why ? (watch.IsLost ? Fault.Transport : Fault.Limit, why) : null, watch.Token);
                target.Loss = watch.IsLost ? ReadLoss.Hypervisor : target.Loss;
            }

            foreach (GapReport gap in view.Conclude())
            {
                isWhole = false;
                Add(target, gap);
            }

            target.Changes = tracking?.Finish(view.Changes, isWhole && !target.Gaps.Exists(g => g.Fault == Faults.Name(Fault.Transport)));
            Act(target, listed, view);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            AddFailure(target, e);
        }
        finally
        {
            try
            {
                view.Dispose();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                Log.Warning("what was made to view {Vm} could not be undone yet, and will be tried again: {Reason} (vmsweep leases reap)", listed.Target, e.Message);
            }
        }
    }

    /// <summary>What was asked for on a detection, each on its own: one that fails keeps none of the others back.</summary>
    /// <param name="view">Null for images that no hypervisor was asked for.</param>
    private void Act(TargetReport target, Vm vm, IVmView? view)
    {
        IReadOnlyList<FindingReport> detections = [.. target.Findings.Where(f => f.Suppressed is null && !BuiltinDetection.IsOnlyWorthKnowing(f.Engine, f.Severity))];
        if (detections.Count == 0 || settings.Acts.Count == 0)
        {
            return;
        }

        target.Acts = [];
        // A guest's file name must not spoil what the note is written into.
        string note = Printable.Of($"vmsweep found {detections.Count} in this VM, first {detections[0].Rule} in {detections[0].Path}");
        foreach (VmAct act in settings.Acts)
        {
            ActReport done;
            try
            {
                done = view is null || vm.Act is null ? new ActReport(act.ToString().ToLowerInvariant(), false, "these are images; only a VM of a hypervisor can be acted on", "")
                    : act != VmAct.Keep ? vm.Act(act, note)
                    : view.Keep() is { } lease ? new ActReport("keep", true, $"the view stays open as lease {lease}", $"vmsweep leases reap {lease}")
                    : new ActReport("keep", false, "this VM was read without a view that could be kept", "");
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                Log.Warning("{Act} of {Vm} failed: {Reason}", act, vm.Target, e.Message);
                done = new ActReport(act.ToString().ToLowerInvariant(), false, e.Message, "");
            }

            target.Acts.Add(done);
            listener.OnAct(target, done);
        }
    }

    /// <param name="tracking">Null when all is to be read and nothing of it is remembered.</param>
    /// <param name="stopped">Why the scan was stopped, where it was not by the operator.</param>
    /// <returns>False when the worker did not come to its end.</returns>
    private bool Scan(TargetReport target, Vm vm, ScanLane lane, Tracking? tracking, Func<(Fault Fault, string Why)?> stopped, CancellationToken stop)
    {
        foreach (GapReport gap in vm.Gaps)
        {
            AddRead(target, gap, ReadLoss.Part);
        }

        foreach (string note in vm.Notes)
        {
            (target.Notes ??= []).Add(note);
            listener.OnNote(target, note);
        }

        foreach (string name in vm.Refused)
        {
            Add(target, HostileImage.ForbiddenReference(vm.Identity.Id, LengthOf(vm.Identity.Id), name));
        }

        foreach (EngineReport engine in lane.Prepared.Engines.Where(e => e.Fault is not null && settings.IsAskedFor(e.Name)))
        {
            Fault fault = engine.Name != ClamdEngine.EngineName ? Fault.Unsupported : lane.Engines.Clamd is null ? Fault.Transport : Fault.Limit;
            Add(target, new CoverageGap(fault, vm.Target, $"engine {engine.Name}", -1, 0, engine.Fault!).ToReport());
        }

        foreach (GapReport gap in ManifestCheck.Run(vm.Manifest, cancellation))
        {
            AddRead(target, gap, ReadLoss.Bytes);
        }

        if (settings.Bundle is { IsExpired: true } bundle)
        {
            Add(target, ExpiredBundle(vm.Target, bundle));
        }

        target.Memory = MemoryScan.Announce(vm, settings.ScanMemory, gap => Add(target, gap));
        return (vm.Disks.Count == 0 && target.Memory is not { IsScanned: true }) || ScanDisks(target, vm, lane, tracking, stopped, stop);
    }

    /// <summary>All disks of a VM go to one worker: groups, arrays and file systems may span them.</summary>
    private bool ScanDisks(TargetReport target, Vm vm, ScanLane lane, Tracking? tracking, Func<(Fault Fault, string Why)?> whyStopped, CancellationToken stop)
    {
        (PreparedRules prepared, PreparedEngines engines) = (lane.Prepared, lane.Engines);
        foreach (VmDisk disk in vm.Disks)
        {
            target.Disks.Add(new DiskReport { Path = disk.Path });
        }

        if (cancellation.IsCancellationRequested)
        {
            foreach (string path in vm.Disks.Select(d => d.Path).Concat(target.Memory is { IsScanned: true } left ? [left.Path] : []))
            {
                Add(target, new CoverageGap(Fault.Limit, path, "scan", -1, 0, "interrupted before this disk was begun").ToReport());
            }

            return false;
        }

        foreach (VmDisk disk in vm.Disks)
        {
            foreach (string name in disk.Refused)
            {
                Add(target, HostileImage.ForbiddenReference(disk.Path, LengthOf(disk.Plan.Files[0].Path), name));
            }
        }

        (List<ChainPlan> plans, List<(string Host, string Inside)> binds) = DiskBinds.Of(vm.Disks, sandbox);
        MemoryPlan? memory = DiskBinds.Of(target.Memory is { IsScanned: true } ? vm.Memory : null, sandbox, binds);
        ScanRules? rules = null;
        if (prepared.Rules is not null)
        {
            (rules, IReadOnlyList<(string Host, string Inside)> files) = prepared.Rules.For(sandbox);
            binds.AddRange(files);
        }

        List<(string Host, string Inside)> sets = sandbox.Binds(engines.HashSets, "hashes");
        List<(string Host, string Inside)> knownGood = sandbox.Binds(engines.KnownGood, "known-good");
        List<(string Host, string Inside)> clamd = engines.Clamd is { } gate ? [(gate.Path, sandbox.Inside(gate.Path, "clamd"))] : [];
        binds.AddRange([.. sets, .. knownGood, .. clamd]);
        using LayeredScan? layers = LayeredScan.Begin(
            lane.Cache, VerdictSession.ScopeOf(settings.Scope), vm.Disks, settings.InheritFrom is null ? null : ScanContext.Of(settings, prepared, engines, out _), settings.InheritFrom, Bases.Contains, Gate, time, stop);
        var job = new ScanJob(rules, [.. sets.Select(l => l.Inside)], settings.Threads, settings.MemoryBytes, settings.MatchTimeoutSeconds)
        {
            Limits = Limits(settings, vm.Disks.SelectMany(d => d.Plan.Files).Concat(memory is null ? [] : vm.Memory!.Plan.Files).DistinctBy(f => (f.Path, f.Export)).Total(f => f.Export?.SizeBytes ?? LengthOf(f.Path))),
            Plans = prepared.Verdicts?.Plans,
            Disks = plans,
            KnownGood = [.. knownGood.Select(l => l.Inside)],
            ClamdSocket = clamd.Select(c => c.Inside).FirstOrDefault(),
            Sockets = [.. clamd.Select(c => c.Inside), .. DiskBinds.Sockets(plans, memory)],
            Memory = memory,
            Secrets = settings.Secrets,
            VolumeStates = vm.VolumeStates,
            IncludeDeleted = settings.IncludeDeleted,
            Archives = settings.Archives,
            KeepsSeen = KeepsSeen || Recorder is not null,
            Tracing = tracking?.Scan.JobOf(vm.Disks, tracking.Changes, lane.Run, sandbox, binds),
            Layers = layers?.JobOf(lane.Run, sandbox, binds),
            RecheckShare = settings.RecheckShare,
            Pacing = Pacing?.JobOf(vm.Disks, sandbox, binds),
        };
        prepared.Verdicts?.BeginWorker();
        WorkerOutcome outcome = worker.Run(job, binds, message => OnEvent(target, message, prepared.Verdicts, tracking?.Scan, layers), null, stop);
        string stopped = vm.Disks.Count == 1 ? vm.Disks[0].Path : vm.Target;
        switch (outcome.End)
        {
            case WorkerEnd.Done:
                break;
            case WorkerEnd.Cancelled:
                (Fault fault, string why) = whyStopped() ?? (Fault.Limit, "interrupted");
                Add(target, new CoverageGap(fault, stopped, "scan", -1, Unread(target), why + "; what was scanned until then is reported").ToReport());
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

        if (layers?.Finish(outcome.End == WorkerEnd.Done, Inherited(target)) is { } unproven)
        {
            Add(target, unproven);
        }

        return outcome.End == WorkerEnd.Done;
    }

    private void OnEvent(TargetReport target, WorkerEvent message, VerdictSession? verdicts, TrackedScan? tracking, LayeredScan? layers)
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
            case MemoryEvent opened when target.Memory is { } known:
                target.Memory = opened.Memory with { Path = known.Path, Bytes = known.Bytes };
                break;
            case GuestEvent guest:
                target.Show(guest.Guest);
                break;
            case FindingEvent finding:
                Add(target, finding.Finding with { GuestPath = GuestPlaces.Of(target.Guest, finding.Finding) });
                break;
            case GapEvent gap:
                AddRead(target, gap.Gap, ReadLoss.Bytes);
                break;
            case AskEvent ask:
                verdicts?.OnAsk(ask);
                break;
            case KeepEvent keep:
                verdicts?.OnKeep(keep);
                break;
            case TracedEvent { Layer: < 0 } traced:
                tracking?.OnTraced(traced);
                break;
            case TracedEvent ofLayer:
                layers?.OnTraced(ofLayer);
                break;
            case DisprovedEvent disproved:
                layers?.OnDisproved(disproved);
                break;
            case PaceEvent pace:
                Pacing?.OnPace(pace);
                break;
            case SeenEvent seen:
                target.SeenLeftOut = Saturating.Add(target.SeenLeftOut, seen.LeftOut);
                if (target.Seen.Count + seen.Contents.Count <= SeenContent.MostOfMachine)
                {
                    target.Seen.AddRange(seen.Contents);
                }
                else
                {
                    target.SeenLeftOut = Saturating.Add(target.SeenLeftOut, seen.Contents.Count);
                }

                break;
            case ProgressEvent progress:
                Cover(target, progress.Coverage);
                listener.OnProgress(target, progress);
                break;
        }
    }

    private static void Cover(TargetReport target, IReadOnlyDictionary<string, CoverageCounts> coverage)
    {
        if (target.Memory is { } memory && coverage.TryGetValue(MemoryScan.Id, out CoverageCounts? ofMemory))
        {
            memory.Bytes = new ByteCounts(ofMemory.BytesSeen, ofMemory.BytesRead);
        }

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
                    volume.Files = new FileCounts(counts.FilesSeen, counts.FilesScanned, counts.FilesInherited, Cached: counts.FilesCached, KnownGood: counts.FilesKnownGood, Unchanged: counts.FilesUnchanged);
                    volume.Bytes = new ByteCounts(counts.BytesSeen, counts.BytesRead, counts.BytesUnchanged, counts.BytesInherited);
                }
            }
        }
    }

    /// <summary>What came up since is not looked for: that limits what "clean" can mean.</summary>
    private static GapReport ExpiredBundle(string target, BundleReport bundle) =>
        new CoverageGap(Fault.Limit, target, "signature bundle", -1, 0, $"{bundle.Title} expired on {bundle.Expires.UtcDateTime:yyyy-MM-dd HH:mm} UTC; what is newer is not looked for").ToReport();

    private void Add(TargetReport target, FindingReport finding)
    {
        AllowEntry? allowed = settings.Allow.Find(new AllowSubject(finding.Sha256, [finding.Path, .. finding.AlsoAt], finding.Rule, finding.Tags, target.Vm.Id, target.Vm.Name));
        finding = finding with { Suppressed = allowed is null ? null : new SuppressedReport(allowed.Who, allowed.Why, allowed.Until, allowed.Where) };
        target.Findings.Add(finding);
        listener.OnFinding(target, finding);
    }

    /// <summary>Of what was to be read.</summary>
    /// <param name="loss">What it means where the storage is the reason.</param>
    private void AddRead(TargetReport target, GapReport gap, ReadLoss loss)
    {
        if (gap.Fault == Faults.Name(Fault.Transport) && target.Loss < loss)
        {
            target.Loss = loss;
        }

        Add(target, gap);
    }

    /// <summary>The hypervisor does not give what is to be read, or not to the end.</summary>
    private void AddFailure(TargetReport target, Exception failure)
    {
        target.Loss = HostLoss.Is(failure) ? ReadLoss.Hypervisor : target.Loss;
        Add(target, new CoverageGap(Fault.Transport, target.Target, "view", -1, 0, failure.Message).ToReport());
    }

    private void Add(TargetReport target, GapReport gap)
    {
        target.Gaps.Add(gap);
        listener.OnGap(target, gap);
    }

    private Report Finish(DateTimeOffset started, ScanLane lane, IReadOnlyList<TargetReport> targets, ReportTotals totals)
    {
        return new Report
        {
            Verdict = totals.Verdict,
            StartedAt = started,
            FinishedAt = time.GetUtcNow(),
            Sandbox = sandbox.Name,
            SandboxDetail = sandbox.IsFull ? null : sandbox.Detail,
            Bundle = settings.Bundle,
            Engines = lane.Reports,
            RuleFaults = [.. settings.Faults, .. lane.Prepared.Faults],
            Targets = targets,
            Totals = totals,
        };
    }

    private static long Unread(TargetReport target) => Saturating.Add(
        target.Disks.SelectMany(d => d.Volumes).Total(v => Math.Max(0, v.Bytes.Seen - v.Bytes.Read - v.Bytes.Unchanged - v.Bytes.Inherited)),
        target.Disks.Total(d => Math.Max(0, d.Outside.BytesSeen - d.Outside.BytesRead - d.Outside.BytesUnchanged - d.Outside.BytesInherited)));

    private static long Inherited(TargetReport target) =>
        Saturating.Add(target.Disks.SelectMany(d => d.Volumes).Total(v => v.Bytes.Inherited), target.Disks.Total(d => d.Outside.BytesInherited));

    private sealed record Tracking(TrackedScan Scan, IViewChanges? Changes);

    private static long LengthOf(string path) => new FileInfo(path) is { Exists: true } file ? file.Length : 0;

    /// <summary>An hour, and a second for each MiB of image: some fifty times what a slow scan takes.</summary>
    public static WorkerLimits Limits(ScanSettings settings, long imageBytes) => new(WorkerHeapBytes + settings.MemoryBytes + ArchiveContents.MostMemoryBytes(settings.MemoryBytes, settings.Threads) + DiskLimits.ForKeys(settings.Secrets), 3600 + (imageBytes >> 20));
}
