using System.Globalization;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Nbd;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>
/// Makes files of datastores readable for a worker: where the operator has mounted the datastore by their path, else as exports of an NBD server here, which
/// fetches ranges from the host.
/// </summary>
/// <param name="socket">Where the server listens.</param>
/// <param name="mounts">Folders of mounted datastores by the datastore's name.</param>
/// <param name="ranges">Reads files of a datastore.</param>
internal sealed class DatastoreFiles(string socket, IReadOnlyDictionary<string, string> mounts, Func<DatastorePath, FolderReader> ranges) : IDisposable
{
    /// <summary>Longer than a range may take, and shorter than what a worker may be silent for.</summary>
    private const int PatienceSeconds = 110;

    private readonly Dictionary<DatastorePath, PlannedFile> _planned = [];
    private readonly System.Collections.Concurrent.ConcurrentDictionary<string, IBlockSource> _exports = new(StringComparer.Ordinal);
    private NbdServer? _server;

    /// <exception cref="IOException">It is not there or cannot be read.</exception>
    public PlannedFile Open(DatastorePath path)
    {
        if (_planned.TryGetValue(path, out PlannedFile? known))
        {
            return known;
        }

        PlannedFile planned = mounts.TryGetValue(path.Datastore, out string? mount) ? Mounted(path, mount) : Serve(path.ToString(), ranges(path).Open(path));
        _planned.Add(path, planned);
        return planned;
    }

    /// <summary>Serves bytes that were had by other means.</summary>
    /// <param name="name">What they are, for reports.</param>
    /// <param name="source">Not disposed with this.</param>
    public PlannedFile Serve(string name, IBlockSource source)
    {
        string export = _exports.Count.ToString(CultureInfo.InvariantCulture);
        _exports[export] = source;
        _server ??= NbdServer.OnUnix(socket, _exports);
        ViewFolder.TakeOver(socket);
        return new PlannedFile(0, name, socket) { Export = new PlannedExport(export, source.Length) { PatienceSeconds = PatienceSeconds } };
    }

    /// <summary>What is served as a file that was opened here; null for one that is not served.</summary>
    public IBlockSource? SourceOf(PlannedFile file) => file.Export is { } export && file.Path == socket ? _exports.GetValueOrDefault(export.Name) : null;

    public void Dispose() => _server?.Dispose();

    private static PlannedFile Mounted(DatastorePath path, string mount)
    {
        string at = mount;
        foreach (string segment in path.Path.Split('/'))
        {
            HostFileKind folder = HostFile.KindOf(at, follow: at == mount);
            at = folder == HostFileKind.Folder ? Path.Combine(at, segment) : throw new IOException($"{path}: {at} is no folder; is the datastore mounted?");
        }

        return HostFile.KindOf(at) == HostFileKind.Regular ? new PlannedFile(0, path.ToString(), at) : throw new IOException($"{path}: {at} is no regular file");
    }
}
