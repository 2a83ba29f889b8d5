using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Qcow2;

/// <summary>
/// QEMU's qcow2, versions 2 and 3: compressed clusters, extended L2 entries, backing files of any format that is read, external data
/// files, internal snapshots. Spec: QEMU docs/interop/qcow2.
/// </summary>
public sealed class Qcow2Format : ISnapshotFormat
{
    /// <summary>Naming other files needs the first cluster, 2 MiB at most.</summary>
    private const long ReferenceBudgetBytes = 4 << 20;

    private const string Luks = "luks";

    public string Name => "qcow2";

    public FormatSupport Support { get; } = new(
        "QEMU qcow2",
        "versions 2 and 3, zlib and zstd clusters, extended L2 entries, external data files, backing chains over any format here, internal snapshots; LUKS and the old AES method, unlocked by passphrase",
        "locked images; unknown incompatible features");

    public bool Probe(ImageFile file)
    {
        Span<byte> bytes = stackalloc byte[8];
        if (file.Bytes.Length < bytes.Length)
        {
            return false;
        }

        try
        {
            file.Bytes.Read(0, bytes);
        }
        catch (DiskFormatException)
        {
            return false;
        }

        return Qcow2Header.IsMagic(new BeView(bytes, Name, 0)) && BinaryPrimitives.ReadUInt32BigEndian(bytes[4..]) is 2 or 3;
    }

    public IReadOnlyList<ImageReference> References(ImageFile file)
    {
        Qcow2Header header = Qcow2Header.Read(file, new ScanBudget(ReferenceBudgetBytes));
        var references = new List<ImageReference>();
        if (header.Features.HasFlag(IncompatibleFeatures.ExternalDataFile) && header.Extensions.DataFile is { } data && !IsJson(data))
        {
            references.Add(Data(data));
        }

        if (header.BackingFile is { } backing && !IsJson(backing))
        {
            references.Add(Backing(header, backing));
        }

        return references;
    }

    public VirtualDisk Open(ImageFile file, IChainOpener chain, ReadContext context)
    {
        context.ThrowIfCancelled();
        Qcow2Header header = Qcow2Header.Read(file, context.Budget);
        return Open(file, header, header.Active, chain, context);
    }

    public IReadOnlyList<ImageSnapshot> Snapshots(ImageFile file)
    {
        Qcow2Header header = Qcow2Header.Read(file, new ScanBudget(ReferenceBudgetBytes));
        return [.. SnapshotEntry.Table(file, header).Select(s => new ImageSnapshot(s.Id, s.Name, s.Created))];
    }

    public VirtualDisk OpenSnapshot(ImageFile file, string id, IChainOpener chain, ReadContext context)
    {
        context.ThrowIfCancelled();
        Qcow2Header header = Qcow2Header.Read(file, context.Budget);
        SnapshotEntry entry = SnapshotEntry.Table(file, header).FirstOrDefault(s => s.Id == id)
            ?? throw new DiskFormatException(Fault.MissingParent, Qcow2Header.SnapshotTableName, header.SnapshotsAt, $"the image keeps no snapshot of the id \"{id}\"");
        return Open(file, header, entry.Checked(file, header), chain, context);
    }

    private static VirtualDisk Open(ImageFile file, Qcow2Header header, ClusterTable table, IChainOpener chain, ReadContext context)
    {
        if (header.Features.HasFlag(IncompatibleFeatures.Corrupt))
        {
            context.Gaps.Add(new CoverageGap(Fault.Corrupt, file.Name, "qcow2 header", 72, 0, "the image is marked as corrupt: any of its structures may be wrong"));
        }

        ImageFile? data = header.Features.HasFlag(IncompatibleFeatures.ExternalDataFile) ? OpenData(file, header, chain) : null;
        Qcow2Map? map = null;
        PackedClusters? packed = null;
        DataClusters? clusters = null;
        VirtualDisk? parent = null;
        try
        {
            map = new Qcow2Map(file, header, table, data, context.Budget);
            packed = new PackedClusters(map, header.Compression, context);
            clusters = DataClusters.Open(file, header, (data ?? file).Bytes, map, chain, context);
            parent = header.BackingFile is { } backing ? OpenBacking(file, header, backing, chain) : null;
            string format = (header.Version == 2 ? "qcow2/v2" : "qcow2/v3") + clusters.Variant;
            return new VirtualDisk
            {
                Format = format,
                Content = new MappedSource(clusters.Map, [clusters.Source, packed], parent: parent?.Content),
                Chain = [new ChainLink(file.Name, format), .. parent?.Chain ?? []],
                Owned = parent is null ? [clusters, packed, map] : [clusters, packed, map, parent],
            };
        }
        catch
        {
            parent?.Dispose();
            clusters?.Dispose();
            packed?.Dispose();
            map?.Dispose();
            throw;
        }
    }

    /// <summary>The backing file's disk; QEMU's driver for LUKS in a raw file is a way to read raw, not a format of its own.</summary>
    private static VirtualDisk OpenBacking(ImageFile file, Qcow2Header header, string backing, IChainOpener chain)
    {
        VirtualDisk parent = chain.OpenParent(file, Backing(header, Named(backing)));
        if (header.Extensions.BackingFormat != Luks)
        {
            return parent;
        }

        try
        {
            return parent with { Content = chain.OpenLuks(parent.Content, null), Owned = [parent] };
        }
        catch
        {
            parent.Dispose();
            throw;
        }
    }

    private static ImageFile OpenData(ImageFile file, Qcow2Header header, IChainOpener chain) =>
        header.Extensions.DataFile is { } name
            ? chain.OpenExtent(file, Data(Named(name)))
            : throw new DiskFormatException(Fault.MissingParent, "qcow2 header", 72, "the image has an external data file and does not name it");

    /// <summary>QEMU lets a name be a description of a whole block device tree, which could ask for anything.</summary>
    private static string Named(string name) =>
        IsJson(name) ? throw new DiskFormatException(Fault.Refused, "qcow2 header", 8, "a json: description is named where a file should be; it is not followed") : name;

    private static bool IsJson(string name) => name.StartsWith("json:", StringComparison.Ordinal);

    private static ImageReference Data(string name) => new(ReferenceKind.Extent, [name]);

    /// <summary>The backing file, with the format that the image says it has: a raw one must not be probed, its guest wrote every byte.</summary>
    private static ImageReference Backing(Qcow2Header header, string name) => new(
        ReferenceKind.Parent,
        [name],
        header.Extensions.BackingFormat switch
        {
            "vpc" => "vhd",
            "host_device" or "file" or Luks => "raw",
            var format => format,
        });
}
