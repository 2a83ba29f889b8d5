using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>
/// The fast commits of a journal: changes told as results, not as blocks. Specification: "ext4 Data Structures and Algorithms", "Fast
/// commits". Inodes become blocks of their tables, ranges lie over a file's map, names over a folder's entries.
/// </summary>
internal sealed class FastCommits
{
    private const int TagBytes = 4;
    private const int TailBytes = 8;
    private const int BytesPerTag = 256;
    private const int MostRangesOfFile = 10_000;
    private const long MostInodeBytes = 256 << 20;
    private const int ExtentMagic = 0xF30A;
    private const int GenerationOffset = 0x64;

    private readonly ExtVolume _volume;
    private readonly Dictionary<long, byte[]> _inodeBlocks = [];
    private readonly Dictionary<uint, List<RangeEdit>> _ranges = [];
    private readonly Dictionary<(uint Folder, string Name), NameEdit> _names = [];
    private readonly HashSet<uint> _unlinked = [];

    private FastCommits(ExtVolume volume) => _volume = volume;

    private enum Tag : ushort
    {
        AddRange = 1,
        DelRange = 2,
        Creat = 3,
        Link = 4,
        Unlink = 5,
        Inode = 6,
        Pad = 7,
        Tail = 8,
        Head = 9,
    }

    /// <summary>Blocks of inode tables as the fast commits leave them.</summary>
    public IReadOnlyDictionary<long, byte[]> InodeBlocks => _inodeBlocks;

    /// <summary>By the folder's inode and the name as Latin-1.</summary>
    public IReadOnlyDictionary<(uint Folder, string Name), NameEdit> Names => _names;

    /// <summary>Complete commits.</summary>
    public int Count { get; private set; }

    /// <summary>True when a name of the inode was taken away: without another it is a deleted file, not a lost one.</summary>
    public bool WasUnlinked(uint inode) => _unlinked.Contains(inode);

    public bool HasRanges(uint inode) => _ranges.ContainsKey(inode);

    public IExtentMap Over(IExtentMap map, uint inode) => _ranges.TryGetValue(inode, out List<RangeEdit>? ranges)
        ? new EditedMap(map, ranges, _volume.Super)
        : map;

    /// <summary>Reads the area; null when it holds nothing that follows transaction <paramref name="next"/> - 1.</summary>
    /// <exception cref="DiskFormatException">What it holds cannot be applied.</exception>
    public static FastCommits? Read(ExtVolume volume, IBlockSource log, JournalSuperblock super, uint next)
    {
        var commits = new FastCommits(volume);
        List<(Tag Tag, byte[] Value)> tags = commits.Scan(log, super, next, out int complete);
        if (complete == 0)
        {
            return null;
        }

        tags.RemoveRange(complete, tags.Count - complete);
        for (int i = 0; i < tags.Count; i++)
        {
            commits.Apply(tags, i);
        }

        return commits;
    }

    // A new inode is told as itself, its ranges, and then its name.
    private static bool IsCreated(List<(Tag Tag, byte[] Value)> tags, int at)
    {
        uint inode = BinaryPrimitives.ReadUInt32LittleEndian(tags[at].Value);
        for (at++; at < tags.Count && tags[at].Tag is Tag.AddRange or Tag.DelRange; at++)
        {
            if (BinaryPrimitives.ReadUInt32LittleEndian(tags[at].Value) != inode)
            {
                return false;
            }
        }

        return at < tags.Count && tags[at].Tag == Tag.Creat && BinaryPrimitives.ReadUInt32LittleEndian(tags[at].Value.AsSpan(4)) == inode;
    }

    // Each commit ends in a tail with the checksum of its tags; those after the last good tail never happened.
    private List<(Tag Tag, byte[] Value)> Scan(IBlockSource log, JournalSuperblock super, uint next, out int complete)
    {
        int blockBytes = _volume.Super.BlockBytes;
        long most = _volume.Context.Budget.CeilingBytes / BytesPerTag;
        using RentedBuffer buffer = _volume.Context.Budget.Rent(blockBytes);
        List<(Tag, byte[])> tags = [];
        complete = 0;
        uint crc = 0;
        for (long block = super.FastCommitFirst; block < super.MaxLength; block++)
        {
            _volume.Context.ThrowIfCancelled();
            log.Read(block * blockBytes, buffer.Span);
            var v = new LeView(buffer.Span, "ext4_fc_tl", block * blockBytes);
            for (int at = 0; at <= blockBytes - TagBytes;)
            {
                var tag = (Tag)v.U16(at);
                int length = v.U16(at + 2);
                if (length > blockBytes - at - TagBytes || !HasValidLength(tag, length))
                {
                    return tags;
                }

                if (tag == Tag.Head && (v.U32(at + 4) != 0 || v.U32(at + 8) != next))
                {
                    return v.U32(at + 8) == next ? throw v.Unsupported(at + 4, "fc_features") : tags;
                }

                if (tag == Tag.Tail)
                {
                    crc = Crc32C.Update(crc, v.Field(at, TagBytes + 4));
                    if (v.U32(at + 4) != next || v.U32(at + 8) != crc)
                    {
                        return tags;
                    }

                    complete = tags.Count;
                    Count++;
                    crc = 0;
                }
                else
                {
                    crc = Crc32C.Update(crc, v.Field(at, TagBytes + length));
                    if (tag is not (Tag.Pad or Tag.Head))
                    {
                        if (tags.Count >= most)
                        {
                            throw v.TooLarge(at, "the number of fast commit tags");
                        }

                        tags.Add((tag, v.Field(at + TagBytes, length).ToArray()));
                    }
                }

                at += TagBytes + length;
            }
        }

        return tags;
    }

    private bool HasValidLength(Tag tag, int length) => tag switch
    {
        Tag.AddRange => length == 16,
        Tag.DelRange => length == 12,
        Tag.Creat or Tag.Link or Tag.Unlink => length is > 8 and <= 8 + 255,
        Tag.Inode => length >= 4 + 128 && length <= 4 + _volume.Super.InodeBytes,
        Tag.Pad => true,
        Tag.Tail => length >= TailBytes,
        Tag.Head => length == 8,
        _ => false,
    };

    private void Apply(List<(Tag Tag, byte[] Value)> tags, int at)
    {
        (Tag tag, byte[] value) = tags[at];
        var v = new LeView(value, "ext4_fc_tl", -1);
        switch (tag)
        {
            case Tag.AddRange:
                int stored = v.U16(8);
                bool unwritten = stored > 0x8000;
                AddRange(v.U32(0), new RangeEdit(v.U32(4), unwritten ? stored - 0x8000 : stored, v.U32(12) | ((long)v.U16(10) << 32), unwritten ? ExtentKind.Zero : ExtentKind.Data));
                break;
            case Tag.DelRange:
                AddRange(v.U32(0), new RangeEdit(v.U32(4), v.U32(8), 0, ExtentKind.Hole));
                break;
            case Tag.Inode:
                SetInode(v.U32(0), value.AsSpan(4), IsCreated(tags, at));
                break;
            case Tag.Creat or Tag.Link or Tag.Unlink:
                EditName(v.U32(0), v.U32(4), Encoding.Latin1.GetString(value.AsSpan(8)), tag == Tag.Unlink);
                break;
            default:
                break;
        }
    }

    private void AddRange(uint inode, RangeEdit edit)
    {
        if (edit.Blocks == 0)
        {
            return;
        }

        if (edit.Kind != ExtentKind.Hole && (edit.Start < _volume.Super.FirstDataBlock || edit.Start > _volume.Super.BlocksCount - edit.Blocks))
        {
            throw new DiskFormatException(Fault.Corrupt, "ext4_fc_add_range", -1, $"blocks of inode {inode} lie outside the file system");
        }

        if (!_ranges.TryGetValue(inode, out List<RangeEdit>? ranges))
        {
            _ranges.Add(inode, ranges = []);
        }

        if (ranges.Count >= MostRangesOfFile)
        {
            throw new DiskFormatException(Fault.Limit, "ext4_fc_add_range", -1, $"more than {MostRangesOfFile} ranges of inode {inode}");
        }

        List<RangeEdit> kept = [];
        foreach (RangeEdit old in ranges)
        {
            // What the new range leaves of an older one, before and behind it.
            if (old.First < edit.First)
            {
                kept.Add(old with { Blocks = Math.Min(old.Blocks, edit.First - old.First) });
            }

            long skip = Math.Max(0, edit.First + edit.Blocks - old.First);
            if (skip < old.Blocks)
            {
                kept.Add(old with { First = old.First + skip, Blocks = old.Blocks - skip, Start = old.Start + skip });
            }
        }

        kept.Add(edit);
        kept.Sort((a, b) => a.First.CompareTo(b.First));
        _ranges[inode] = kept;
    }

    // The inode without i_block, which the ranges change. A new file gets an empty extent tree: what its inode has on the disk belongs to a
    // file that was deleted since the last full commit.
    private void SetInode(uint number, ReadOnlySpan<byte> given, bool isNew)
    {
        long offset = _volume.InodeOffset(number);
        if (offset < 0)
        {
            throw new DiskFormatException(Fault.Corrupt, "ext4_fc_inode", -1, $"inode {number} does not exist");
        }

        long block = offset >> _volume.Super.BlockShift;
        if (!_inodeBlocks.TryGetValue(block, out byte[]? bytes))
        {
            if ((_inodeBlocks.Count + 1L) * _volume.Super.BlockBytes > Math.Min(MostInodeBytes, _volume.Context.Budget.CeilingBytes / 4))
            {
                throw new DiskFormatException(Fault.Limit, "ext4_fc_inode", -1, "too many inodes changed");
            }

            bytes = new byte[_volume.Super.BlockBytes];
            _volume.Source.Read(block << _volume.Super.BlockShift, bytes);
            _inodeBlocks.Add(block, bytes);
        }

        if (isNew)
        {
            _ranges.Remove(number);
        }

        Span<byte> inode = bytes.AsSpan((int)(offset & (_volume.Super.BlockBytes - 1)), _volume.Super.InodeBytes);
        given[..ExtInode.BlockFieldOffset].CopyTo(inode);
        given[GenerationOffset..].CopyTo(inode[GenerationOffset..]);
        Span<byte> field = inode.Slice(ExtInode.BlockFieldOffset, ExtInode.BlockFieldBytes);
        ExtInodeFlags flags = new ExtInode(inode).Flags;
        if (flags.HasFlag(ExtInodeFlags.Extents))
        {
            if (isNew || BinaryPrimitives.ReadUInt16LittleEndian(field) != ExtentMagic)
            {
                field.Clear();
                BinaryPrimitives.WriteUInt16LittleEndian(field, ExtentMagic);
                BinaryPrimitives.WriteUInt16LittleEndian(field[4..], 4);
            }
        }
        else
        {
            given.Slice(ExtInode.BlockFieldOffset, ExtInode.BlockFieldBytes).CopyTo(field);
        }

        if (_volume.Super.HasMetadataChecksum)
        {
            ExtInode.WriteChecksum(inode, _volume.Super.ChecksumSeed, number);
        }
    }

    // A link that is there already stays what it is; an unlink takes away only the name of that inode.
    private void EditName(uint folder, uint inode, string name, bool unlink)
    {
        if (!_names.TryGetValue((folder, name), out NameEdit? edit))
        {
            _names.Add((folder, name), edit = new NameEdit());
        }

        if (unlink)
        {
            edit.Removed.Add(inode);
            _unlinked.Add(inode);
            edit.Inode = edit.Inode == inode ? 0 : edit.Inode;
        }
        else if (edit.Inode == 0)
        {
            edit.Inode = inode;
        }
    }

    /// <summary>What became of a name: the inodes it no longer leads to, and the one it leads to unless the folder has it already.</summary>
    internal sealed class NameEdit
    {
        public HashSet<uint> Removed { get; } = [];

        public uint Inode { get; set; }
    }

    private readonly record struct RangeEdit(long First, long Blocks, long Start, ExtentKind Kind);

    private sealed class EditedMap(IExtentMap map, List<RangeEdit> ranges, ExtSuperblock super) : IExtentMap, IDisposable
    {
        public long Length => map.Length;

        public Extent Map(long offset, long count)
        {
            long block = offset >> super.BlockShift;
            long within = offset & (super.BlockBytes - 1);
            int low = 0, high = ranges.Count;
            while (low < high)
            {
                int middle = (low + high) / 2;
                if (ranges[middle].First + ranges[middle].Blocks <= block)
                {
                    low = middle + 1;
                }
                else
                {
                    high = middle;
                }
            }

            if (low == ranges.Count)
            {
                return map.Map(offset, count);
            }

            RangeEdit range = ranges[low];
            if (range.First > block)
            {
                return map.Map(offset, Math.Min(count, ((range.First - block) << super.BlockShift) - within));
            }

            long length = Math.Min(count, ((range.First + range.Blocks - block) << super.BlockShift) - within);
            return range.Kind == ExtentKind.Data
                ? new Extent(ExtentKind.Data, length, ((range.Start + block - range.First) << super.BlockShift) + within)
                : new Extent(range.Kind, length);
        }

        public void Dispose() => (map as IDisposable)?.Dispose();
    }
}
