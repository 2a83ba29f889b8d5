using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Nbd;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.Hostile;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Changes;

/// <summary>
/// A VM whose disks other people's tools write to between scans, and a hypervisor that says truly, in granules of 64 KiB, what they wrote: it compares the
/// disks with what they were. Served by NBD, so that it can be told what was read.
/// </summary>
internal sealed class ChangingDisks : IDisposable
{
    private const int Granule = 64 << 10;

    private readonly Scratch _scratch = new();
    private readonly List<string> _disks = [];
    private int _marks;

    public string State => _scratch["state"];

    /// <summary>Marks that the hypervisor keeps.</summary>
    public Dictionary<string, byte[][]> Kept { get; } = [];

    /// <summary>The hypervisor says that nothing was written, whatever was.</summary>
    public bool Lies { get; set; }

    /// <summary>Bytes that were read of the disks in the last scan.</summary>
    public long Served { get; private set; }

    /// <summary>Runs in the folder of the disks.</summary>
    public void Shell(string script) => Tool.Shell("export PATH=$PATH:/usr/sbin:/sbin\n" + script, _scratch.Folder);

    public string this[string name] => _scratch[name];

    public void Add(string name) => _disks.Add(_scratch[name]);

    public Report Scan(bool onlyChanges, IWorker? worker = null, Func<ScanSettings, ScanSettings>? change = null)
    {
        Served = 0;
        CountingSource[] sources = [.. _disks.Select(d => new CountingSource(new FileSource(d)))];
        string socket = _scratch["nbd"];
        using NbdServer server = NbdServer.OnUnix(socket, sources.Select((s, i) => (s, i)).ToDictionary(p => $"disk{p.i}", p => (IBlockSource)p.s));
        VmDisk[] disks = [.. _disks.Select((d, i) => ExportedDisk.Of(d, socket, $"disk{i}"))];
        var seen = new Vm("vm", new VmReport("id", "vm", "running", ""), disks, []);
        var vm = new Vm("vm", seen.Identity, [], [])
        {
            Open = () => new View(seen, null),
            OpenTracked = since => new View(seen, new Told(this, since)),
        };
        ScanSettings settings = HostileScan.Settings with { StateFolder = State, OnlyChanges = onlyChanges, RecheckShare = 0 };
        using var events = new StringWriter();
        Report report = new ScanRun(change?.Invoke(settings) ?? settings, Sandbox.Probe(SandboxMode.Reduced), worker ?? new InProcessWorker(), TimeProvider.System, new NdjsonListener(events), CancellationToken.None).Run([vm]);
        Served = sources.Sum(s => s.Served);
        foreach (CountingSource source in sources)
        {
            source.Dispose();
        }

        return report;
    }

    public void Dispose() => _scratch.Dispose();

    private sealed class View(Vm vm, Told? changes) : IVmView
    {
        public Vm Vm => vm;

        public IViewChanges? Changes => changes;

        public string? MustClose() => null;

        public IReadOnlyList<GapReport> Conclude() => [];

        public string? Keep() => null;

        public void Dispose() => changes?.End();
    }

    private sealed class Told : IViewChanges
    {
        private readonly ChangingDisks _owner;
        private readonly byte[][]? _before;
        private readonly byte[][] _now;
        private bool _isKept;

        public Told(ChangingDisks owner, string? since)
        {
            _owner = owner;
            _before = since is null ? null : owner.Kept.GetValueOrDefault(since);
            _now = [.. owner._disks.Select(File.ReadAllBytes)];
            Mark = $"mark {++owner._marks}";
            owner.Kept.Add(Mark, _now);
        }

        public string? Mark { get; }

        public IReadOnlyList<ChangedRange>? Of(VmDisk disk)
        {
            int index = _owner._disks.IndexOf(disk.Path);
            if (_before is null)
            {
                return null;
            }

            List<ChangedRange> changed = [];
            if (_owner.Lies)
            {
                return changed;
            }

            for (int at = 0; at < _now[index].Length; at += Granule)
            {
                int count = Math.Min(Granule, _now[index].Length - at);
                if (!_now[index].AsSpan(at, count).SequenceEqual(_before[index].AsSpan(at, count)))
                {
                    changed.Add(new ChangedRange(at, count));
                }
            }

            return changed;
        }

        public void Keep() => _isKept = true;

        public void Release() => _owner.Kept.Keys.Where(k => k != Mark).ToList().ForEach(k => _owner.Kept.Remove(k));

        public void End()
        {
            if (!_isKept)
            {
                _owner.Kept.Remove(Mark!);
            }
        }
    }

    private sealed class CountingSource(IBlockSource inner) : IBlockSource
    {
        private long _served;

        public long Served => Interlocked.Read(ref _served);

        public long Length => inner.Length;

        public void Read(long offset, Span<byte> destination)
        {
            Interlocked.Add(ref _served, destination.Length);
            inner.Read(offset, destination);
        }

        public StoredExtent Locate(long offset, long count) => inner.Locate(offset, count);

        public void Dispose() => inner.Dispose();
    }
}
