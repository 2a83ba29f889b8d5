using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Parallels;

/// <summary>Parallels expanding image "Header". Spec: QEMU docs/interop/parallels. Little-endian; 64 bytes, then the BAT of 32-bit entries.</summary>
internal readonly struct ParallelsHeader
{
    public const string Name = "Parallels header";
    public const int Size = 64;

    private const int SectorBytes = 512;

    /// <summary>QEMU's bound: a cluster of 2 GiB at most.</summary>
    private const uint MostClusterSectors = int.MaxValue / (SectorBytes + 1);

    private const uint Closed = 0x312E_3276;
    private const uint EmptyImage = 1;

    public readonly long DiskBytes, ClusterBytes, Entries, DataBytes;

    /// <summary>What a BAT entry is multiplied with.</summary>
    public readonly long EntryUnitBytes;

    /// <summary>It was written to when it was last seen, or nobody knows what its state was.</summary>
    public readonly bool WasOpen;

    /// <summary>The header calls the image empty.</summary>
    public readonly bool IsCalledEmpty;

    private ParallelsHeader(LeView v, IBlockSource file)
    {
        bool isExtended = v.Field(0, ExtendedMagic.Length).SequenceEqual(ExtendedMagic);
        v.Require(isExtended || v.Field(0, Magic.Length).SequenceEqual(Magic), 0, "magic");
        if (v.U32(16) != 2)
        {
            throw v.Unsupported(16, $"version {v.U32(16)}");
        }

        uint clusterSectors = v.U32(28);
        v.Require(clusterSectors is > 0 and <= MostClusterSectors, 28, "tracks");
        ClusterBytes = clusterSectors * (long)SectorBytes;
        ulong sectors = isExtended ? v.U64(36) : v.U32(36);
        v.Require(sectors is > 0 and <= long.MaxValue / SectorBytes, 36, "nb_sectors");
        DiskBytes = (long)sectors * SectorBytes;
        Entries = ((long)sectors + clusterSectors - 1) / clusterSectors;
        v.Require(v.U32(32) >= Entries, 32, $"nb_bat_entries: {Entries} are needed");
        Bounds.Check(Size, Entries * sizeof(uint), file.Length, "Parallels BAT");
        EntryUnitBytes = isExtended ? ClusterBytes : SectorBytes;
        long tableEnd = Size + (Entries * sizeof(uint));
        uint dataSectors = v.U32(48);
        DataBytes = dataSectors == 0 ? (tableEnd + SectorBytes - 1) / SectorBytes * SectorBytes : dataSectors * (long)SectorBytes;
        v.Require(DataBytes >= tableEnd, 48, "data_off");
        uint use = v.U32(44);
        WasOpen = use is not (0 or Closed);
        IsCalledEmpty = (v.U32(52) & EmptyImage) != 0;
    }

    private static ReadOnlySpan<byte> Magic => "WithoutFreeSpace"u8;

    private static ReadOnlySpan<byte> ExtendedMagic => "WithouFreSpacExt"u8;

    public static bool IsThere(IBlockSource file) => file.HasAt(0, Magic) || file.HasAt(0, ExtendedMagic);

    public static ParallelsHeader Read(IBlockSource file)
    {
        Bounds.Check(0, Size, file.Length, Name);
        Span<byte> bytes = stackalloc byte[Size];
        file.Read(0, bytes);
        return new ParallelsHeader(new LeView(bytes, Name, 0), file);
    }
}
