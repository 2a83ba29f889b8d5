namespace Vmsweep.DiskReaders.Blocks;

/// <summary>
/// The product's only read loop: a map says where the bytes are, this reads them. Neighbouring data extents that continue
/// each other in their source become one read.
/// </summary>
public sealed class MappedSource : IBlockSource, IFileBacked, IDiskBacked, ILayered
{
    private readonly IExtentMap _map;
    private readonly IReadOnlyList<IBlockSource> _sources;
    private readonly IBlockSource? _parent;
    private readonly IUnpacker? _unpacker;
    private readonly UnitCache? _units;
    private readonly IDisposable? _owned;

    /// <param name="map">Where the bytes are.</param>
    /// <param name="sources">What <see cref="Extent.Source"/> counts; not disposed with this.</param>
    /// <param name="context">Memory for unpacked units; needed with <paramref name="unpacker"/>.</param>
    /// <param name="parent">What shows through holes; zeros without. Beyond its end holes are zeros. Not disposed with this.</param>
    /// <param name="unpacker">Unpacks <see cref="ExtentKind.Packed"/> extents.</param>
    /// <param name="cachedUnits">How many unpacked units are kept for reads of a part of one.</param>
    /// <param name="owned">Disposed with this.</param>
    public MappedSource(
        IExtentMap map,
        IReadOnlyList<IBlockSource> sources,
        ReadContext? context = null,
        IBlockSource? parent = null,
        IUnpacker? unpacker = null,
        int cachedUnits = 1,
        IDisposable? owned = null)
    {
        _map = map;
        _sources = sources;
        _parent = parent;
        _unpacker = unpacker;
        _owned = owned;
        if (unpacker is not null)
        {
            ArgumentNullException.ThrowIfNull(context);
            _units = new UnitCache(context.Budget, unpacker.UnitBytes, cachedUnits);
        }
    }

    public long Length => _map.Length;

    public void Read(long offset, Span<byte> destination)
    {
        Bounds.Check(offset, destination.Length, Length, "mapped range");
        while (!destination.IsEmpty)
        {
            Extent extent = Checked(_map.Map(offset, destination.Length), destination.Length);
            long length = extent.Kind == ExtentKind.Data ? Continued(extent, offset, destination.Length) : extent.Length;
            Fill(extent, offset, destination[..(int)length]);
            offset += length;
            destination = destination[(int)length..];
        }
    }

    public StoredExtent Locate(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "mapped range");
        Extent extent = Checked(_map.Map(offset, count), count);
        switch (extent.Kind)
        {
            case ExtentKind.Data:
                return _sources[extent.Source].Locate(extent.Location, extent.Length);
            case ExtentKind.Packed:
                return new StoredExtent(ExtentKind.Packed, extent.Length, 0, extent.Location);
            case ExtentKind.Hole when _parent is not null && offset < _parent.Length:
                return _parent.Locate(offset, Math.Min(extent.Length, _parent.Length - offset));
            default:
                return new StoredExtent(extent.Kind, extent.Length);
        }
    }

    public FileRange? InFile(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "mapped range");
        Extent extent = Checked(_map.Map(offset, count), count);
        return extent.Kind switch
        {
            ExtentKind.Data => (_sources[extent.Source] as IFileBacked)?.InFile(extent.Location, Continued(extent, offset, count)),
            ExtentKind.Hole when offset < _parent?.Length => (_parent as IFileBacked)?.InFile(offset, Math.Min(extent.Length, _parent.Length - offset)),
            _ => null,
        };
    }

    public DiskRange? OnDisk(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "mapped range");
        Extent extent = Checked(_map.Map(offset, count), count);
        return extent.Kind switch
        {
            ExtentKind.Data => (_sources[extent.Source] as IDiskBacked)?.OnDisk(extent.Location, Continued(extent, offset, count)),
            ExtentKind.Packed => null,
            ExtentKind.Hole when offset < _parent?.Length => (_parent as IDiskBacked)?.OnDisk(offset, Math.Min(extent.Length, _parent.Length - offset)),
            _ => new DiskRange(DiskRange.Nowhere, 0, extent.Length),
        };
    }

    public LayerRange LayerOf(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "mapped range");
        if (_parent is not ILayered layers)
        {
            return new LayerRange(0, 0, count);
        }

        // Zeros beyond the parent's end are this layer's: one over a longer parent would show something else.
        Extent extent = Checked(_map.Map(offset, count), count);
        return extent.Kind == ExtentKind.Hole && offset < _parent.Length
            ? layers.LayerOf(offset, Math.Min(extent.Length, _parent.Length - offset))
            : new LayerRange(0, 0, extent.Length);
    }

    public bool ReadLayer(int depth, long offset, Span<byte> destination) => _parent is ILayered layers && layers.ReadLayer(depth, offset, destination);

    public void Dispose()
    {
        _units?.Dispose();
        _owned?.Dispose();
    }

    private static Extent Checked(Extent extent, long count) =>
        extent.Length > 0 && extent.Length <= count
            ? extent
            : throw new InvalidOperationException($"a map answered {extent.Length} bytes for {count}");

    /// <summary>How far a data extent goes on in its source, at most <paramref name="most"/> bytes.</summary>
    private long Continued(Extent extent, long offset, long most)
    {
        long length = extent.Length;
        while (length < most)
        {
            Extent next = Checked(_map.Map(offset + length, most - length), most - length);
            if (next.Kind != ExtentKind.Data || next.Source != extent.Source || next.Location != extent.Location + length)
            {
                break;
            }

            length += next.Length;
        }

        return length;
    }

    private void Fill(Extent extent, long offset, Span<byte> part)
    {
        switch (extent.Kind)
        {
            case ExtentKind.Data:
                _sources[extent.Source].Read(extent.Location, part);
                break;
            case ExtentKind.Packed:
                FillPacked(extent, offset, part);
                break;
            case ExtentKind.Hole when _parent is not null:
                int within = (int)Math.Clamp(_parent.Length - offset, 0, part.Length);
                if (within > 0)
                {
                    _parent.Read(offset, part[..within]);
                }

                part[within..].Clear();
                break;
            default:
                part.Clear();
                break;
        }
    }

    private void FillPacked(Extent extent, long offset, Span<byte> part)
    {
        IUnpacker unpacker = _unpacker ?? throw new InvalidOperationException("a packed extent without an unpacker");
        while (!part.IsEmpty)
        {
            long unitOffset = offset - (offset % unpacker.UnitBytes);
            int unitBytes = (int)Math.Min(unpacker.UnitBytes, Length - unitOffset);
            int within = (int)(offset - unitOffset);
            int count = Math.Min(part.Length, unitBytes - within);
            if (within == 0 && count == unitBytes)
            {
                unpacker.Unpack(unitOffset, extent.Location, part[..count]);
            }
            else
            {
                _units!.Read(unpacker, unitOffset, extent.Location, unitBytes, within, part[..count]);
            }

            offset += count;
            part = part[count..];
            if (!part.IsEmpty)
            {
                extent = Checked(_map.Map(offset, part.Length), part.Length);
                if (extent.Kind != ExtentKind.Packed)
                {
                    throw new InvalidOperationException("a map changed its answer");
                }
            }
        }
    }
}
