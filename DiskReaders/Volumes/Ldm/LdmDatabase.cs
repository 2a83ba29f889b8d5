using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Ldm;

/// <summary>
/// The database in a dynamic disk's private region. Spec: Russon "LDM Documentation", "TOCBLOCK", "VMDB", "VBLK". Big-endian. Updates are
/// made in two stages, first new records are added and then old ones deleted, so that the committed state can always be told.
/// </summary>
internal sealed class LdmDatabase
{
    /// <summary>Of 512 bytes 8 EiB; each byte offset made of it and a disk's start is still a sound long.</summary>
    public const ulong MostSectors = 1UL << 50;

    private const int TocBytes = 512;
    private const int VmdbBytes = 512;
    private const int VblkHeaderBytes = 16;
    private const int RecordBytes = 24;
    private const int MostFragments = 64;
    private const int ReadBytes = 256 << 10;
    private const ushort Consistent = 1;
    private const ushort NotYetActive = 2;

    private readonly Dictionary<uint, byte[]?[]> _fragments = [];

    private LdmDatabase()
    {
    }

    public string GroupName { get; private set; } = "";

    public ulong CommittedSequence { get; private set; }

    /// <summary>True when it was left between the stages of an update.</summary>
    public bool IsUpdating { get; private set; }

    public List<LdmVolume> Volumes { get; } = [];

    public List<LdmComponent> Components { get; } = [];

    public List<LdmPartition> Partitions { get; } = [];

    public List<LdmDisk> Disks { get; } = [];

    /// <exception cref="DiskFormatException">No table of contents leads to a sound database.</exception>
    public static LdmDatabase Read(VolumeMember member, PrivateHeader header, ReadContext context)
    {
        DiskFormatException? fault = null;
        long sectors = header.ConfigBytes / header.SectorBytes;
        Span<byte> toc = stackalloc byte[TocBytes];
        foreach (long sector in (ReadOnlySpan<long>)[1, 2, sectors - 3, sectors - 2])
        {
            long at = header.ConfigStart + (sector * header.SectorBytes);
            try
            {
                // Later versions of Windows write one of each pair.
                member.Content.Read(at, toc);
                if (!toc.StartsWith("TOCBLOCK"u8))
                {
                    continue;
                }

                LdmDatabase database = new();
                database.ReadConfig(new BeView(toc, "TOCBLOCK", at), member.Content, header, context);
                if (fault is not null)
                {
                    context.Gaps.Add(new CoverageGap(fault, member.Name, 0));
                }

                return database;
            }
            catch (DiskFormatException e)
            {
                fault ??= e;
            }
        }

        throw fault ?? new DiskFormatException(Fault.Corrupt, "TOCBLOCK", header.ConfigStart, "none is to be found");
    }

    private void ReadConfig(BeView toc, IBlockSource disk, PrivateHeader header, ReadContext context)
    {
        int bitmap = PrivateHeader.Text(toc.Field(0x24, 8)) == "config" ? 0x24 : 0x46;
        toc.Require(PrivateHeader.Text(toc.Field(bitmap, 8)) == "config", 0x24, "bitmap name");
        ulong sectors = (ulong)(header.ConfigBytes / header.SectorBytes);
        ulong start = toc.U64(bitmap + 0x0A);
        ulong size = toc.U64(bitmap + 0x12);
        toc.Require(start < sectors && size <= sectors - start && size > 0, bitmap + 0x0A, "bitmap");
        long at = header.ConfigStart + ((long)start * header.SectorBytes);
        long bytes = (long)size * header.SectorBytes;

        Span<byte> head = stackalloc byte[VmdbBytes];
        disk.Read(at, head);
        BeView v = new(head, "VMDB", at);
        v.Require(v.Field(0, 4).SequenceEqual("VMDB"u8), 0, "magic");
        v.Require(v.U16(0x12) == 4, 0x12, "major version");
        uint end = v.U32(0x04);
        int recordBytes = (int)Math.Min(v.U32(0x08), int.MaxValue);
        uint first = v.U32(0x0C);
        v.Require(recordBytes is >= 64 and <= 4096, 0x08, "size of VBLK");
        v.Require(first % (uint)recordBytes == 0 && first >= VmdbBytes && first <= bytes, 0x0C, "offset to first VBLK");
        v.Require(end <= bytes / recordBytes, 0x04, "sequence number of last VBLK");
        GroupName = PrivateHeader.Text(v.Field(0x16, 31));
        CommittedSequence = v.U64(0x75);
        IsUpdating = v.U16(0x10) != Consistent;
        ReadRecords(disk, at, first, end, recordBytes, context);
        foreach ((uint group, byte[]?[] fragments) in _fragments)
        {
            Parse(group, fragments);
        }
    }

    private void ReadRecords(IBlockSource disk, long at, long first, uint end, int recordBytes, ReadContext context)
    {
        using RentedBuffer buffer = context.Budget.Rent(ReadBytes / recordBytes * recordBytes);
        long last = (long)end * recordBytes;
        for (long offset = first; offset < last;)
        {
            context.ThrowIfCancelled();
            Span<byte> part = buffer.Span[..(int)Math.Min(buffer.Length, last - offset)];
            disk.Read(at + offset, part);
            for (int i = 0; i < part.Length; i += recordBytes)
            {
                Take(new BeView(part.Slice(i, recordBytes), "VBLK", at + offset + i));
            }

            offset += part.Length;
        }
    }

    // One of possibly several records of an object; they need not be neighbours.
    private void Take(BeView v)
    {
        v.Require(v.Field(0, 4).SequenceEqual("VBLK"u8), 0, "magic");
        uint group = v.U32(8);
        int number = v.U16(12);
        int count = v.U16(14);
        if (group == 0 || count == 0)
        {
            return;
        }

        v.Require(count <= MostFragments && number < count, 12, "record number");
        if (!_fragments.TryGetValue(group, out byte[]?[]? fragments))
        {
            _fragments[group] = fragments = new byte[count][];
        }

        v.Require(fragments.Length == count && fragments[number] is null, 14, "number of records");
        fragments[number] = v.Bytes[VblkHeaderBytes..].ToArray();
    }

    private void Parse(uint group, byte[]?[] fragments)
    {
        if (fragments.Any(f => f is null))
        {
            throw new DiskFormatException(Fault.Corrupt, "VBLK", -1, $"object {group} lacks some of its {fragments.Length} records");
        }

        byte[] bytes = new byte[fragments.Sum(f => f!.Length) + VblkHeaderBytes];
        int filled = VblkHeaderBytes;
        foreach (byte[]? fragment in fragments)
        {
            fragment!.CopyTo(bytes, filled);
            filled += fragment.Length;
        }

        BeView v = new(bytes, "VBLK", -1);
        if (v.U16(0x10) == NotYetActive)
        {
            return;
        }

        int flags = v.U8(0x12);
        VblkCursor c = new(v, RecordBytes);
        switch (v.U8(0x13))
        {
            case 0x51:
                Volumes.Add(ParseVolume(ref c, flags));
                break;
            case 0x32:
                Components.Add(ParseComponent(ref c, flags));
                break;
            case 0x33:
                Partitions.Add(ParsePartition(ref c, flags));
                break;
            case 0x34:
                ulong id = c.Number();
                string name = c.Text();
                v.Require(Guid.TryParse(c.Text(), out Guid guid), 0x18, "disk id");
                Disks.Add(new LdmDisk(id, name, guid));
                break;
            case 0x44:
                Disks.Add(new LdmDisk(c.Number(), c.Text(), new Guid(c.Bytes(16), bigEndian: true)));
                break;
            case 0x35 or 0x45:
                break;
            default:
                throw v.Unsupported(0x13, "record type");
        }
    }

    private static LdmVolume ParseVolume(ref VblkCursor c, int flags)
    {
        ulong id = c.Number();
        string name = c.Text();
        c.Counted();
        c.Skip(1);
        string state = PrivateHeader.Text(c.Bytes(14));
        c.Skip(1 + 1 + 1 + 3 + 1);
        c.Number();
        c.Skip(16);
        long sectors = c.Sectors();
        c.Skip(4 + 1);
        var guid = new Guid(c.Bytes(16), bigEndian: true);
        foreach (int optional in (ReadOnlySpan<int>)[0x08, 0x20, 0x80])
        {
            if ((flags & optional) != 0)
            {
                c.Counted();
            }
        }

        return new LdmVolume(id, name, sectors, guid, (flags & 0x02) != 0 ? c.Text() : "", state);
    }

    private static LdmComponent ParseComponent(ref VblkCursor c, int flags)
    {
        ulong id = c.Number();
        c.Text();
        string state = c.Text();
        int kind = c.Byte();
        c.Skip(4);
        c.Number();
        c.Skip(16);
        ulong volume = c.Number();
        c.Skip(1);
        bool isStriped = (flags & 0x10) != 0;
        return new LdmComponent(id, volume, kind, isStriped ? c.Sectors() : 0, isStriped ? (int)Math.Min(c.Number(), int.MaxValue) : 0, state);
    }

    private static LdmPartition ParsePartition(ref VblkCursor c, int flags)
    {
        c.Number();
        c.Text();
        c.Skip(4 + 8);
        long start = c.FixedSectors();
        long volumeOffset = c.FixedSectors();
        long sectors = c.Sectors();
        ulong component = c.Number();
        ulong disk = c.Number();
        return new LdmPartition(component, disk, start, volumeOffset, sectors, (flags & 0x08) != 0 ? (int)Math.Min(c.Number(), int.MaxValue) : 0);
    }
}
