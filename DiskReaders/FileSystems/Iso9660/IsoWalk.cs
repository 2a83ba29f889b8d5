using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Iso9660;

/// <summary>
/// Walks one tree of folders. Spec: ECMA-119, sections 6.8 and 9; Rock Ridge where the tree has it. Folders that lead back to themselves
/// are entered once. The path table is not read: Linux does not either.
/// </summary>
/// <param name="volume">The volume.</param>
/// <param name="tree">Which tree.</param>
/// <param name="top">The folder that its paths begin with.</param>
/// <param name="context">Memory and gaps.</param>
internal sealed class IsoWalk(IBlockSource volume, IsoTree tree, GuestFolder top, ReadContext context)
{
    private const string FolderStructure = "ISO 9660 directory";
    private const int ChunkBytes = 256 << 10;
    private const int MostDepth = 4096;
    private const int MostPending = 2_000_000;
    private const int MostExtents = 1 << 16;

    private readonly RockRidge _rock = new(volume, tree.BlockBytes);
    private readonly HashSet<long> _entered = [];
    private readonly Stack<PendingFolder> _pending = new();

    // Folders that say they are shown elsewhere, in case nothing shows them.
    private readonly List<PendingFolder> _relocated = [];

    private readonly List<IsoFile> _found = [];
    private readonly List<FilePiece> _parts = [];
    private long _partBytes;
    private long _folderBytes;
    private bool _usesRock;

    public IEnumerable<IsoFile> Walk()
    {
        _usesRock = tree.Naming == IsoNaming.RockRidge;
        if (_usesRock)
        {
            _ = RootSays(_rock);
        }

        Push(new PendingFolder(top, tree.RootBlock, tree.RootBytes, 0));
        using RentedBuffer buffer = context.Budget.Rent(ChunkBytes + DirectoryRecord.MostBytes);
        int relocated = 0;
        while (true)
        {
            if (!_pending.TryPop(out PendingFolder folder))
            {
                if (relocated == _relocated.Count)
                {
                    yield break;
                }

                folder = _relocated[relocated++];
                if (_entered.Contains(folder.Block))
                {
                    continue;
                }

                Push(folder);
                continue;
            }

            _parts.Clear();
            _partBytes = 0;
            int held = 0;
            for (long read = 0; read < folder.Bytes;)
            {
                context.ThrowIfCancelled();
                int count = (int)Math.Min(ChunkBytes, folder.Bytes - read);
                long offset = (folder.Block * tree.BlockBytes) + read;
                _found.Clear();
                if (!TryRead(folder, offset, buffer.Span.Slice(held, count)))
                {
                    break;
                }

                int used = Take(folder, buffer.Span[..(held + count)], offset - held, read - held, isLast: read + count == folder.Bytes);
                held = held + count - used;
                buffer.Span.Slice(used, held).CopyTo(buffer.Span);
                read += count;
                foreach (IsoFile file in _found)
                {
                    yield return file;
                }
            }
        }
    }

    /// <summary>True when the root folder says that it uses Rock Ridge.</summary>
    public bool HasRockRidge() => RootSays(_rock);

    private bool RootSays(RockRidge rock)
    {
        Span<byte> bytes = stackalloc byte[DirectoryRecord.MostBytes];
        long offset = (long)tree.RootBlock * tree.BlockBytes;
        bytes = bytes[..(int)Math.Clamp(volume.Length - offset, 0, bytes.Length)];
        if (!volume.TryRead(offset, bytes) || bytes.Length < DirectoryRecord.LeastBytes || bytes[0] > bytes.Length || bytes[0] < DirectoryRecord.LeastBytes)
        {
            return false;
        }

        try
        {
            return rock.Begin(new DirectoryRecord(new LeView(bytes[..bytes[0]], DirectoryRecord.Structure, offset)).SystemUse);
        }
        catch (DiskFormatException)
        {
            return false;
        }
    }

    private static string PathOf(GuestFolder folder) =>
        folder.Parent is null ? "" : GuestName.Escape(new GuestLink(folder.Parent, folder.Name).Path(), controls: false);

    private bool TryRead(PendingFolder folder, long offset, Span<byte> bytes)
    {
        try
        {
            volume.Read(offset, bytes);
            return true;
        }
        catch (DiskFormatException fault)
        {
            context.Gaps.Add(new CoverageGap(fault, PathOf(folder.Folder), bytes.Length));
            return false;
        }
    }

    // Takes whole records; answers how many bytes were used. No record should cross a sector's end, but Linux reads one that does.
    private int Take(PendingFolder folder, ReadOnlySpan<byte> bytes, long offset, long inFolder, bool isLast)
    {
        int at = 0;
        while (at < bytes.Length)
        {
            int length = bytes[at];
            if (length == 0)
            {
                // The rest of the sector holds no more records (6.8.1.1).
                at += tree.BlockBytes - (int)((inFolder + at) % tree.BlockBytes);
                continue;
            }

            if (length > bytes.Length - at)
            {
                if (isLast)
                {
                    context.Gaps.Add(new CoverageGap(Fault.Corrupt, PathOf(folder.Folder), DirectoryRecord.Structure, offset + at, 0, "it leaves its folder"));
                    return bytes.Length;
                }

                return at;
            }

            try
            {
                TakeRecord(folder, new DirectoryRecord(new LeView(bytes.Slice(at, length), DirectoryRecord.Structure, offset + at)));
            }
            catch (DiskFormatException fault)
            {
                _parts.Clear();
                _partBytes = 0;
                context.Gaps.Add(new CoverageGap(fault, PathOf(folder.Folder), 0));
            }

            at += length;
        }

        return bytes.Length;
    }

    private void TakeRecord(PendingFolder folder, DirectoryRecord record)
    {
        if (record.IsDots)
        {
            return;
        }

        if (_usesRock)
        {
            _rock.Parse(record.SystemUse, record.Offset);
        }

        int type = _usesRock && _rock.Mode >= 0 ? _rock.Mode & RockRidge.FileTypeMask : 0;
        byte[] name = NameOf(record);
        bool isFolder = type == 0 ? record.IsDirectory : type == RockRidge.TypeDirectory;
        if (_usesRock && _rock.ChildBlock >= 0)
        {
            Enter(folder, name, record, _rock.ChildBlock, OwnBytes(_rock.ChildBlock));
        }
        else if (isFolder && _usesRock && _rock.IsRelocated)
        {
            _relocated.Add(new PendingFolder(new GuestFolder(folder.Folder, name), record.FirstBlock, record.DataBytes, folder.Depth + 1));
        }
        else if (isFolder)
        {
            Enter(folder, name, record, record.FirstBlock, record.DataBytes);
        }
        else
        {
            TakeFile(folder, name, record, type);
        }
    }

    private byte[] NameOf(DirectoryRecord record) => tree.Naming switch
    {
        IsoNaming.Joliet => IsoNames.Joliet(record.Name),
        IsoNaming.RockRidge when _rock.Name.Count > 0 => GuestName.Safe([.. _rock.Name]),
        IsoNaming.Enhanced => GuestName.Safe(record.Name.ToArray()),
        _ => IsoNames.Plain(record.Name),
    };

    // A folder shown elsewhere says in its own record how long it is.
    private uint OwnBytes(long block)
    {
        Span<byte> own = stackalloc byte[DirectoryRecord.LeastBytes];
        volume.Read(block * tree.BlockBytes, own);
        return new DirectoryRecord(new LeView(own, DirectoryRecord.Structure, block * tree.BlockBytes)).DataBytes;
    }

    private void Enter(PendingFolder parent, byte[] name, DirectoryRecord record, long block, uint bytes)
    {
        _found.Add(new IsoFile
        {
            Kind = GuestFileKind.Folder,
            Id = (ulong)record.Offset,
            SizeBytes = 0,
            StoredBytes = 0,
            FirstByte = block * tree.BlockBytes,
            Links = [new GuestLink(parent.Folder, name)],
            Extents = [],
            Uid = Uid(),
        });
        Push(new PendingFolder(new GuestFolder(parent.Folder, name), block, bytes, parent.Depth + 1));
    }

    private void Push(PendingFolder folder)
    {
        DiskFormatException? fault =
            folder.Depth > MostDepth ? new DiskFormatException(Fault.Limit, FolderStructure, folder.Block * tree.BlockBytes, $"more than {MostDepth} folders in each other")
            : _pending.Count >= MostPending ? new DiskFormatException(Fault.Limit, FolderStructure, folder.Block * tree.BlockBytes, $"more than {MostPending} folders to read")
            : (_folderBytes += folder.Bytes) > volume.Length ? new DiskFormatException(Fault.Corrupt, FolderStructure, folder.Block * tree.BlockBytes, "the folders together are longer than the volume")
            : !_entered.Add(folder.Block) ? new DiskFormatException(Fault.Corrupt, FolderStructure, folder.Block * tree.BlockBytes, "the folder was entered before")
            : null;
        if (fault is not null)
        {
            context.Gaps.Add(new CoverageGap(fault, PathOf(folder.Folder), 0));
            return;
        }

        _pending.Push(folder);
    }

    private long Uid() => _usesRock && _rock.Mode >= 0 ? _rock.Uid : -1;

    private void TakeFile(PendingFolder folder, byte[] name, DirectoryRecord record, int type)
    {
        if (record.DataBytes > 0)
        {
            _parts.Add(new FilePiece(_partBytes, record.DataBytes, record.FirstBlock * tree.BlockBytes));
            _partBytes += record.DataBytes;
            if (_parts.Count > MostExtents)
            {
                throw new DiskFormatException(Fault.Limit, DirectoryRecord.Structure, record.Offset, $"a file in more than {MostExtents} extents");
            }
        }

        if (record.GoesOn)
        {
            return;
        }

        FilePiece[] extents = [.. _parts];
        long stored = _partBytes;
        _parts.Clear();
        _partBytes = 0;
        Zisofs? packed = _usesRock ? _rock.Packed : null;
        GuestFileKind kind = type switch
        {
            0 or RockRidge.TypeRegular => GuestFileKind.Regular,
            RockRidge.TypeLink => GuestFileKind.Link,
            _ => GuestFileKind.Device,
        };
        byte[]? target = kind == GuestFileKind.Link ? [.. _rock.Link] : null;
        _found.Add(new IsoFile
        {
            Kind = kind,
            Id = (ulong)record.Offset,
            SizeBytes = kind == GuestFileKind.Device ? 0 : target?.Length ?? packed?.Bytes ?? stored,
            StoredBytes = stored,
            FirstByte = extents.Length > 0 ? extents[0].Location : -1,
            Links = [new GuestLink(folder.Folder, name)],
            StreamName = record.IsAssociated ? "rsrc"u8.ToArray() : [],
            Fault = record.IsInterleaved ? record.Unsupported("File Unit Size: an interleaved file")
                : packed is { } p && (!p.IsKnown || p.BlockShift is < ZisofsMap.LeastShift or > ZisofsMap.MostShift) ? record.Unsupported("zisofs form")
                : null,
            Extents = extents,
            Packed = packed,
            Target = target,
            Uid = Uid(),
        });
    }

    private readonly record struct PendingFolder(GuestFolder Folder, long Block, uint Bytes, int Depth);
}
