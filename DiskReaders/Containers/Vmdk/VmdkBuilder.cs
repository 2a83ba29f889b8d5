using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vmdk;

/// <summary>Puts a disk together extent by extent; disposes everything made so far unless the disk was built.</summary>
internal sealed class VmdkBuilder : IDisposable
{
    private const int FooterBytes = 3 * VmdkLimits.SectorBytes;
    private const uint MarkerEndOfStream = 0;
    private const uint MarkerFooter = 3;

    private readonly ImageFile _file;
    private readonly ReadContext _context;
    private readonly GrainCaches _caches;
    private readonly List<IDisposable> _owned = [];
    private readonly List<VmdkPart> _parts = [];
    private readonly List<IBlockSource> _sources = [];
    private long _length;
    private bool _built;

    public VmdkBuilder(ImageFile file, ReadContext context)
    {
        _file = file;
        _context = context;
        _caches = new GrainCaches(context.Budget);
        _owned.Add(_caches);
    }

    public T Own<T>(T disposable)
        where T : IDisposable
    {
        _owned.Add(disposable);
        return disposable;
    }

    /// <summary>Adds the extent that the image file itself is.</summary>
    public void AddEmbedded(VmdkHead head)
    {
        SparseExtentHeader header = head.Header!.Value;
        long sectors = header.Capacity;
        if (head.Descriptor is { } descriptor && Math.Abs(descriptor.Extents[0].Sectors - sectors) >= header.GrainSize)
        {
            // QEMU believes the header. Where the descriptor is longer, the rest would be missing without a word.
            _context.Gaps.Add(new CoverageGap(
                Fault.Corrupt, _file.Name, "VMDK descriptor", -1, 0, $"the descriptor's extent has {descriptor.Extents[0].Sectors} sectors, the header {sectors}; the header is used"));
        }

        AddHosted(_file, header, sectors);
    }

    /// <summary>Adds an extent of the descriptor.</summary>
    /// <param name="extent">The descriptor's line.</param>
    /// <param name="file">Its file; null for an extent of zeros.</param>
    public void Add(DescriptorExtent extent, ImageFile? file)
    {
        if (file is null)
        {
            AddPart(extent.Sectors, null, -1, 0, EmptySource);
            return;
        }

        VmdkHead.CheckLength(file);
        switch (extent.Type)
        {
            case ExtentType.Sparse:
                SparseExtentHeader hosted = ReadHeader(file);
                CheckSectors(file, extent, hosted.Capacity, hosted.GrainSize);
                AddHosted(file, hosted, extent.Sectors);
                break;
            case ExtentType.VmfsSparse:
                AddCowDisk(extent, file);
                break;
            case ExtentType.SeSparse:
                AddSeSparse(extent, file);
                break;
            default:
                AddFlat(extent, file);
                break;
        }
    }

    public VirtualDisk Build(string format, string identity, VirtualDisk? parent)
    {
        if (parent is not null && parent.Content.Length != _length)
        {
            throw new DiskFormatException(
                Fault.MissingParent, "VMDK parent", -1, $"the parent {parent.Chain[0].Path} has {parent.Content.Length} bytes, the delta {_length}");
        }

        var content = new MappedSource(new VmdkMap([.. _parts]), _sources, _context, parent?.Content);
        _built = true;
        return new VirtualDisk
        {
            Format = format,
            Content = content,
            Chain = [new ChainLink(_file.Name, format), .. parent?.Chain ?? []],
            Identity = identity,
            Owned = _owned,
        };
    }

    public void Dispose()
    {
        if (!_built)
        {
            _owned.ForEach(o => o.Dispose());
        }
    }

    private static MemorySource EmptySource { get; } = new(ReadOnlyMemory<byte>.Empty);

    private static SparseExtentHeader ReadHeader(ImageFile file)
    {
        Span<byte> bytes = stackalloc byte[SparseExtentHeader.Size];
        Bounds.Check(0, bytes.Length, file.Bytes.Length, "SparseExtentHeader");
        file.Bytes.Read(0, bytes);
        var header = new SparseExtentHeader(new LeView(bytes, "SparseExtentHeader", 0));
        return header.Capacity > 0
            ? header
            : throw new DiskFormatException(Fault.Corrupt, "SparseExtentHeader", 12, $"the extent {file.Name} has no capacity");
    }

    /// <summary>
    /// The footer of a stream, whose grain directory was not yet placed when its header was written: the second sector from the end,
    /// between its marker and the end-of-stream marker. It must say what the header says.
    /// </summary>
    private SparseExtentHeader ReadFooter(ImageFile file, in SparseExtentHeader header)
    {
        long at = file.Bytes.Length - (file.Bytes.Length % VmdkLimits.SectorBytes) - FooterBytes;
        if (at <= 0)
        {
            throw new DiskFormatException(Fault.Truncated, "footer", -1, "the stream ends before its footer");
        }

        using RentedBuffer buffer = _context.Budget.Rent(FooterBytes);
        Span<byte> bytes = buffer.Span;
        file.Bytes.Read(at, bytes);
        Span<byte> footer = bytes.Slice(VmdkLimits.SectorBytes, SparseExtentHeader.Size);
        Span<byte> end = bytes[(2 * VmdkLimits.SectorBytes)..];
        if (!IsMarker(bytes[..VmdkLimits.SectorBytes], MarkerFooter)
            || !IsMarker(end, MarkerEndOfStream)
            || BinaryPrimitives.ReadUInt64LittleEndian(end) != 0
            || BinaryPrimitives.ReadUInt32LittleEndian(footer) != SparseExtentHeader.MagicNumber)
        {
            throw new DiskFormatException(Fault.Truncated, "footer", at, "the stream does not end with footer marker, footer and end-of-stream marker");
        }

        var parsed = new SparseExtentHeader(new LeView(footer, "footer", at + VmdkLimits.SectorBytes));
        if (header.Disagreement(parsed) is { } field)
        {
            throw new DiskFormatException(Fault.Corrupt, "footer", at + VmdkLimits.SectorBytes, $"{field} differs from the header's");
        }

        return parsed.GdOffset != SparseExtentHeader.GdAtEnd
            ? parsed
            : throw new DiskFormatException(Fault.Corrupt, "footer", at + VmdkLimits.SectorBytes + 56, "gdOffset points to another footer");
    }

    /// <summary>A metadata marker: value, size 0, type, zeros.</summary>
    private static bool IsMarker(ReadOnlySpan<byte> sector, uint type) =>
        BinaryPrimitives.ReadUInt32LittleEndian(sector[8..]) == 0
        && BinaryPrimitives.ReadUInt32LittleEndian(sector[12..]) == type
        && !sector[16..].ContainsAnyExcept((byte)0);

    private void AddHosted(ImageFile file, in SparseExtentHeader header, long sectors)
    {
        SparseExtentHeader tables = header.GdOffset == SparseExtentHeader.GdAtEnd ? ReadFooter(file, header) : header;
        var geometry = new GrainGeometry(
            sectors * VmdkLimits.SectorBytes,
            header.GrainSize * VmdkLimits.SectorBytes,
            (int)header.NumGtesPerGt,
            sizeof(uint),
            Position((long)tables.GdOffset),
            tables.HasRedundantTables ? Position(tables.RgdOffset) : -1);
        var grains = new HostedGrainMap(file, geometry, header, _parts.Count, _caches, _context);
        AddPart(sectors, grains, -1, file.Bytes.Length, header.IsCompressed ? Own(new PackedExtent(grains, _context)) : file.Bytes);
    }

    private void AddCowDisk(DescriptorExtent extent, ImageFile file)
    {
        using RentedBuffer bytes = _context.Budget.Rent(CowDiskHeader.Size);
        Bounds.Check(0, bytes.Length, file.Bytes.Length, "COWDisk_Header");
        file.Bytes.Read(0, bytes.Span);
        var header = new CowDiskHeader(new LeView(bytes.Span, "COWDisk_Header", 0));
        CheckSectors(file, extent, header.NumSectors, header.GrainSize);
        var geometry = new GrainGeometry(
            extent.Sectors * VmdkLimits.SectorBytes,
            header.GrainSize * VmdkLimits.SectorBytes,
            CowDiskHeader.NumGtesPerGt,
            sizeof(uint),
            Position(header.GdOffset));
        AddPart(extent.Sectors, new CowDiskGrainMap(file, geometry, _parts.Count, _caches, _context), -1, file.Bytes.Length, file.Bytes);
    }

    private void AddSeSparse(DescriptorExtent extent, ImageFile file)
    {
        Span<byte> bytes = stackalloc byte[SeSparseConstHeader.Size];
        Bounds.Check(0, bytes.Length, file.Bytes.Length, "SESparse const header");
        file.Bytes.Read(0, bytes);
        var header = new SeSparseConstHeader(new LeView(bytes, "SESparse const header", 0));
        long volatileAt = header.VolatileHeaderOffset * VmdkLimits.SectorBytes;
        Bounds.Check(volatileAt, SeSparseVolatileHeader.Size, file.Bytes.Length, "SESparse volatile header");
        file.Bytes.Read(volatileAt, bytes);
        SeSparseVolatileHeader.Check(new LeView(bytes, "SESparse volatile header", volatileAt));
        CheckSectors(file, extent, header.Capacity, SeSparseConstHeader.GrainSize);
        var geometry = new GrainGeometry(
            extent.Sectors * VmdkLimits.SectorBytes,
            SeSparseConstHeader.GrainSize * VmdkLimits.SectorBytes,
            SeSparseConstHeader.GrainTableSize * VmdkLimits.SectorBytes / sizeof(ulong),
            sizeof(ulong),
            header.GrainDirOffset * VmdkLimits.SectorBytes);
        AddPart(extent.Sectors, new SeSparseGrainMap(file, geometry, header, _parts.Count, _caches, _context), -1, file.Bytes.Length, file.Bytes);
    }

    private void AddFlat(DescriptorExtent extent, ImageFile file)
    {
        long at = extent.OffsetSectors * VmdkLimits.SectorBytes;
        long length = extent.Sectors * VmdkLimits.SectorBytes;
        long present = Math.Clamp(file.Bytes.Length - at, 0, length);
        if (present < length)
        {
            // What is there is read; no one may ask for the rest, so that it is said here.
            _context.Gaps.Add(new CoverageGap(
                Fault.Truncated, file.Name, "flat extent", at + present, length - present, $"the file has {file.Bytes.Length} bytes, the extent reaches to {at + length}"));
        }

        AddPart(extent.Sectors, null, at, file.Bytes.Length, file.Bytes);
    }

    private void CheckSectors(ImageFile file, DescriptorExtent extent, long capacity, long grainSize)
    {
        if (extent.Sectors > capacity)
        {
            throw new DiskFormatException(
                Fault.Corrupt, "VMDK extent", -1, $"the descriptor says {extent.Sectors} sectors, the header of {file.Name} {capacity}");
        }

        if (capacity - extent.Sectors >= grainSize)
        {
            _context.Gaps.Add(new CoverageGap(
                Fault.Corrupt,
                file.Name,
                "VMDK extent",
                -1,
                (capacity - extent.Sectors) * VmdkLimits.SectorBytes,
                $"the descriptor uses {extent.Sectors} of the extent's {capacity} sectors"));
        }
    }

    private void AddPart(long sectors, GrainMap? grains, long flatAt, long fileLength, IBlockSource source)
    {
        long length = sectors * VmdkLimits.SectorBytes;
        if (length > VmdkLimits.MostCapacityBytes - _length)
        {
            throw new DiskFormatException(Fault.Limit, "VMDK descriptor", -1, $"more than {VmdkLimits.MostCapacityBytes} bytes of disk");
        }

        _parts.Add(new VmdkPart(_length, length, grains, flatAt, fileLength));
        _sources.Add(source);
        _length += length;
    }

    /// <summary>A sector number from a header as a byte offset; far outside any file when it is absurd.</summary>
    private static long Position(long sector) => sector <= VmdkLimits.MostFileBytes / VmdkLimits.SectorBytes ? sector * VmdkLimits.SectorBytes : long.MaxValue;
}
