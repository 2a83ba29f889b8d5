using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.ExFat;

/// <summary>
/// Takes the entries of one folder, piece by piece. Spec: Microsoft exFAT, sections 6 and 7; little-endian; 32 bytes each. A File
/// entry and the secondary entries it counts are one set under one checksum; sets not in use are passed over.
/// </summary>
internal sealed class ExFatFolderReader(ExFatBootSector boot, ClusterHeap heap, GuestFolder folder)
{
    public const int EntrySize = 32;
    public const string Structure = "exFAT directory entry set";

    private const byte InUse = 0x80;
    private const byte Secondary = 0x40;
    private const byte AllocationBitmap = 0x81;
    private const byte UpcaseTable = 0x82;
    private const byte VolumeLabel = 0x83;
    private const byte FileEntry = 0x85;
    private const byte StreamExtension = 0xC0;
    private const byte FileName = 0xC1;

    private const int AttributeDirectory = 0x10;
    private const int NoFatChain = 2;
    private const int CharsPerEntry = 15;
    private const int MostLabelChars = 11;

    private readonly byte[] _set = new byte[256 * EntrySize];
    private int _wanted;
    private int _held;
    private long _setOffset;

    /// <summary>The folder's end was met: no entry behind it is in use (6.2.1.1).</summary>
    public bool IsAtEnd { get; private set; }

    public string? Label { get; private set; }

    /// <summary>The active allocation bitmap, when this folder holds its entry.</summary>
    public ExFatAllocation? Bitmap { get; private set; }

    public ExFatAllocation? Upcase { get; private set; }

    public uint UpcaseChecksum { get; private set; }

    /// <summary>What is wrong with the sets taken since the last look.</summary>
    public List<DiskFormatException> Faults { get; } = [];

    /// <summary>The next piece does not follow the last one.</summary>
    public void Interrupt() => _wanted = 0;

    /// <param name="bytes">Whole entries.</param>
    /// <param name="offset">Where they lie on the volume.</param>
    /// <param name="found">Takes files and folders.</param>
    public void Take(ReadOnlySpan<byte> bytes, long offset, List<ExFatFile> found)
    {
        for (int at = 0; at + EntrySize <= bytes.Length; at += EntrySize)
        {
            ReadOnlySpan<byte> entry = bytes.Slice(at, EntrySize);
            byte type = entry[0];
            if (type == 0)
            {
                BreakSet();
                IsAtEnd = true;
                return;
            }

            if ((type & InUse) == 0)
            {
                BreakSet();
                continue;
            }

            if ((type & Secondary) != 0)
            {
                // A secondary entry without its primary one is left over from something else; no system reads it.
                if (_wanted > 0)
                {
                    Hold(entry, found);
                }

                continue;
            }

            BreakSet();
            TakePrimary(entry, offset + at);
        }
    }

    /// <summary>Entry Set Checksum (6.3.3): 16 bits, without the field itself.</summary>
    public static ushort SetChecksum(ReadOnlySpan<byte> set)
    {
        ushort sum = 0;
        for (int i = 0; i < set.Length; i++)
        {
            if (i is not (2 or 3))
            {
                sum = unchecked((ushort)(((sum << 15) | (sum >> 1)) + set[i]));
            }
        }

        return sum;
    }

    /// <summary>The folder ended within a set.</summary>
    public void BreakSet()
    {
        if (_wanted > 0)
        {
            Faults.Add(new DiskFormatException(Fault.Corrupt, Structure, _setOffset, $"{_held / EntrySize} of {_wanted / EntrySize} entries are there"));
            _wanted = 0;
        }
    }

    private void TakePrimary(ReadOnlySpan<byte> entry, long offset)
    {
        switch (entry[0])
        {
            case FileEntry:
                _setOffset = offset;
                _wanted = (entry[1] + 1) * EntrySize;
                entry.CopyTo(_set);
                _held = EntrySize;
                if (_wanted == EntrySize)
                {
                    BreakSet();
                }

                break;
            case AllocationBitmap when (entry[1] & 1) == (boot.UsesSecond ? 1 : 0):
                Bitmap ??= Stored(entry);
                break;
            case UpcaseTable:
                Upcase ??= Stored(entry);
                UpcaseChecksum = BinaryPrimitives.ReadUInt32LittleEndian(entry[4..]);
                break;
            case VolumeLabel:
                Label ??= Encoding.Unicode.GetString(entry.Slice(2, 2 * Math.Min((int)entry[1], MostLabelChars)));
                break;
        }
    }

    private static ExFatAllocation Stored(ReadOnlySpan<byte> entry)
    {
        long length = (long)Math.Min(BinaryPrimitives.ReadUInt64LittleEndian(entry[24..]), long.MaxValue);
        return new ExFatAllocation(BinaryPrimitives.ReadUInt32LittleEndian(entry[20..]), false, length, length);
    }

    private void Hold(ReadOnlySpan<byte> entry, List<ExFatFile> found)
    {
        entry.CopyTo(_set.AsSpan(_held));
        _held += EntrySize;
        if (_held < _wanted)
        {
            return;
        }

        _wanted = 0;
        try
        {
            found.Add(File(new LeView(_set.AsSpan(0, _held), Structure, _setOffset)));
        }
        catch (DiskFormatException fault)
        {
            Faults.Add(fault);
        }
    }

    private ExFatFile File(LeView v)
    {
        // Linux reads a set whatever its checksum says, so it is reported and read here too.
        if (SetChecksum(v.Bytes) != v.U16(2))
        {
            Faults.Add(v.Corrupt(2, "SetChecksum"));
        }

        v.Require(v.U8(EntrySize) == StreamExtension, EntrySize, "Stream Extension: it is not the second entry");
        LeView stream = v.Inner(EntrySize, EntrySize, "exFAT Stream Extension");
        bool isFolder = (v.U16(4) & AttributeDirectory) != 0;
        var name = new GuestLink(folder, Name(v, stream.U8(3)));
        ulong length = stream.U64(24);
        ulong valid = stream.U64(8);
        uint first = stream.U32(20);
        DiskFormatException? fault =
            length > long.MaxValue || (length > 0 && ((length - 1) / (ulong)heap.ClusterBytes) >= heap.LastCluster - 1) ? stream.Corrupt(24, "DataLength: more than the cluster heap has")
            : length > 0 && !heap.IsCluster(first) ? stream.Corrupt(20, $"FirstCluster {first}")
            : valid > length ? stream.Corrupt(8, "ValidDataLength: more than DataLength")
            : (stream.U8(1) & NoFatChain) != 0 && length > 0 && ((length - 1) / (ulong)heap.ClusterBytes) > heap.LastCluster - first ? stream.Corrupt(24, "DataLength: the contiguous clusters leave the cluster heap")
            : null;
        long size = fault is null || length <= long.MaxValue ? (long)length : 0;
        return new ExFatFile
        {
            Kind = isFolder ? GuestFileKind.Folder : GuestFileKind.Regular,
            Id = (ulong)_setOffset / EntrySize,
            SizeBytes = isFolder ? 0 : size,
            FirstByte = length > 0 && fault is null ? heap.ClusterOffset(first) : -1,
            Links = [name],
            Fault = fault,
            Allocation = new ExFatAllocation(length > 0 ? first : 0, (stream.U8(1) & NoFatChain) != 0, size, isFolder ? size : (long)Math.Min(valid, (ulong)size)),
        };
    }

    private static byte[] Name(LeView v, int chars)
    {
        v.Require(chars > 0, EntrySize + 3, "NameLength");
        Span<byte> utf16 = stackalloc byte[2 * 255];
        utf16 = utf16[..(2 * chars)];
        for (int done = 0, at = 2 * EntrySize; done < chars; done += CharsPerEntry, at += EntrySize)
        {
            v.Require(at < v.Length && v.U8(at) == FileName, at < v.Length ? at : EntrySize + 3, "File Name: entries are missing");
            int count = Math.Min(CharsPerEntry, chars - done);
            v.Field(at + 2, 2 * count).CopyTo(utf16[(2 * done)..]);
        }

        byte[] name = Utf16Name.ToBytes(utf16);
        return GuestName.Safe(name);
    }
}
