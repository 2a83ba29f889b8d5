using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.Tests.Containers.Vdi;

/// <summary>Builds small VDI files by hand, for what qemu-img cannot make: differencing disks, other block sizes, extra bytes, and damage.</summary>
internal sealed class VdiWriter
{
    public const int MapAt = 512;
    public const uint Free = uint.MaxValue;
    public const uint Zero = uint.MaxValue - 1;

    private readonly Dictionary<long, uint> _map = [];
    private readonly List<byte[]> _blocks = [];

    public int BlockBytes { get; init; } = 64 << 10;

    public int ExtraBytes { get; init; }

    public long DiskBytes { get; init; } = 200 << 10;

    public int Type { get; init; } = 1;

    public Guid Id { get; init; } = Guid.NewGuid();

    public Guid Parent { get; init; }

    public Guid Modify { get; init; } = Guid.NewGuid();

    /// <summary>Empty: not noted.</summary>
    public Guid ParentModify { get; init; }

    public long DataAt => (MapAt + (Blocks * 4) + 511) / 512 * 512;

    private long Blocks => (DiskBytes + BlockBytes - 1) / BlockBytes;

    /// <summary>Adds a stored block.</summary>
    public VdiWriter Block(long block, byte[] content)
    {
        _map[block] = (uint)_blocks.Count;
        byte[] bytes = new byte[ExtraBytes + BlockBytes];
        bytes.AsSpan(0, ExtraBytes).Fill(0xEE);
        content.CopyTo(bytes, ExtraBytes);
        _blocks.Add(bytes);
        return this;
    }

    /// <summary>Gives a block an entry of its own, such as <see cref="Zero"/>.</summary>
    public VdiWriter Entry(long block, uint entry)
    {
        _map[block] = entry;
        return this;
    }

    public byte[] Build()
    {
        byte[] head = new byte[DataAt];
        "<<< Oracle VM VirtualBox Disk Image >>>\n"u8.CopyTo(head);
        U32(head, 64, 0xBEDA_107F);
        U32(head, 68, 0x0001_0001);
        U32(head, 72, 400);
        U32(head, 76, (uint)Type);
        U32(head, 340, MapAt);
        U32(head, 344, (uint)DataAt);
        U32(head, 360, 512);
        BinaryPrimitives.WriteInt64LittleEndian(head.AsSpan(368), DiskBytes);
        U32(head, 376, (uint)BlockBytes);
        U32(head, 380, (uint)ExtraBytes);
        U32(head, 384, (uint)Blocks);
        U32(head, 388, (uint)_blocks.Count);
        Id.TryWriteBytes(head.AsSpan(392));
        Modify.TryWriteBytes(head.AsSpan(408));
        Parent.TryWriteBytes(head.AsSpan(424));
        ParentModify.TryWriteBytes(head.AsSpan(440));
        head.AsSpan(MapAt, (int)Blocks * 4).Fill(0xFF);
        foreach ((long block, uint entry) in _map)
        {
            U32(head, MapAt + ((int)block * 4), entry);
        }

        return [.. head, .. _blocks.SelectMany(b => b)];
    }

    public static void U32(Span<byte> bytes, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(bytes[at..], value);

    /// <summary>Bytes that differ everywhere and from one seed to another.</summary>
    public static byte[] Noise(int seed, int length)
    {
        byte[] bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
