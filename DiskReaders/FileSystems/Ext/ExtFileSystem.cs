using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>An opened ext2, ext3 or ext4.</summary>
internal sealed class ExtFileSystem : IFileSystem
{
    private const int BootBytes = 1024;
    private const int MostInodeExtents = 4;
    private static readonly byte[] BootName = "$Boot"u8.ToArray();

    private readonly ExtVolume _volume;

    public ExtFileSystem(ExtVolume volume, IReadOnlyList<string> notes)
    {
        _volume = volume;
        ExtSuperblock super = volume.Super;
        Facts = new FileSystemFacts(super.Kind, super.VolumeName, super.UuidText, super.BlockBytes, super.SizeBytes, notes);
    }

    public FileSystemFacts Facts { get; }

    public IEnumerable<GuestFile> Walk()
    {
        using var walk = new ExtWalk(_volume);
        walk.Collect();
        if (Boot(walk.Folders.Root) is { } boot)
        {
            yield return boot;
        }

        using var scan = new InodeScan(_volume, report: false);
        var describe = new InodeReader(_volume, walk);
        for (int i = 0; i < _volume.Groups.All.Count; i++)
        {
            ExtGroup group = _volume.Groups.All[i];
            scan.Begin(group, 0, walk.EndOf(i));
            while (scan.Next())
            {
                for (int at = 0; at < scan.Piece.Count; at++)
                {
                    if (describe.Read(scan.BytesOf(at), group, scan.NumberOf(at), scan.OffsetOf(at)) is { } file)
                    {
                        yield return file;
                    }
                }
            }
        }
    }

    public IBlockSource OpenContent(GuestFile file)
    {
        if (file is not ExtFile ext)
        {
            throw new ArgumentException("not a file of this file system", nameof(file));
        }

        if (ext.Fault is { } fault)
        {
            throw fault;
        }

        switch (ext.Content)
        {
            case ExtContent.Extents:
                return Mapped(ext, true, RootOf(ext.Map));
            case ExtContent.ExtentTree:
                return Mapped(ext, true, ext.Map);
            case ExtContent.Pointers:
                return Mapped(ext, false, ext.Map);
            case ExtContent.Inode:
                return new MappedSource(InlineMap.Open(_volume, (uint)ext.Id, ext.SizeBytes), [_volume.Source]);
            case ExtContent.Volume:
                return new SliceSource(_volume.Source, ext.FirstByte, ext.SizeBytes);
            default:
                return new MemorySource(ReadOnlyMemory<byte>.Empty);
        }
    }

    public void Dispose() => _volume.Dispose();

    private MappedSource Mapped(ExtFile file, bool extents, byte[] blockField)
    {
        IExtentMap map = _volume.BlockMap(extents, blockField, file.SizeBytes, file.NodeSeed, (uint)file.Id);
        return new MappedSource(map, [_volume.Source], owned: map as IDisposable);
    }

    private static byte[] RootOf(byte[] entries)
    {
        byte[] root = new byte[ExtInode.BlockFieldBytes];
        BinaryPrimitives.WriteUInt16LittleEndian(root, 0xF30A);
        BinaryPrimitives.WriteUInt16LittleEndian(root.AsSpan(2), (ushort)(entries.Length / ExtentTreeMap.EntryBytes));
        BinaryPrimitives.WriteUInt16LittleEndian(root.AsSpan(4), MostInodeExtents);
        entries.CopyTo(root, ExtentTreeMap.HeaderBytes);
        return root;
    }

    // "Layout": the first 1024 bytes are left to boot code.
    private ExtFile? Boot(GuestFolder root)
    {
        Span<byte> bytes = stackalloc byte[BootBytes];
        try
        {
            _volume.Source.Read(0, bytes);
        }
        catch (DiskFormatException e)
        {
            _volume.Context.Gaps.Add(new CoverageGap(e, "$Boot", BootBytes));
            return null;
        }

        return bytes.ContainsAnyExcept((byte)0)
            ? new ExtFile { Kind = GuestFileKind.System, Id = 0, SizeBytes = BootBytes, FirstByte = 0, Links = [new GuestLink(root, BootName)], Content = ExtContent.Volume }
            : null;
    }
}
