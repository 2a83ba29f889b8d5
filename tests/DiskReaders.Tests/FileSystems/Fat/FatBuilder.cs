using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.FileSystems.Fat;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Fat;

/// <summary>A small FAT12 or FAT16 volume byte by byte: clusters of one sector of 512 bytes, one reserved sector, two tables.</summary>
internal sealed class FatBuilder
{
    public const int Sector = 512;
    public const int RootEntries = 16;

    private readonly bool _is16;
    private readonly int _fatSectors;
    private int _rootUsed;

    public FatBuilder(int clusters = 60)
    {
        _is16 = clusters > 4084;
        _fatSectors = (((clusters + 2) * (_is16 ? 16 : 12) / 8) + Sector) / Sector;
        int sectors = 1 + (2 * _fatSectors) + 1 + clusters;
        Image = new byte[sectors * Sector];
        Span<byte> boot = Image;
        boot[0] = 0xEB;
        boot[2] = 0x90;
        BinaryPrimitives.WriteUInt16LittleEndian(boot[11..], Sector);
        boot[13] = 1;
        boot[14] = 1;
        boot[16] = 2;
        boot[17] = RootEntries;
        BinaryPrimitives.WriteUInt16LittleEndian(boot[19..], (ushort)sectors);
        boot[21] = 0xF8;
        BinaryPrimitives.WriteUInt16LittleEndian(boot[22..], (ushort)_fatSectors);
        boot[510] = 0x55;
        boot[511] = 0xAA;
        Next(0, _is16 ? 0xFFF8 : 0xFF8);
        Next(1, 0xFFFF);
        for (int cluster = 2; cluster < clusters + 2; cluster++)
        {
            Cluster(cluster).Fill((byte)cluster);
        }
    }

    public byte[] Image { get; }

    public int DataSector => 2 + (2 * _fatSectors);

    /// <summary>Where a copy of the table lies.</summary>
    public int FatAt(int copy) => (1 + (copy * _fatSectors)) * Sector;

    public Span<byte> Cluster(int cluster) => Image.AsSpan((DataSector + cluster - 2) * Sector, Sector);

    /// <summary>Sets a cluster's entry in both tables, or in one.</summary>
    public FatBuilder Next(int cluster, int value, int? onlyCopy = null)
    {
        for (int copy = onlyCopy ?? 0; copy <= (onlyCopy ?? 1); copy++)
        {
            Span<byte> entry = Image.AsSpan(FatAt(copy) + (_is16 ? cluster * 2 : cluster + (cluster / 2)));
            ushort old = BinaryPrimitives.ReadUInt16LittleEndian(entry);
            int merged = _is16 ? value : (cluster & 1) != 0 ? (old & 0x000F) | (value << 4) : (old & 0xF000) | (value & 0xFFF);
            BinaryPrimitives.WriteUInt16LittleEndian(entry, (ushort)merged);
        }

        return this;
    }

    /// <summary>Chains clusters and ends the chain.</summary>
    public FatBuilder Chain(params int[] clusters)
    {
        for (int i = 0; i < clusters.Length; i++)
        {
            Next(clusters[i], i + 1 < clusters.Length ? clusters[i + 1] : 0xFFFF);
        }

        return this;
    }

    /// <summary>Writes a short entry into the root folder.</summary>
    public FatBuilder Root(string name, int cluster, uint size, byte attributes = 0x20, byte ntRes = 0) =>
        Root(Encoding.Latin1.GetBytes(name), cluster, size, attributes, ntRes);

    public FatBuilder Root(byte[] name, int cluster, uint size, byte attributes = 0x20, byte ntRes = 0)
    {
        Entry(RootEntry(), name, cluster, size, attributes, ntRes);
        return this;
    }

    /// <summary>Writes a long entry of one part into the root folder.</summary>
    public FatBuilder Long(string name, string shortName, byte order = 0x41, int checksumOff = 0)
    {
        Span<byte> entry = RootEntry();
        entry[0] = order;
        entry[11] = 0x0F;
        entry[13] = (byte)(FatNames.Checksum(Encoding.Latin1.GetBytes(shortName)) + checksumOff);
        for (int i = 0; i < 13; i++)
        {
            char c = i < name.Length ? name[i] : i == name.Length ? '\0' : '\uFFFF';
            BinaryPrimitives.WriteUInt16LittleEndian(entry[((i < 5 ? 1 : i < 11 ? 4 : 6) + (2 * i))..], c);
        }

        return this;
    }

    /// <summary>Leaves the next entry of the root folder as it is.</summary>
    public FatBuilder Skip(byte firstByte)
    {
        RootEntry()[0] = firstByte;
        return this;
    }

    /// <summary>Empties a cluster and puts short entries into it.</summary>
    public FatBuilder Folder(int cluster, params (string Name, int Cluster, byte Attributes)[] entries)
    {
        Span<byte> bytes = Cluster(cluster);
        bytes.Clear();
        for (int i = 0; i < entries.Length; i++)
        {
            Entry(bytes[(32 * i)..], Encoding.Latin1.GetBytes(entries[i].Name), entries[i].Cluster, 0, entries[i].Attributes, 0);
        }

        return this;
    }

    private static void Entry(Span<byte> entry, byte[] name, int cluster, uint size, byte attributes, byte ntRes)
    {
        name.CopyTo(entry);
        entry[11] = attributes;
        entry[12] = ntRes;
        BinaryPrimitives.WriteUInt16LittleEndian(entry[26..], (ushort)cluster);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[28..], size);
    }

    private Span<byte> RootEntry() => Image.AsSpan(((DataSector - 1) * Sector) + (32 * _rootUsed++), 32);
}
