using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>ATTRIBUTE_LIST_ENTRY. Spec: Microsoft, "ATTRIBUTE_LIST_ENTRY structure". Little-endian; 26 bytes and a name.</summary>
internal readonly ref struct AttributeListEntry(LeView view)
{
    public const int FixedBytes = 26;
    private readonly LeView _view = view;

    public AttributeType Type => (AttributeType)_view.U32(0);

    public ReadOnlySpan<byte> Name => _view.U8(6) == 0 ? default : _view.Field(_view.U8(7), _view.U8(6) * 2);

    public long LowestVcn => _view.NonNegative64(8, "LowestVcn");

    /// <summary>The FILE record that holds the attribute.</summary>
    public FileReference Segment => new(_view.U64(16));

    public ushort Instance => _view.U16(24);

    public bool IsFor(NtfsAttribute attribute) =>
        attribute.Type == Type && attribute.Instance == Instance && attribute.Name.SequenceEqual(Name)
        && (!attribute.IsNonresident || attribute.LowestVcn == LowestVcn);
}

/// <summary>The value of an <c>$ATTRIBUTE_LIST</c>, read whole. Dispose it.</summary>
internal sealed class AttributeListReader : IDisposable
{
    /// <summary>Windows keeps a list within 256 KiB.</summary>
    private const int MaxBytes = 256 << 10;

    private readonly RentedBuffer _buffer;

    private AttributeListReader(RentedBuffer buffer) => _buffer = buffer;

    public int Bytes => _buffer.Length;

    public EntryWalk Entries => new(new LeView(_buffer.Span, "ATTRIBUTE_LIST", -1));

    /// <exception cref="DiskFormatException">The list is larger than lists are, or cannot be read.</exception>
    public static AttributeListReader Read(NtfsVolume volume, NtfsAttribute attribute)
    {
        if (!attribute.IsNonresident)
        {
            ReadOnlySpan<byte> value = attribute.Value("ATTRIBUTE_LIST").Bytes;
            RentedBuffer copy = volume.Context.Budget.Rent(value.Length);
            value.CopyTo(copy.Span);
            return new AttributeListReader(copy);
        }

        long size = attribute.FileSize;
        attribute.View.Require(attribute.LowestVcn == 0, 16, "LowestVcn of the attribute list");
        if (size > MaxBytes)
        {
            throw attribute.View.TooLarge(48, "size of the attribute list");
        }

        var map = new RunMap(volume) { Length = size, ValidDataLength = attribute.ValidDataLength };
        map.Append(0, attribute.MappingPairs);
        map.RequireMapped();
        RentedBuffer buffer = volume.Context.Budget.Rent((int)size);
        try
        {
            using MappedSource source = volume.Open(map);
            source.Read(0, buffer.Span);
        }
        catch
        {
            buffer.Dispose();
            throw;
        }

        return new AttributeListReader(buffer);
    }

    public void Dispose() => _buffer.Dispose();

    public ref struct EntryWalk(LeView list)
    {
        private readonly LeView _list = list;
        private int _next;

        public AttributeListEntry Current { get; private set; }

        public readonly EntryWalk GetEnumerator() => this;

        /// <exception cref="DiskFormatException">An entry does not lie within the list.</exception>
        public bool MoveNext()
        {
            if (_next > _list.Length - AttributeListEntry.FixedBytes)
            {
                return false;
            }

            int length = _list.U16(_next + 4);
            _list.Require(length >= AttributeListEntry.FixedBytes && length <= _list.Length - _next, _next + 4, "RecordLength");
            Current = new AttributeListEntry(_list.Inner(_next, length, "ATTRIBUTE_LIST_ENTRY"));
            _next += length;
            return true;
        }
    }
}
