using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Qcow2;

/// <summary>
/// qcow2 "Snapshot table" entry. Spec: QEMU docs/interop/qcow2, "Snapshots". Big-endian; 40 bytes, then extra data, id and name, padded to
/// 8 bytes. Each has an L1 table of its own over the same clusters.
/// </summary>
internal sealed class SnapshotEntry
{
    private const string Structure = "qcow2 snapshot table entry";

    /// <summary>"disk size" within the extra data; images of version 2 may end before it.</summary>
    private const int DiskSizeAt = 8;

    private const int StackBytes = 256;

    private readonly long _at;
    private readonly ulong _l1At;
    private readonly uint _l1Entries;
    private readonly ulong _diskBytes;

    private SnapshotEntry(BeView v, IBlockSource image, Qcow2Header header, ref int textBytes)
    {
        _at = v.Offset;
        _l1At = v.U64(0);
        _l1Entries = v.U32(8);
        int idBytes = v.U16(12);
        int nameBytes = v.U16(14);
        long extraBytes = v.U32(36);
        v.Require(extraBytes <= Qcow2Limits.MostSnapshotExtraBytes, 36, "extra data size");
        textBytes += idBytes + nameBytes;
        if (textBytes > Qcow2Limits.MostSnapshotTextBytes)
        {
            throw v.TooLarge(12, "the length of all ids and names");
        }

        long textAt = _at + Qcow2Limits.SnapshotEntryBytes + extraBytes;
        End = (textAt + idBytes + nameBytes + 7) & ~7L;
        Bounds.Check(_at, textAt + idBytes + nameBytes - _at, image.Length, Structure);
        Id = Text(image, textAt, idBytes);
        Name = Text(image, textAt + idBytes, nameBytes);
        uint seconds = v.U32(16);
        uint nanoseconds = v.U32(20);
        Created = seconds == 0 ? null : DateTimeOffset.FromUnixTimeSeconds(seconds).AddTicks(nanoseconds / 100);
        _diskBytes = (ulong)header.VirtualBytes;
        if (extraBytes >= DiskSizeAt + sizeof(ulong))
        {
            Span<byte> size = stackalloc byte[sizeof(ulong)];
            image.Read(_at + Qcow2Limits.SnapshotEntryBytes + DiskSizeAt, size);
            _diskBytes = new BeView(size, Structure, _at).U64(0);
        }
    }

    public string Id { get; }

    /// <summary>Guest-controlled text.</summary>
    public string Name { get; }

    public DateTimeOffset? Created { get; }

    /// <summary>Where the next entry begins.</summary>
    private long End { get; }

    /// <summary>The whole table, in its own order: snapshots are appended.</summary>
    public static List<SnapshotEntry> Table(ImageFile file, Qcow2Header header)
    {
        Span<byte> bytes = stackalloc byte[Qcow2Limits.SnapshotEntryBytes];
        var entries = new List<SnapshotEntry>();
        int textBytes = 0;
        long at = header.SnapshotsAt;
        for (uint i = 0; i < header.Snapshots; i++)
        {
            Bounds.Check(at, bytes.Length, file.Bytes.Length, Qcow2Header.SnapshotTableName);
            file.Bytes.Read(at, bytes);
            var entry = new SnapshotEntry(new BeView(bytes, Structure, at), file.Bytes, header, ref textBytes);
            entries.Add(entry);
            at = entry.End;
        }

        return entries;
    }

    /// <summary>The snapshot's clusters. Its faults are its own: other snapshots and the active disk are read all the same.</summary>
    public ClusterTable Checked(ImageFile file, Qcow2Header header)
    {
        if (_diskBytes > (ulong)(long.MaxValue - header.ClusterBytes))
        {
            throw Bad("disk size");
        }

        if (_l1Entries * (long)sizeof(ulong) > Qcow2Limits.MostL1Bytes)
        {
            throw new DiskFormatException(Fault.Limit, Structure, _at, "l1_size is over the limit");
        }

        if (_l1At > long.MaxValue || _l1At % (uint)header.ClusterBytes != 0)
        {
            throw Bad("l1_table_offset");
        }

        if (_l1Entries < header.L1EntriesFor((long)_diskBytes))
        {
            throw Bad($"l1_size: {header.L1EntriesFor((long)_diskBytes)} entries are needed");
        }

        Bounds.Check((long)_l1At, _l1Entries * (long)sizeof(ulong), file.Bytes.Length, "qcow2 L1 table");
        return new ClusterTable((long)_l1At, _l1Entries, (long)_diskBytes);
    }

    private static string Text(IBlockSource image, long at, int length)
    {
        Span<byte> bytes = length <= StackBytes ? stackalloc byte[length] : new byte[length];
        image.Read(at, bytes);
        return Encoding.UTF8.GetString(bytes);
    }

    private DiskFormatException Bad(string field) => new(Fault.Corrupt, Structure, _at, "bad " + field);
}
