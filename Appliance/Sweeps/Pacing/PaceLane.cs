using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Sweeps.Planning;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Sweeps.Pacing;

/// <summary>One VM's part of the rates: the file that its worker reads them from.</summary>
internal sealed class PaceLane : IScanPacing, IDisposable
{
    private readonly PaceBoard _board;
    private readonly HeldFolder _folder = new("pace");
    private readonly SafeFileHandle _file;
    private readonly Lock _lock = new();
    private bool _isClosed;

    public PaceLane(PaceBoard board, SweepVm vm)
    {
        _board = board;
        Vm = vm;
        Stores = [.. vm.Datastores.Distinct()];
        _file = File.OpenHandle(Rates, FileMode.CreateNew, FileAccess.Write, FileShare.Read);
    }

    public SweepVm Vm { get; }

    public IReadOnlyList<string> Stores { get; }

    private string Rates => _folder.File("rates");

    public PacingJob JobOf(IReadOnlyList<VmDisk> disks, Sandbox sandbox, List<(string Host, string Inside)> binds)
    {
        string inside = sandbox.Inside(Rates, "rates");
        binds.Add((Rates, inside));
        return new PacingJob(inside, [.. disks.Select(d => Math.Max(0, Stores.ToList().IndexOf(Vm.DatastoreOf(d.Path))))]);
    }

    public void OnPace(PaceEvent pace) => _board.Take(this, pace);

    public void Dispose()
    {
        _board.Leave(this);
        lock (_lock)
        {
            _isClosed = true;
            _file.Dispose();
        }

        _folder.Dispose();
    }

    /// <summary>The rates as they are, for tests.</summary>
    internal IReadOnlyList<long> Present { get; private set; } = [];

    internal void Set(IReadOnlyList<long> rates)
    {
        Present = rates;
        Span<byte> bytes = stackalloc byte[sizeof(long)];
        lock (_lock)
        {
            for (int i = 0; i < rates.Count && !_isClosed; i++)
            {
                // Eight bytes at a time: a worker that reads meanwhile sees the old rate or the new one.
                BinaryPrimitives.WriteInt64LittleEndian(bytes, rates[i]);
                RandomAccess.Write(_file, bytes, i * sizeof(long));
            }
        }
    }
}
