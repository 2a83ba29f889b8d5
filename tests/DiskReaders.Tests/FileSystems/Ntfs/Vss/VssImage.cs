using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs.Vss;

/// <summary>
/// Writes a volume with shadow copies, block by block, as Windows' driver does: what is overwritten goes to the newest store first.
/// </summary>
internal sealed class VssImage
{
    public const int Block = 0x4000;
    public const long FirstTime = 133_000_000_000_000_000;
    private static readonly Guid Identifier = new("3808876b-c176-4e48-b7ae-04046e6cc752");
    private readonly List<Store> _stores = [];
    private readonly List<int> _written = [];
    private readonly int _catalogAt;
    private int _free;

    /// <param name="blocks">Of the volume; the upper half is for the stores.</param>
    public VssImage(int blocks, int seed = 1)
    {
        Bytes = new byte[blocks * Block];
        _free = blocks / 2 * Block;
        var random = new Random(seed);
        random.NextBytes(Bytes.AsSpan(4 * Block, (blocks / 2 * Block) - (4 * Block)));
        Bytes.AsSpan(0, 0x1E00).Clear();

        // Enough of a boot sector for tools that look for one.
        Bytes[0] = 0xEB;
        Bytes[1] = 0x52;
        Bytes[2] = 0x90;
        "NTFS    "u8.CopyTo(Bytes.AsSpan(3));
        Set16(0x0B, 512);
        Bytes[0x0D] = 8;
        Set64(0x28, (blocks * Block / 512) - 1);
        Set64(0x30, 4);
        Set64(0x38, 8);
        Bytes[0x40] = 0xF6;
        Set16(0x1FE, 0xAA55);

        _catalogAt = 2 * Block;
        WriteHeads();
    }

    /// <param name="volume">A file system, with as much room behind it for the stores.</param>
    public VssImage(byte[] volume)
    {
        Bytes = new byte[volume.Length * 2];
        volume.CopyTo(Bytes, 0);
        _free = volume.Length;
        _catalogAt = Allocate();
        WriteHeads();
    }

    public byte[] Bytes { get; }

    public int Blocks => Bytes.Length / Block;

    /// <summary>Where metadata lies, for damage.</summary>
    public List<(long Offset, long Length)> Regions { get; } = [];

    public IReadOnlyList<Store> Stores => _stores;

    public static Guid IdOf(int number) => new($"00000000-0000-0000-0000-{number:D12}");

    /// <summary>Begins a shadow copy: a store with an empty block list.</summary>
    public Store Snapshot(bool withUnused = false)
    {
        int number = _stores.Count + 1;
        var store = new Store(number, Allocate(), Allocate(), Allocate(), Allocate());
        _stores.Add(store);
        Header(store.HeaderAt, Record.StoreHeader, 0, 0x100);
        IdOf(number).TryWriteBytes(Bytes.AsSpan(store.HeaderAt + 128 + 16));
        IdOf(900).TryWriteBytes(Bytes.AsSpan(store.HeaderAt + 128 + 32));
        Set32(store.HeaderAt + 128 + 48, 0x0D);
        Set32(store.HeaderAt + 128 + 52, 1);
        Set32(store.HeaderAt + 128 + 56, 0x0042_000D);
        Header(store.ListAt, Record.BlockList, 0, 0);
        Header(store.RangesAt, Record.Ranges, 0, 0);
        Set64(store.RangesAt + 128, store.HeaderAt);
        Set64(store.RangesAt + 128 + 16, Block);
        Header(store.BitmapAt, Record.Bitmap, 0, 0);
        if (withUnused)
        {
            // Two blocks of what is free: read as zeros while the shadow copy is the newest.
            Bytes[store.BitmapAt + 128 + 1] = 0b0000_0110;
        }

        int entry = _catalogAt + 128 + (256 * (number - 1));
        Set64(entry, 2);
        Set64(entry + 8, Bytes.Length);
        IdOf(100 + number).TryWriteBytes(Bytes.AsSpan(entry + 16));
        Set64(entry + 32, number);
        Set64(entry + 40, 0x40);
        Set64(entry + 48, FirstTime + (number * 600_000_000L));
        Set64(entry + 128, 3);
        Set64(entry + 136, store.ListAt);
        IdOf(100 + number).TryWriteBytes(Bytes.AsSpan(entry + 144));
        Set64(entry + 160, store.HeaderAt);
        Set64(entry + 168, store.RangesAt);
        Set64(entry + 176, store.BitmapAt);
        Set64(entry + 192, 16 * Block);
        Regions.Add((store.HeaderAt, 192));
        Regions.Add((store.ListAt, 128 + 320));
        Regions.Add((store.BitmapAt, 136));
        _written.Clear();
        return store;
    }

    /// <summary>Overwrites a block, its old bytes going to the newest store when it has none of it yet.</summary>
    public void Write(int block, byte value)
    {
        Store newest = _stores[^1];
        if (!_written.Contains(block))
        {
            _written.Add(block);
            int copy = Allocate();
            Bytes.AsSpan(block * Block, Block).CopyTo(Bytes.AsSpan(copy));
            Describe(newest, block * Block, copy - newest.HeaderAt, copy, 0, 0);
        }

        Bytes.AsSpan(block * Block, Block).Fill(value);
    }

    /// <summary>Adds a descriptor to a store's list.</summary>
    public void Describe(Store store, long original, long relative, long at, uint flags, uint bitmap)
    {
        if (store.Descriptors > 0 && store.Descriptors % 508 == 0)
        {
            int next = Allocate();
            Header(next, Record.BlockList, 0, 0);
            Set64(store.LastListAt + 40, next);
            store.LastListAt = next;
            Regions.Add((next, 512));
        }

        int entry = store.LastListAt + 128 + (store.Descriptors++ % 508 * 32);
        Set64(entry, original);
        Set64(entry + 8, relative);
        Set64(entry + 16, at);
        Set32(entry + 24, flags);
        Set32(entry + 28, bitmap);
    }

    /// <summary>A block for the stores' own use, filled with a value.</summary>
    public int Data(byte value)
    {
        int at = Allocate();
        Bytes.AsSpan(at, Block).Fill(value);
        return at;
    }

    public int Allocate()
    {
        int at = _free;
        _free += Block;
        return at;
    }

    public VssImage Set64(int at, long value)
    {
        BinaryPrimitives.WriteInt64LittleEndian(Bytes.AsSpan(at), value);
        return this;
    }

    private void WriteHeads()
    {
        Identify(0x1E00, Record.VolumeHeader);
        Set64(0x1E00 + 24, 0x1E00);
        Set64(0x1E00 + 32, 0x1E00);
        Set64(0x1E00 + 48, _catalogAt);
        Header(_catalogAt, Record.Catalog, 0, 0);
        Regions.Add((0x1E00, 128));
        Regions.Add((_catalogAt, 128 + (128 * 8)));
    }

    private void Set32(int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(Bytes.AsSpan(at), value);

    private void Set16(int at, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(Bytes.AsSpan(at), value);

    private void Header(int at, Record type, long next, long informationBytes)
    {
        Identify(at, type);
        Set64(at + 32, at);
        Set64(at + 40, next);
        Set64(at + 48, informationBytes);
    }

    private void Identify(int at, Record type)
    {
        Identifier.TryWriteBytes(Bytes.AsSpan(at));
        Set32(at + 16, 1);
        Set32(at + 20, (uint)type);
    }

    private enum Record : uint
    {
        VolumeHeader = 1,
        Catalog = 2,
        BlockList = 3,
        StoreHeader = 4,
        Ranges = 5,
        Bitmap = 6,
    }

    internal sealed class Store(int number, int headerAt, int listAt, int rangesAt, int bitmapAt)
    {
        public int Number { get; } = number;

        public int HeaderAt { get; } = headerAt;

        public int ListAt { get; } = listAt;

        public int RangesAt { get; } = rangesAt;

        public int BitmapAt { get; } = bitmapAt;

        public int LastListAt { get; set; } = listAt;

        public int Descriptors { get; set; }
    }
}
