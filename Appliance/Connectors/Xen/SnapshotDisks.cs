using System.Globalization;
using Serilog;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Nbd;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>
/// Makes disks of a snapshot readable for a worker: by the pool's NBD servers, served on from here, because a worker has no network; where there are none, by
/// an export that is spooled.
/// </summary>
/// <param name="socket">Where the server here listens.</param>
/// <param name="spool">Folder for exports; null: the operator gave none.</param>
internal sealed class SnapshotDisks(XenConnector connector, string socket, string? spool) : IDisposable
{
    /// <summary>Longer than the pool's answer may take with what is tried again, and shorter than what a worker may be silent for.</summary>
    private const int PatienceSeconds = 110;

    private readonly System.Collections.Concurrent.ConcurrentDictionary<string, IBlockSource> _exports = new(StringComparer.Ordinal);
    private readonly List<VdiSource> _sources = [];
    private readonly VdiExport _export = new(connector);
    private NbdServer? _server;
    private int _spooled;

    /// <param name="disk">Of the VM, by which reports name it.</param>
    /// <param name="snapshot">What is read.</param>
    /// <exception cref="IOException">It cannot be read either way.</exception>
    public VmDisk Open(XenDisk disk, XenDisk snapshot)
    {
        PlannedFile file;
        try
        {
            file = Served(disk, snapshot);
        }
        catch (IOException e) when (spool is not null)
        {
            Log.Information("{Disk}: {Reason}; it is exported instead", disk.Path, e.Message);
            file = Spooled(disk, snapshot, spool);
        }
        catch (VdiSource.NotServedException e)
        {
            throw new IOException($"{e.Message}; without one a disk is read by an export, for which \"spool\" is needed", e);
        }

        return new VmDisk(disk.Path, new ChainPlan("raw", [file], []), []);
    }

    public void Dispose()
    {
        _sources.ForEach(s => s.End());
        _server?.Dispose();
        _sources.ForEach(s => s.Dispose());
    }

    private PlannedFile Served(XenDisk disk, XenDisk snapshot)
    {
        var source = new VdiSource(connector.Session, snapshot);
        _sources.Add(source);
        string export = _exports.Count.ToString(CultureInfo.InvariantCulture);
        _exports[export] = source;
        _server ??= NbdServer.OnUnix(socket, _exports);
        ViewFolder.TakeOver(socket);
        return new PlannedFile(0, disk.Path, socket) { Export = new PlannedExport(export, source.Length) { PatienceSeconds = PatienceSeconds } };
    }

    private PlannedFile Spooled(XenDisk disk, XenDisk snapshot, string folder)
    {
        Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        string path = Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"{_spooled++}.raw"));
        _export.Fetch(snapshot, path);
        return new PlannedFile(0, disk.Path, path);
    }
}
