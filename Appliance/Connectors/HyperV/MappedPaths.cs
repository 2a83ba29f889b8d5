using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.HyperV;

/// <summary>
/// Where storage of hosts is mounted here, as the operator says it: by a path there and a folder here, the longest that fits. A drive is looked for as the
/// node's own share first (<c>\\NODE\D$</c>), for each node of a cluster has drives of its own.
/// </summary>
internal sealed class MappedPaths(IReadOnlyDictionary<string, string> paths)
{
    /// <summary>Names of one folder that are looked at for one that differs in its case alone.</summary>
    private const int MostNames = 100_000;

    private readonly (HostPath There, string Here)[] _mapped =
    [
        .. paths.Select(p => (There: HostPath.Parse(p.Key)!, p.Value)).OrderByDescending(p => p.There.Names.Count),
    ];

    /// <summary>The folder of the longest mapping that fits; null where none does.</summary>
    public (string Folder, IReadOnlyList<string> Names)? Find(HostPath path, string host)
    {
        foreach (HostPath seen in (HostPath[])[path.Seen(host), path])
        {
            foreach ((HostPath there, string here) in _mapped)
            {
                if (seen.Below(there) is { } names)
                {
                    return (here, names);
                }
            }
        }

        return null;
    }

    /// <summary>A file of a host; below its folder no link is followed.</summary>
    public (string? Path, Fault Fault, string Why) Open(HostPath path, string host)
    {
        if (Find(path, host) is not { } mapped)
        {
            return (null, Fault.Unsupported, $"{path} of {host} is below no path of \"paths\" (where its storage is mounted here)");
        }

        string at = mapped.Folder;
        if (HostFile.KindOf(at, follow: true) != HostFileKind.Folder)
        {
            return (null, Fault.Transport, $"{path}: {at} is no folder; is the storage mounted?");
        }

        for (int i = 0; i < mapped.Names.Count; i++)
        {
            HostFileKind wanted = i == mapped.Names.Count - 1 ? HostFileKind.Regular : HostFileKind.Folder;
            (string next, HostFileKind kind) = Step(at, mapped.Names[i]);
            if (kind != wanted)
            {
                return kind == HostFileKind.Missing ? (null, Fault.MissingParent, $"{path}: there is no {next}")
                    : (null, Fault.Refused, $"{path}: {next} is {(kind == HostFileKind.Link ? "a link" : "no " + (wanted == HostFileKind.Regular ? "regular file" : "folder"))}; it is not opened");
            }

            at = next;
        }

        return mapped.Names.Count > 0 ? (at, default, "") : (null, Fault.Refused, $"{path} is a folder");
    }

    /// <summary>A name of a folder as it is, or else the one that Windows takes for the same.</summary>
    private static (string Path, HostFileKind Kind) Step(string folder, string name)
    {
        string exact = Path.Combine(folder, name);
        HostFileKind kind = HostFile.KindOf(exact);
        if (kind != HostFileKind.Missing)
        {
            return (exact, kind);
        }

        try
        {
            string[] alike = [.. Directory.EnumerateFileSystemEntries(folder).Take(MostNames).Where(e => Path.GetFileName(e).Equals(name, StringComparison.OrdinalIgnoreCase)).Take(2)];
            return alike is [string one] ? (one, HostFile.KindOf(one)) : (exact, HostFileKind.Missing);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return (exact, HostFileKind.Missing);
        }
    }
}
