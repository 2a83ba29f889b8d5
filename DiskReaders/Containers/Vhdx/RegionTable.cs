using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vhdx;

/// <summary>A range of the file that holds one structure.</summary>
internal readonly record struct Region(long Offset, long Length)
{
    public long End => Offset + Length;
}

/// <summary>VHDX "Region Table". Spec: [MS-VHDX] 2.2.3. Little-endian; 64 KiB; two copies, at 192 and 256 KiB.</summary>
internal sealed class RegionTable
{
    private const string Name = "VHDX Region Table";
    private const int Size = 64 << 10;
    private const int HeaderBytes = 16;
    private const int EntryBytes = 32;
    private const uint MostEntries = 2047;
    private const uint Signature = 0x6967_6572; // "regi"
    private const long FirstOffset = 192 << 10;
    private const long SecondOffset = 256 << 10;

    private static readonly Guid BatGuid = new("2DC27766-F623-4200-9D64-115E9BFD4A08");
    private static readonly Guid MetadataGuid = new("8B7CA206-4790-4B9A-B8FE-575F050F886E");

    private RegionTable(LeView v, long fileLength, Region log)
    {
        uint count = v.U32(8);
        v.Require(count <= MostEntries, 8, "EntryCount");
        HashSet<Guid> seen = [];
        List<Region> structures = [new(0, VhdxHeader.Megabyte)];
        if (log.Length > 0)
        {
            structures.Add(log);
        }

        for (int i = 0; i < count; i++)
        {
            LeView entry = v.Inner(HeaderBytes + (i * EntryBytes), EntryBytes, "VHDX Region Table Entry");
            Guid guid = entry.MixedGuid(0);
            entry.Require(seen.Add(guid), 0, "Guid: it is there twice");
            var region = new Region(entry.NonNegative64(16, "FileOffset"), entry.U32(24));
            entry.Require(region.Offset % VhdxHeader.Megabyte == 0, 16, "FileOffset");
            entry.Require(region.Length % VhdxHeader.Megabyte == 0 && region.Length > 0, 24, "Length");
            Bounds.Check(region.Offset, region.Length, fileLength, "VHDX region");
            structures.Add(region);
            if (guid == BatGuid)
            {
                Bat = region;
            }
            else if (guid == MetadataGuid)
            {
                Metadata = region;
            }
            else if ((entry.U32(28) & 1) != 0)
            {
                throw entry.Unsupported(0, $"required region {guid:B}");
            }
        }

        v.Require(Bat.Length > 0, HeaderBytes, "table: it has no BAT region");
        v.Require(Metadata.Length > 0, HeaderBytes, "table: it has no metadata region");
        structures.Sort((a, b) => a.Offset.CompareTo(b.Offset));
        for (int i = 1; i < structures.Count; i++)
        {
            v.Require(structures[i].Offset >= structures[i - 1].End, HeaderBytes, "table: two structures of the file overlap");
        }

        Structures = [.. structures];
    }

    public Region Bat { get; }

    public Region Metadata { get; }

    /// <summary>Header section, log and regions in file order: where no payload or sector bitmap block may lie.</summary>
    public Region[] Structures { get; }

    /// <summary>Reads the first table, or the second where the first is damaged, which is reported.</summary>
    public static RegionTable Read(ImageFile file, IBlockSource image, Region log, ReadContext context)
    {
        using RentedBuffer buffer = context.Budget.Rent(Size);
        image.Read(FirstOffset, buffer.Span);
        long offset = FirstOffset;
        if (!VhdxHeader.HasChecksum(buffer.Span, Signature))
        {
            image.Read(SecondOffset, buffer.Span);
            offset = SecondOffset;
            if (!VhdxHeader.HasChecksum(buffer.Span, Signature))
            {
                throw new DiskFormatException(Fault.Corrupt, Name, FirstOffset, "neither region table has its signature and checksum");
            }

            context.Gaps.Add(new CoverageGap(Fault.Corrupt, file.Name, Name, FirstOffset, 0, "bad signature or checksum; the second copy was used"));
        }

        return new RegionTable(new LeView(buffer.Span, Name, offset), image.Length, log);
    }

    /// <summary>Whether <paramref name="range"/> touches any of <see cref="Structures"/>.</summary>
    public bool Overlaps(Region range)
    {
        int low = 0;
        int high = Structures.Length;
        while (low < high)
        {
            int middle = (low + high) >> 1;
            if (Structures[middle].End <= range.Offset)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low < Structures.Length && Structures[low].Offset < range.End;
    }
}
