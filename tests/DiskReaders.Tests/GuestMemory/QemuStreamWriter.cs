using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace Vmsweep.DiskReaders.Tests.GuestMemory;

/// <summary>Writes migration streams of QEMU record by record, for what a real one does not do on demand.</summary>
#pragma warning disable CA1001 // A memory stream holds nothing that must be given back, and the calls are chained.
public sealed class QemuStreamWriter
#pragma warning restore CA1001
{
    public const int Page = 4096;

    private readonly MemoryStream _bytes = new();

    public QemuStreamWriter(string machine = "pc-q35-7.2")
    {
        _bytes.Write("QEVM"u8);
        U32(3).U8(7).U32((uint)machine.Length).Ascii(machine);
    }

    public long Position => _bytes.Length;

    /// <summary>Pages of all kinds over two blocks, then a device.</summary>
    public static byte[] Sample() => new QemuStreamWriter()
        .Start(("pc.ram", 16 * Page), ("vga.vram", 2 * Page))
        .Part(w => w
            .Plain("pc.ram", 0, Pattern(1))
            .Zero(null, 1)
            .Fill(null, 2, 0xAB)
            .Packed(null, 3, Pattern(3))
            .Plain(null, 4, Pattern(4))
            .Plain("vga.vram", 0, Pattern(20))
            .Zero(null, 1))
        .End(w =>
        {
            w.Plain("pc.ram", 5, Pattern(5)).Plain(null, 0, Pattern(11));
            w.Delta(null, 4, (100, [1, 2, 3]), (300, [9]));
            w.Delta(null, 4, (0, [7]));
            for (int i = 6; i < 16; i++)
            {
                w.Zero(null, i);
            }
        })
        .Device("timer")
        .ToArray();

    /// <summary>What <see cref="Sample"/> holds in "pc.ram".</summary>
    public static byte[] SampleRam()
    {
        byte[] ram = new byte[16 * Page];
        Pattern(11).CopyTo(ram, 0);
        ram.AsSpan(2 * Page, Page).Fill(0xAB);
        Pattern(3).CopyTo(ram, 3 * Page);
        Pattern(4).CopyTo(ram, 4 * Page);
        new byte[] { 1, 2, 3 }.CopyTo(ram, (4 * Page) + 100);
        ram[(4 * Page) + 403] = 9;
        ram[4 * Page] = 7;
        Pattern(5).CopyTo(ram, 5 * Page);
        return ram;
    }

    public static byte[] Pattern(int seed)
    {
        byte[] page = new byte[Page];
        for (int i = 0; i < Page; i++)
        {
            page[i] = (byte)((i / 16 * 31) + seed);
        }

        return page;
    }

    public byte[] ToArray() => _bytes.ToArray();

    public QemuStreamWriter Start(params (string Name, long Length)[] blocks)
    {
        U8(1).U32(2).Name("ram").U32(0).U32(4).U64((ulong)blocks.Sum(b => b.Length) | 4);
        foreach ((string name, long length) in blocks)
        {
            Name(name).U64((ulong)length);
        }

        return U64(0x10).Footer();
    }

    public QemuStreamWriter Part(Action<QemuStreamWriter> pages) => Section(2, pages);

    public QemuStreamWriter End(Action<QemuStreamWriter> pages) => Section(3, pages);

    public QemuStreamWriter Device(string name) => U8(4).U32(9).Name(name).U32(0).U32(1).U64(0x1234).Footer();

    public QemuStreamWriter Plain(string? block, long page, byte[] content) => Record(block, page, 8).Bytes(content);

    public QemuStreamWriter Zero(string? block, long page) => Fill(block, page, 0);

    public QemuStreamWriter Fill(string? block, long page, byte value) => Record(block, page, 2).U8(value);

    public QemuStreamWriter Packed(string? block, long page, byte[] content)
    {
        var packed = new MemoryStream();
        using (var zlib = new ZLibStream(packed, CompressionLevel.Optimal, leaveOpen: true))
        {
            zlib.Write(content);
        }

        return Record(block, page, 0x100).U32((uint)packed.Length).Bytes(packed.ToArray());
    }

    /// <param name="changes">How many bytes stay before each, and what follows.</param>
    public QemuStreamWriter Delta(string? block, long page, params (int Same, byte[] Changed)[] changes)
    {
        var delta = new MemoryStream();
        foreach ((int same, byte[] changed) in changes)
        {
            Uleb(delta, same);
            Uleb(delta, changed.Length);
            delta.Write(changed);
        }

        return Record(block, page, 0x40).U8(1).U16((ushort)delta.Length).Bytes(delta.ToArray());
    }

    public QemuStreamWriter Record(string? block, long page, ulong flags)
    {
        U64((ulong)(page * Page) | flags | (block is null ? 0x20u : 0));
        return block is null ? this : Name(block);
    }

    public QemuStreamWriter U8(byte value) => Bytes([value]);

    public QemuStreamWriter U16(ushort value)
    {
        Span<byte> bytes = stackalloc byte[2];
        BinaryPrimitives.WriteUInt16BigEndian(bytes, value);
        return Bytes(bytes);
    }

    public QemuStreamWriter U32(uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        return Bytes(bytes);
    }

    public QemuStreamWriter U64(ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, value);
        return Bytes(bytes);
    }

    public QemuStreamWriter Name(string name) => U8((byte)name.Length).Ascii(name);

    public QemuStreamWriter Ascii(string text) => Bytes(Encoding.ASCII.GetBytes(text));

    public QemuStreamWriter Bytes(ReadOnlySpan<byte> bytes)
    {
        _bytes.Write(bytes);
        return this;
    }

    public QemuStreamWriter Section(byte type, Action<QemuStreamWriter> pages)
    {
        U8(type).U32(2);
        pages(this);
        return U64(0x10).Footer();
    }

    public QemuStreamWriter Footer() => U8(0x7E).U32(2);

    private static void Uleb(MemoryStream to, int value)
    {
        if (value >= 0x80)
        {
            to.WriteByte((byte)(value | 0x80));
            value >>= 7;
        }

        to.WriteByte((byte)value);
    }
}
