using Vmsweep.Appliance.Connectors.HyperV;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>What is known of a datastore's images while many VMs of it are looked at, so that a head is read once and a folder is listed once.</summary>
internal sealed class KnownImages
{
    /// <summary>
    /// So many files and names all chains of a datastore may have together: 10,000 VMs over chains of ten have a fifth of it. Without a bound a few
    /// thousand images over each other, with as many on top, cost the square of their number.
    /// </summary>
    private const int MostLinks = 1 << 20;

    private readonly Dictionary<(string Folder, string Pattern), bool> _patterns = [];
    private readonly Dictionary<string, HostFileKind> _kinds = new(StringComparer.Ordinal);
    private int _links;

    public ImageHeads Heads { get; } = new();

    /// <summary>Images by identity, for each folder that was searched for one and the root that allowed it.</summary>
    public Dictionary<(string Root, string Place), Dictionary<string, string>> Identities { get; } = [];

    /// <summary>The checkpoints of Hyper-V in a folder, which may be those of many VMs.</summary>
    public Dictionary<string, IReadOnlyList<HyperVConfiguration>> Checkpoints { get; } = new(StringComparer.Ordinal);

    /// <summary>The kind of a path; that of a regular file or a folder is looked up once.</summary>
    public HostFileKind KindOf(string path)
    {
        if (_kinds.TryGetValue(path, out HostFileKind kind))
        {
            return kind;
        }

        kind = HostFile.KindOf(path);
        if (kind is HostFileKind.Regular or HostFileKind.Folder)
        {
            _kinds.Add(path, kind);
        }

        return kind;
    }

    /// <summary>True when a folder has a file of a pattern. A folder that cannot be listed has none.</summary>
    public bool Has(string folder, string pattern)
    {
        if (!_patterns.TryGetValue((folder, pattern), out bool has))
        {
            try
            {
                has = Directory.EnumerateFiles(folder, pattern, new EnumerationOptions { AttributesToSkip = 0 }).Any();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                has = false;
            }

            _patterns.Add((folder, pattern), has);
        }

        return has;
    }

    /// <summary>Counts a chain in.</summary>
    /// <exception cref="ChainLimitException">There are too many.</exception>
    public void Count(ChainPlan plan)
    {
        if (_links > MostLinks)
        {
            throw new ChainLimitException($"the chains of all disks have more than {MostLinks} files together; scan the disk by itself");
        }

        _links += plan.Files.Count + plan.References.Count;
    }
}

/// <summary>A disk is left out because the disks of its datastore are made of too much together.</summary>
internal sealed class ChainLimitException(string message) : IOException(message)
{
    /// <summary>Why a disk could not be opened, as a gap.</summary>
    public static GapReport Gap(Exception e, string path) =>
        new CoverageGap(e is ChainLimitException ? Fault.Limit : Fault.Transport, path, "storage", -1, 0, e.Message).ToReport();
}
