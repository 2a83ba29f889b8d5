using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Benchmarks.Readers;

/// <summary>An image opened in this process, as a worker opens it.</summary>
internal sealed class OpenDisk : IDisposable
{
    private readonly ChainOpener _chain;
    private readonly InspectedVm _inspected;

    public OpenDisk(string path)
    {
        Context = new ReadContext(new ScanBudget(1L << 30), new GapList());
        _chain = new ChainOpener(ChainPlanner.Plan(path, new NoReferences()), Context);
        _inspected = DiskInspector.Inspect([new OpenedDisk(_chain.OpenDisk(), path, "")], Context);
    }

    public ReadContext Context { get; }

    public IBlockSource Content => _inspected.Disks[0].Disk.Content;

    public InspectedVolume Volume => _inspected.Volumes.First();

    public void Dispose()
    {
        _inspected.Dispose();
        _chain.Dispose();
    }

    /// <summary>The images of these benchmarks stand alone.</summary>
    private sealed class NoReferences : IReferencePolicy
    {
        public ReferenceAnswer Resolve(string fromPath, ImageReference reference) => new(null, Fault.Refused, "not expected here");
    }
}
