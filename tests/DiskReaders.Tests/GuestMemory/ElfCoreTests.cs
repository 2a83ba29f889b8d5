using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.GuestMemory;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.GuestMemory;

public sealed class ElfCoreTests
{
    private const int Page = 4096;
    private const int DataAt = 2048;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Runs_lie_at_their_physical_addresses(bool is64)
    {
        var gaps = new GapList();
        using GuestMemoryImage image = Open(Core(is64), gaps);
        Assert.Empty(gaps.ToList());
        Assert.Equal([new MemoryRun(0, 2 * Page), new MemoryRun(0x10_0000, Page)], image.Runs);
        Assert.Equal([0x7000UL], image.PageTables);
        byte[] page = new byte[Page];
        image.Physical.Read(0x10_0000, page);
        Assert.Equal(QemuStreamWriter.Pattern(3), page);
        image.Physical.Read(0x5_0000, page);
        Assert.All(page, b => Assert.Equal(0, b));
    }

    [Fact]
    public void Where_runs_overlap_the_first_has_the_bytes()
    {
        byte[] bytes = Core(true, runs: [(0, 2 * Page, DataAt), (Page, 2 * Page, DataAt + Page)]);
        using GuestMemoryImage image = Open(bytes, new GapList());
        Assert.Equal(3 * Page, image.SizeBytes);
        byte[] page = new byte[Page];
        image.Physical.Read(2 * Page, page);
        Assert.Equal(QemuStreamWriter.Pattern(3), page);
    }

    [Fact]
    public void What_the_dump_leaves_out_or_lost_is_a_gap()
    {
        byte[] bytes = Core(true);
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(64 + 56 + 40), 5 * Page);
        var gaps = new GapList();
        Open(bytes, gaps).Dispose();
        Assert.Equal(3 * Page, Assert.Single(gaps.ToList()).Bytes);

        gaps = new GapList();
        Open(Core(true)[..^100], gaps).Dispose();
        Assert.Equal((Fault.Truncated, 100L), (gaps.ToList()[0].Fault, gaps.ToList()[0].Bytes));
    }

    public static TheoryData<string, byte[], Fault> Hostile() => new()
    {
        { "a core of a process", Core(true, runs: [(0, Page, DataAt), (0, Page, DataAt + Page)]), Fault.Unsupported },
        { "no memory", Core(true, runs: []), Fault.Truncated },
        { "headers beyond the end", Damaged(b => b[39] = 1), Fault.Truncated },
        { "headers too small", Damaged(b => b[54] = 8), Fault.Corrupt },
        { "an address beyond 63 bits", Damaged(b => b[64 + 56 + 31] = 0xFF), Fault.Corrupt },
        { "an address whose end overflows", Damaged(b => { b.AsSpan(64 + 56 + 24, 7).Fill(0xFF); b[64 + 56 + 31] = 0x7F; }), Fault.Corrupt },
        { "more stored than there is", Damaged(b => b[64 + 56 + 38] = 0x10), Fault.Corrupt },
        { "an unknown class", Damaged(b => b[4] = 3), Fault.Corrupt },
    };

    [Theory]
    [MemberData(nameof(Hostile))]
    public void A_core_without_memory_that_can_be_read_is_a_fault(string what, byte[] bytes, Fault fault)
    {
        Assert.NotEmpty(what);
        Assert.Equal(fault, Assert.Throws<DiskFormatException>(() => Open(bytes, new GapList())).Fault);
    }

    [Theory]
    [Trait("Category", "Slow")]
    [InlineData(true)]
    [InlineData(false)]
    public void A_mutated_core_gives_data_or_DiskFormatException(bool is64) =>
        Mutations.Check(Core(is64), (bytes, context) => MemoryReading.ReadEverything([new MemoryFile("vm.core", new MemorySource(bytes))], context), [(0, DataAt)], Mutations.PerFormat / 2);

    /// <summary>A core with a note of a processor and runs of pages.</summary>
    internal static byte[] Core(bool is64, (long Address, long Length, long At)[]? runs = null)
    {
        runs ??= [(0, 2 * Page, DataAt), (0x10_0000, Page, DataAt + (2 * Page))];
        byte[] bytes = new byte[DataAt + (3 * Page)];
        byte[] start = [0x7F, (byte)'E', (byte)'L', (byte)'F', (byte)(is64 ? 2 : 1), 1, 1];
        start.CopyTo(bytes, 0);
        bytes[16] = 4;
        bytes[18] = 62;
        int header = is64 ? 64 : 52;
        int entry = is64 ? 56 : 32;
        Put(is64 ? 32 : 28, header, is64);
        bytes[is64 ? 54 : 42] = (byte)entry;
        bytes[is64 ? 56 : 44] = (byte)(runs.Length + 1);
        int noteAt = 1024;
        Entry(header, 4, noteAt, 0, 12 + 8 + 440);
        for (int i = 0; i < runs.Length; i++)
        {
            Entry(header + (entry * (i + 1)), 1, runs[i].At, runs[i].Address, runs[i].Length);
        }

        bytes[noteAt] = 5;
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(noteAt + 4), 440);
        "QEMU\0"u8.CopyTo(bytes.AsSpan(noteAt + 12));
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(noteAt + 12 + 8 + 416), 0x7000);
        for (int i = 0; i < 3; i++)
        {
            QemuStreamWriter.Pattern(i + 1).CopyTo(bytes, DataAt + (i * Page));
        }

        return bytes;

        void Entry(int at, int type, long offset, long address, long length)
        {
            bytes[at] = (byte)type;
            Put(at + (is64 ? 8 : 4), offset, is64);
            Put(at + (is64 ? 24 : 12), address, is64);
            Put(at + (is64 ? 32 : 16), length, is64);
            Put(at + (is64 ? 40 : 20), length, is64);
        }

        void Put(int at, long value, bool isLong)
        {
            if (isLong)
            {
                BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(at), value);
            }
            else
            {
                BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(at), (int)value);
            }
        }
    }

    private static byte[] Damaged(Action<byte[]> damage)
    {
        byte[] bytes = Core(true);
        damage(bytes);
        return bytes;
    }

    private static GuestMemoryImage Open(byte[] bytes, GapList gaps) => MemoryFormats.Open([new MemoryFile("vm.core", new MemorySource(bytes))], new ReadContext(new ScanBudget(64 << 20), gaps));
}
