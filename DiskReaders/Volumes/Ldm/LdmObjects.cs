using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Ldm;

/// <summary>A volume's VBLK.</summary>
internal sealed record LdmVolume(ulong Id, string Name, long Sectors, Guid Guid, string DriveHint, string State);

/// <summary>One copy of a volume's content.</summary>
/// <param name="Kind">1 striped, 2 simple or spanned, 3 RAID5.</param>
internal sealed record LdmComponent(ulong Id, ulong Volume, int Kind, long StripeSectors, int Columns, string State);

/// <summary>An extent of a disk.</summary>
/// <param name="Start">Sector, counted from the disk's logical start.</param>
/// <param name="VolumeOffset">Sector within its component.</param>
internal sealed record LdmPartition(ulong Component, ulong Disk, long Start, long VolumeOffset, long Sectors, int Column);

internal sealed record LdmDisk(ulong Id, string Name, Guid Guid);

/// <summary>Reads a VBLK's fields one by one. Numbers and strings begin with a byte of length (Russon, "VBLK": size <q>P</q>).</summary>
internal ref struct VblkCursor(BeView view, int at)
{
    private readonly BeView _view = view;
    private int _at = at;

    public void Skip(int bytes)
    {
        _view.Field(_at, bytes);
        _at += bytes;
    }

    public byte Byte()
    {
        byte value = _view.U8(_at);
        _at++;
        return value;
    }

    public ReadOnlySpan<byte> Bytes(int count)
    {
        ReadOnlySpan<byte> field = _view.Field(_at, count);
        _at += count;
        return field;
    }

    public ReadOnlySpan<byte> Counted() => Bytes(Byte());

    public string Text() => PrivateHeader.Text(Counted());

    public ulong Number()
    {
        int at = _at;
        ReadOnlySpan<byte> digits = Counted();
        _view.Require(digits.Length <= 8, at, "number");
        ulong value = 0;
        foreach (byte digit in digits)
        {
            value = (value << 8) | digit;
        }

        return value;
    }

    /// <summary>A number of sectors that no disk passes.</summary>
    public long Sectors()
    {
        int at = _at;
        ulong value = Number();
        _view.Require(value <= LdmDatabase.MostSectors, at, "sectors");
        return (long)value;
    }

    public long FixedSectors()
    {
        int at = _at;
        ulong value = BinaryPrimitives.ReadUInt64BigEndian(Bytes(8));
        _view.Require(value <= LdmDatabase.MostSectors, at, "sectors");
        return (long)value;
    }
}
