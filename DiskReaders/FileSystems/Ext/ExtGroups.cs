using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>What is kept of a sound group descriptor.</summary>
/// <param name="Group">Its number.</param>
/// <param name="InodeTable">First byte of its inode table.</param>
/// <param name="InodeBitmap">First byte of its inode bitmap; -1 when there is none to believe.</param>
/// <param name="UsedInodes">Inodes from the first that may be in use, as the descriptor says.</param>
internal readonly record struct ExtGroup(uint Group, long InodeTable, long InodeBitmap, uint UsedInodes);

/// <summary>
/// The group descriptors. Specification: "ext4 Data Structures and Algorithms", "Block Group Descriptors", "Meta Block Groups", "Lazy Block
/// Group Initialization". A descriptor that is damaged is taken from the copy in the first backup group, and reported.
/// </summary>
internal sealed class ExtGroups
{
    private const int BytesPerKeptGroup = 32;
    private const long MostGroups = 1 << 22;
    private const ushort InodeUninit = 0x1;
    private const int ChecksumField = 0x1E;

    private readonly ExtSuperblock _sb;
    private readonly IBlockSource _source;
    private readonly ReadContext _context;
    private readonly List<ExtGroup> _groups = [];

    // Inode tables never overlap in a sound file system; one that is claimed twice would be listed twice, or millions of times.
    private readonly Dictionary<long, long> _tables = [];
    private long _badFrom = -1;
    private DiskFormatException? _bad;

    private ExtGroups(ExtSuperblock sb, IBlockSource source, ReadContext context)
    {
        _sb = sb;
        _source = source;
        _context = context;
    }

    /// <summary>The sound groups by number.</summary>
    public IReadOnlyList<ExtGroup> All => _groups;

    public static ExtGroups Load(ExtSuperblock sb, IBlockSource source, ReadContext context)
    {
        var groups = new ExtGroups(sb, source, context);
        groups.Load();
        return groups;
    }

    /// <summary>The index in <see cref="All"/> of the group that holds an inode; -1 when the inode or its group is not there.</summary>
    public int IndexOf(uint inode)
    {
        if (inode == 0 || inode > _sb.InodesCount)
        {
            return -1;
        }

        uint group = (inode - 1) / _sb.InodesPerGroup;
        if (group < _groups.Count && _groups[(int)group].Group == group)
        {
            return (int)group;
        }

        int low = 0, high = _groups.Count - 1;
        while (low <= high)
        {
            int middle = low + ((high - low) / 2);
            uint at = _groups[middle].Group;
            if (at == group)
            {
                return middle;
            }

            if (at < group)
            {
                low = middle + 1;
            }
            else
            {
                high = middle - 1;
            }
        }

        return -1;
    }

    private void Load()
    {
        long most = Math.Min(MostGroups, _context.Budget.CeilingBytes / BytesPerKeptGroup);
        long count = Math.Min(_sb.Groups, most);
        using RentedBuffer buffer = _context.Budget.Rent(_sb.BlockBytes);
        using RentedBuffer copy = _context.Budget.Rent(_sb.DescriptorBytes);
        for (long first = 0; first < count; first += _sb.DescriptorsPerBlock)
        {
            _context.ThrowIfCancelled();
            long offset = DescriptorBlock(first / _sb.DescriptorsPerBlock, 0) << _sb.BlockShift;
            if (offset >= _source.Length)
            {
                // Descriptors lie ever further on: of a volume that is too short no more are there.
                _badFrom = _badFrom < 0 ? first : _badFrom;
                _bad ??= new DiskFormatException(Fault.Truncated, "ext4_group_desc", offset, "the volume ends before the group descriptors");
                break;
            }

            DiskFormatException? unreadable = TryRead(_source, offset, buffer.Span);
            long end = Math.Min(count, first + _sb.DescriptorsPerBlock);
            for (long group = first; group < end; group++)
            {
                int within = (int)(group - first) * _sb.DescriptorBytes;
                Add((uint)group, new LeView(buffer.Span.Slice(within, _sb.DescriptorBytes), "ext4_group_desc", offset + within), unreadable, copy.Span);
            }
        }

        EndBadRun(count);
        if (count < _sb.Groups)
        {
            _context.Gaps.Add(new CoverageGap(Fault.Limit, "", "ext4_group_desc", -1, 0, $"groups from {count} of {_sb.Groups} were not read"));
        }
    }

    private void Add(uint group, LeView v, DiskFormatException? unreadable, Span<byte> copy)
    {
        DiskFormatException? fault = unreadable ?? Check(v, group, checksum: true);
        if (fault is null)
        {
            fault = Keep(v, group, trusted: true);
        }
        else if (ReadBackup(group, copy, out long backupOffset) && Check(new LeView(copy, "ext4_group_desc", backupOffset), group, checksum: true) is null)
        {
            _context.Gaps.Add(new CoverageGap(fault.Fault, "", fault.Structure, fault.Offset, 0, $"group {group}: {fault.Detail}; its copy was used"));
            fault = Keep(new LeView(copy, "ext4_group_desc", backupOffset), group, trusted: true);
        }
        else if (unreadable is null && Check(v, group, checksum: false) is null)
        {
            // What it says of unused inodes is not believed then: the whole table is read.
            _context.Gaps.Add(new CoverageGap(fault, "", 0) { Detail = $"group {group}: {fault.Detail}" });
            fault = Keep(v, group, trusted: false);
        }

        if (fault is null)
        {
            EndBadRun(group);
        }
        else if (_badFrom < 0)
        {
            _badFrom = group;
            _bad = fault;
        }
    }

    private void EndBadRun(long end)
    {
        if (_badFrom >= 0)
        {
            long bytes = (end - _badFrom) * _sb.InodesPerGroup * _sb.InodeBytes;    // at most 2^32 inodes of 64 KiB
            _context.Gaps.Add(new CoverageGap(_bad!, "", bytes) { Detail = $"groups {_badFrom} to {end - 1}: {_bad!.Detail}" });
            _badFrom = -1;
            _bad = null;
        }
    }

    private DiskFormatException? Check(LeView v, uint group, bool checksum)
    {
        if (checksum && _sb.HasGroupChecksum && Checksum(v.Bytes, group) != v.U16(ChecksumField))
        {
            return v.Corrupt(ChecksumField, "bg_checksum");
        }

        long table = Table(v);
        long tableBlocks = TableBlocks(group);
        return table <= _sb.FirstDataBlock - 1L || table <= 0 || table > _sb.BlocksCount - tableBlocks ? v.Corrupt(0x8, "bg_inode_table") : null;
    }

    private DiskFormatException? Keep(LeView v, uint group, bool trusted)
    {
        long table = Table(v);
        long bitmap = v.U32(0x4) | (v.Length >= 64 ? (long)v.U32(0x24) << 32 : 0);
        long tableBlocks = TableBlocks(0);
        long bucket = table / tableBlocks;
        for (long near = bucket - 1; near <= bucket + 1; near++)
        {
            if (_tables.TryGetValue(near, out long other) && Math.Abs(other - table) < tableBlocks)
            {
                return new DiskFormatException(Fault.Corrupt, "ext4_group_desc", v.Offset, $"its inode table overlaps another group's at block {other}");
            }
        }

        _tables.Add(bucket, table);
        uint inodes = InodesOf(group);
        uint used = inodes;
        if (_sb.HasGroupChecksum && trusted)
        {
            uint unused = v.U16(0x1C) | (v.Length >= 64 ? (uint)v.U16(0x32) << 16 : 0);
            used = (v.U16(0x12) & InodeUninit) != 0 ? 0 : unused <= inodes ? inodes - unused : inodes;
        }

        bool noBitmap = bitmap <= 0 || bitmap >= _sb.BlocksCount;
        _groups.Add(new ExtGroup(group, table << _sb.BlockShift, noBitmap ? -1 : bitmap << _sb.BlockShift, used));
        return null;
    }

    private static long Table(LeView v)
    {
        uint high = v.Length >= 64 ? v.U32(0x28) : 0;
        return high > 0xFFFF ? -1 : v.U32(0x8) | ((long)high << 32);
    }

    private uint InodesOf(uint group) => (uint)Math.Clamp(_sb.InodesCount - ((long)group * _sb.InodesPerGroup), 0, _sb.InodesPerGroup);

    private long TableBlocks(uint group) => Math.Max(1, (((long)InodesOf(group) * _sb.InodeBytes) + _sb.BlockBytes - 1) >> _sb.BlockShift);

    // "Meta Block Groups": from s_first_meta_bg on, each block of descriptors lies in the first group it describes.
    private long DescriptorBlock(long index, long copyGroup)
    {
        long superBlock = ExtSuperblock.PrimaryOffset >> _sb.BlockShift;
        if (!_sb.Incompat.HasFlag(ExtIncompat.MetaBg) || index < _sb.FirstMetaBg)
        {
            return copyGroup == 0 ? superBlock + 1 + index : _sb.FirstBlockOfGroup(copyGroup) + 1 + index;
        }

        long group = (index * _sb.DescriptorsPerBlock) + copyGroup;
        long skip = _sb.HasSuper(group) ? 1 : 0;
        if (_sb.BlockBytes == 1024 && group == 0 && _sb.FirstDataBlock == 0)
        {
            skip++;
        }

        return _sb.FirstBlockOfGroup(group) + skip;
    }

    // Copies: with meta_bg in the second group of each meta group, else behind each copy of the superblock.
    private bool ReadBackup(uint group, Span<byte> copy, out long offset)
    {
        offset = -1;
        long index = group / _sb.DescriptorsPerBlock;
        long backup = 1;
        if (!(_sb.Incompat.HasFlag(ExtIncompat.MetaBg) && index >= _sb.FirstMetaBg))
        {
            while (backup < _sb.Groups && !_sb.HasSuper(backup))
            {
                backup = backup == 1 && _sb.Compat.HasFlag(ExtCompat.SparseSuper2) ? Math.Max(2, _sb.BackupGroup0) : backup + 1;
                if (backup > 9 && !_sb.HasSuper(backup))
                {
                    return false;
                }
            }
        }

        if (backup >= _sb.Groups)
        {
            return false;
        }

        offset = (DescriptorBlock(index, backup) << _sb.BlockShift) + (group % _sb.DescriptorsPerBlock * _sb.DescriptorBytes);
        return TryRead(_source, offset, copy) is null;
    }

    private static DiskFormatException? TryRead(IBlockSource source, long offset, Span<byte> destination)
    {
        try
        {
            source.Read(offset, destination);
            return null;
        }
        catch (DiskFormatException e)
        {
            return e;
        }
    }

    // "Checksums", Group Descriptors: crc32c with metadata_csum, crc16 with gdt_csum; the lower 16 bits are stored.
    private ushort Checksum(ReadOnlySpan<byte> descriptor, uint group)
    {
        Span<byte> number = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(number, group);
        if (_sb.HasMetadataChecksum)
        {
            ReadOnlySpan<byte> zero = [0, 0];
            uint state = Crc32C.Update(_sb.ChecksumSeed, number);
            state = Crc32C.Update(state, descriptor[..ChecksumField]);
            state = Crc32C.Update(state, zero);
            return (ushort)(Crc32C.Update(state, descriptor[(ChecksumField + 2)..]) & 0xFFFF);
        }

        ushort crc = Crc16.Update(0xFFFF, _sb.Uuid);
        crc = Crc16.Update(crc, number);
        crc = Crc16.Update(crc, descriptor[..ChecksumField]);
        return Crc16.Update(crc, descriptor[(ChecksumField + 2)..]);
    }
}
