using System.Buffers.Binary;
using System.Text;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs;

/// <summary>Edits a small volume whose MFT is one run, as a hostile guest would: by record and attribute.</summary>
internal sealed class NtfsPatch(byte[] image)
{
    public const int RecordBytes = 1024;

    public byte[] Image { get; } = (byte[])image.Clone();

    public int ClusterBytes => U16(0x0B) * Image[0x0D];

    public int MftOffset => (int)U64(0x30) * ClusterBytes;

    public int MirrorOffset => (int)U64(0x38) * ClusterBytes;

    public int Record(int number) => MftOffset + (number * RecordBytes);

    /// <summary>The number of the file with this name.</summary>
    public int Number(string name)
    {
        byte[] wanted = Encoding.Unicode.GetBytes(name);
        for (int number = 24; Record(number) + RecordBytes <= Image.Length && Image.AsSpan(Record(number), 4).SequenceEqual("FILE"u8); number++)
        {
            if ((Image[Record(number) + 0x16] & 1) != 0 && Find(number, 0x30) is var at && at >= 0
                && Image[at + U16(at + 20) + 0x40] == name.Length && Image.AsSpan(at + U16(at + 20) + 0x42, wanted.Length).SequenceEqual(wanted))
            {
                return number;
            }
        }

        throw new InvalidOperationException($"no file {name}");
    }

    /// <summary>The first file that has an attribute list.</summary>
    public int NumberWithList() => Enumerable.Range(24, 100).First(n => (Image[Record(n) + 0x16] & 1) != 0 && Find(n, 0x20) >= 0);

    /// <summary>Where an attribute of a record begins; -1 when there is none.</summary>
    public int Find(int number, uint type)
    {
        int record = Record(number);
        for (int at = record + U16(record + 0x14); U32(at) != 0xFFFF_FFFF; at += (int)U32(at + 4))
        {
            if (U32(at) == type)
            {
                return at;
            }
        }

        return -1;
    }

    public int FileName(int number)
    {
        int at = Find(number, 0x30);
        return at + U16(at + 20);
    }

    public int MappingPairs(int number)
    {
        int at = Find(number, 0x80);
        return at + U16(at + 32);
    }

    public NtfsPatch Set(int at, params ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(Image.AsSpan(at));
        return this;
    }

    public NtfsPatch Set64(int at, ulong value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(Image.AsSpan(at), value);
        return this;
    }

    public NtfsPatch Set16(int at, int value)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(Image.AsSpan(at), (ushort)value);
        return this;
    }

    /// <summary>Puts the true bytes of a record in place, so that any of them can be set; <see cref="Sealed"/> undoes it.</summary>
    public NtfsPatch Opened()
    {
        ForRecords((at, array) =>
        {
            Image.AsSpan(array + 2, 2).CopyTo(Image.AsSpan(at + 510));
            Image.AsSpan(array + 4, 2).CopyTo(Image.AsSpan(at + 1022));
        });
        return this;
    }

    public byte[] Sealed()
    {
        ForRecords((at, array) =>
        {
            for (int i = 1; i <= 2; i++)
            {
                Image.AsSpan(at + (512 * i) - 2, 2).CopyTo(Image.AsSpan(array + (2 * i)));
                Image.AsSpan(array, 2).CopyTo(Image.AsSpan(at + (512 * i) - 2));
            }
        });
        return Image;
    }

    public ushort U16(int at) => BinaryPrimitives.ReadUInt16LittleEndian(Image.AsSpan(at));

    public uint U32(int at) => BinaryPrimitives.ReadUInt32LittleEndian(Image.AsSpan(at));

    public ulong U64(int at) => BinaryPrimitives.ReadUInt64LittleEndian(Image.AsSpan(at));

    public ulong Reference(int number) => ((ulong)U16(Record(number) + 0x10) << 48) | (uint)number;

    private void ForRecords(Action<int, int> edit)
    {
        for (int at = MftOffset; at + RecordBytes <= Image.Length && Image.AsSpan(at, 4).SequenceEqual("FILE"u8); at += RecordBytes)
        {
            edit(at, at + U16(at + 4));
        }
    }
}
