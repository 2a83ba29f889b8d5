using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vhd;

/// <summary>The footer's Disk Type.</summary>
internal enum VhdType
{
    Fixed = 2,
    Dynamic = 3,
    Differencing = 4,
}

/// <summary>
/// VHD "Hard Disk Footer". Spec: Microsoft, Virtual Hard Disk Image Format Specification 1.0, "Hard Disk Footer Format". Big-endian;
/// 512 bytes at the end of the file, 511 by products before Virtual PC 2004; dynamic and differencing disks begin with a copy.
/// </summary>
internal readonly struct VhdFooter
{
    public const string Name = "VHD Hard Disk Footer";
    public const int Size = 512;
    public const int SectorBytes = 512;

    /// <summary>A BAT counts sectors in 32 bits. The specification's own end, 2040 GB, is kept by some writers only.</summary>
    public const long MostDiskBytes = 0xFFFF_FFFFL * SectorBytes;

    private const int OldSize = 511;
    private const int ChecksumAt = 64;
    private const uint Version1 = 0x0001_0000;

    /// <summary>Cylinders, heads and sectors at their ends: the disk is larger than a geometry can say ("CHS Calculation").</summary>
    private const long MostGeometrySectors = 65_535L * 16 * 255;

    public readonly VhdType Type;
    public readonly long DataOffset, DiskBytes;
    public readonly Guid UniqueId;

    /// <summary>Time Stamp: when the image was made, in seconds since 2000.</summary>
    public readonly uint TimeStamp;

    /// <summary>Creator Application is Xen's "tap": its children of raw images name the parent with an id of zeros.</summary>
    public readonly bool IsByXen;

    private VhdFooter(BeView v)
    {
        uint type = v.U32(60);
        if (v.U32(12) != Version1)
        {
            throw v.Unsupported(12, $"File Format Version 0x{v.U32(12):x8}");
        }

        if (type is < (uint)VhdType.Fixed or > (uint)VhdType.Differencing)
        {
            throw v.Unsupported(60, $"Disk Type {type}");
        }

        Type = (VhdType)type;
        UniqueId = v.Uuid(68);
        TimeStamp = v.U32(24);
        IsByXen = v.Field(28, 4).SequenceEqual("tap\0"u8);
        long current = v.NonNegative64(48, "Current Size");
        v.Require(current is > 0 and <= MostDiskBytes && current % SectorBytes == 0, 48, "Current Size");
        DiskBytes = GuestBytes(v, current);
        DataOffset = Type == VhdType.Fixed ? -1 : v.NonNegative64(16, "Data Offset");
    }

    /// <summary>"conectix", the footer's Cookie.</summary>
    private static ReadOnlySpan<byte> Cookie => "conectix"u8;

    /// <summary>True when there is a footer's cookie at the end or at the start.</summary>
    public static bool IsThere(IBlockSource file) =>
        file.HasAt(-Size, Cookie) || file.HasAt(-OldSize, Cookie) || (file.Length >= Size && file.HasAt(0, Cookie));

    /// <summary>
    /// The footer that counts: the one at the end, the copy where that is damaged. Sectors of a fixed disk belong to the guest, who can
    /// write a copy's bytes into the first; so the end goes first, and a fixed disk has no copy.
    /// </summary>
    /// <param name="file">The image.</param>
    /// <param name="gaps">Told of damaged footers.</param>
    /// <param name="dataEnd">Where the end's footer begins; the file's end when there is none.</param>
    public static VhdFooter Read(ImageFile file, IGapSink gaps, out long dataEnd)
    {
        Span<byte> end = stackalloc byte[Size];
        Span<byte> copy = stackalloc byte[Size];
        IBlockSource bytes = file.Bytes;
        bool hasEnd = TryReadEnd(bytes, end, out dataEnd);
        bool hasCopy = bytes.TryRead(0, copy) && copy.StartsWith(Cookie) && IsCopy(copy);
        bool endIsSound = hasEnd && HasChecksum(end, ChecksumAt);
        bool copyIsSound = hasCopy && HasChecksum(copy, ChecksumAt);
        if (endIsSound || (hasEnd && !copyIsSound))
        {
            var footer = new VhdFooter(new BeView(end, Name, dataEnd));
            if (!endIsSound)
            {
                Report(file, gaps, dataEnd, hasCopy ? "the checksums of the footer and of its copy are wrong" : "the footer's checksum is wrong");
            }
            else if (copyIsSound && footer.Type != VhdType.Fixed && !copy.SequenceEqual(end))
            {
                Report(file, gaps, 0, "the footer and its copy differ");
            }

            return footer;
        }

        if (!hasCopy)
        {
            throw new DiskFormatException(Fault.Corrupt, Name, Math.Max(0, bytes.Length - Size), "neither the end nor the start holds a footer");
        }

        Report(file, gaps, dataEnd, $"the footer at the end is {(hasEnd ? "damaged" : "missing")}{(copyIsSound ? "" : " and the checksum of its copy is wrong")}; the copy was used");
        return new VhdFooter(new BeView(copy, Name, 0));
    }

    /// <summary>"Checksum": the ones' complement of the sum of all bytes but the field's own.</summary>
    public static uint Checksum(ReadOnlySpan<byte> structure, int checksumAt)
    {
        uint sum = 0;
        foreach (byte b in structure)
        {
            sum += b;
        }

        foreach (byte b in structure.Slice(checksumAt, 4))
        {
            sum -= b;
        }

        return ~sum;
    }

    public static bool HasChecksum(ReadOnlySpan<byte> structure, int checksumAt) =>
        Checksum(structure, checksumAt) == BinaryPrimitives.ReadUInt32BigEndian(structure[checksumAt..]);

    private static void Report(ImageFile file, IGapSink gaps, long offset, string detail) =>
        gaps.Add(new CoverageGap(Fault.Corrupt, file.Name, Name, offset, 0, detail));

    private static bool TryReadEnd(IBlockSource bytes, Span<byte> footer, out long start)
    {
        start = bytes.Length - Size;
        if (bytes.TryRead(-Size, footer) && footer.StartsWith(Cookie))
        {
            return true;
        }

        // The byte that is not there is reserved and counts as zero in the checksum.
        footer[OldSize] = 0;
        start = bytes.Length - OldSize;
        if (bytes.TryRead(-OldSize, footer[..OldSize]) && footer.StartsWith(Cookie))
        {
            return true;
        }

        start = bytes.Length;
        return false;
    }

    private static bool IsCopy(ReadOnlySpan<byte> footer) =>
        BinaryPrimitives.ReadUInt32BigEndian(footer[60..]) is (uint)VhdType.Dynamic or (uint)VhdType.Differencing;

    /// <summary>
    /// How much the guest sees. Virtual PC and old QEMU go by Disk Geometry, all others by Current Size; QEMU documents which Creator
    /// Application does which in block/vpc.c and reads them so. A geometry that is a cylinder or more away was not made from the size:
    /// it cannot hide the rest of the disk.
    /// </summary>
    private static long GuestBytes(BeView v, long current)
    {
        ReadOnlySpan<byte> creator = v.Field(28, 4);
        long cylinder = (long)v.U8(58) * v.U8(59);
        long geometry = v.U16(56) * cylinder;
        bool byGeometry = (creator.SequenceEqual("vpc "u8) || creator.SequenceEqual("qemu"u8)) && geometry is > 0 and < MostGeometrySectors;
        return byGeometry && Math.Abs((current / SectorBytes) - geometry) < cylinder ? geometry * SectorBytes : current;
    }
}
