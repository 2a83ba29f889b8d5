using System.Buffers;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Fat;

/// <summary>
/// Takes the entries of one folder, piece by piece. Spec: Microsoft FAT 1.03, "FAT Directory Structure" and "FAT Long Directory
/// Entries"; little-endian; 32 bytes each. Long names lie in the entries before their short one, last part first, each with the
/// short name's checksum; parts that do not fit are orphans and are passed over, as every system does.
/// </summary>
internal sealed class FatFolderReader(FatBootSector boot, GuestFolder folder)
{
    public const int EntrySize = 32;

    private const int CharsPerPart = 13;
    private const int MostParts = 20;
    private const byte Deleted = 0xE5;
    private const byte LastPart = 0x40;
    private const byte AttrVolumeId = 0x08;
    private const byte AttrDirectory = 0x10;
    private const byte AttrLongName = 0x0F;
    private const byte AttrLongNameMask = 0x3F;
    private const byte AttrReserved = 0xC0;

    /// <summary>What no short name holds ("DIR_Name[]"), lower case aside.</summary>
    private static readonly SearchValues<byte> Illegal = SearchValues.Create(
        [0, 1, 2, 3, 4, .. Enumerable.Range(6, 26).Select(i => (byte)i), .. "\"*+,./:;<=>?[\\]|"u8]);

    private readonly char[] _longName = new char[MostParts * CharsPerPart];
    private int _partsWanted = -1;
    private int _longNameParts;
    private byte _checksum;
    private bool _isBeyondEnd;

    /// <summary>The volume label, when this folder holds one.</summary>
    public string? Label { get; private set; }

    /// <summary>Forgets a long name begun: the next piece does not follow the last one.</summary>
    public void Interrupt() => _partsWanted = -1;

    /// <param name="bytes">Whole entries.</param>
    /// <param name="offset">Where they lie on the volume.</param>
    /// <param name="found">Takes files and folders.</param>
    public void Take(ReadOnlySpan<byte> bytes, long offset, List<FatFile> found)
    {
        for (int at = 0; at + EntrySize <= bytes.Length; at += EntrySize)
        {
            ReadOnlySpan<byte> entry = bytes.Slice(at, EntrySize);
            byte attributes = entry[11];
            if (entry[0] is 0 or Deleted)
            {
                // The specification ends the folder at the first zero; Linux reads on, so what is sound behind it counts.
                _isBeyondEnd |= entry[0] == 0;
                _partsWanted = -1;
            }
            else if ((attributes & AttrLongNameMask) == AttrLongName)
            {
                TakePart(entry);
            }
            else if ((attributes & AttrVolumeId) != 0)
            {
                Label ??= FatNames.Label(entry[..FatNames.ShortLength]);
                _partsWanted = -1;
            }
            else
            {
                var v = new LeView(entry, "FAT directory entry", offset + at);
                if (!_isBeyondEnd || IsPlausible(v))
                {
                    TakeShort(v, found);
                }

                _partsWanted = -1;
            }
        }
    }

    private void TakePart(ReadOnlySpan<byte> entry)
    {
        int order = entry[0] & ~LastPart;
        if ((entry[0] & LastPart) != 0)
        {
            _partsWanted = order is > 0 and <= MostParts ? order : -1;
            _longNameParts = order;
            _checksum = entry[13];
        }

        if (_partsWanted <= 0 || order != _partsWanted || entry[13] != _checksum)
        {
            _partsWanted = -1;
            return;
        }

        _partsWanted--;
        Span<char> part = _longName.AsSpan(_partsWanted * CharsPerPart, CharsPerPart);
        for (int i = 0; i < CharsPerPart; i++)
        {
            // LDIR_Name1 at 1, LDIR_Name2 at 14, LDIR_Name3 at 28.
            int at = (i < 5 ? 1 : i < 11 ? 4 : 6) + (2 * i);
            part[i] = (char)(entry[at] | (entry[at + 1] << 8));
        }
    }

    private void TakeShort(LeView v, List<FatFile> found)
    {
        ReadOnlySpan<byte> shortName = v.Field(0, FatNames.ShortLength);
        bool isFolder = (v.U8(11) & AttrDirectory) != 0;
        if (isFolder && (shortName.SequenceEqual(".          "u8) || shortName.SequenceEqual("..         "u8)))
        {
            return;
        }

        uint high = boot.EntryBits == 32 ? v.U16(20) : 0u;
        uint cluster = (high << 16) | v.U16(26);
        uint size = isFolder ? 0 : v.U32(28);
        found.Add(new FatFile
        {
            Kind = isFolder ? GuestFileKind.Folder : GuestFileKind.Regular,
            Id = (ulong)v.Offset / EntrySize,
            SizeBytes = size,
            FirstByte = (isFolder || size > 0) && boot.IsCluster(cluster) ? boot.ClusterOffset(cluster) : -1,
            FirstCluster = cluster,
            Links = [new GuestLink(folder, Name(shortName, v.U8(12)))],
        });
    }

    private byte[] Name(ReadOnlySpan<byte> shortName, byte ntRes)
    {
        if (_partsWanted == 0 && _checksum == FatNames.Checksum(shortName))
        {
            ReadOnlySpan<char> name = _longName.AsSpan(0, _longNameParts * CharsPerPart);
            int end = name.IndexOf('\0');
            name = end < 0 ? name : name[..end];
            if (FatNames.IsProper(name))
            {
                return FatNames.Utf8(name);
            }
        }

        return FatNames.Short(shortName, ntRes);
    }

    private bool IsPlausible(LeView v)
    {
        uint cluster = ((boot.EntryBits == 32 ? v.U16(20) : 0u) << 16) | v.U16(26);
        return (v.U8(11) & AttrReserved) == 0
            && !v.Field(0, FatNames.ShortLength).ContainsAny(Illegal)
            && (cluster == 0 ? v.U32(28) == 0 && (v.U8(11) & AttrDirectory) == 0 : boot.IsCluster(cluster));
    }
}
