using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.GuestMemory;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.GuestMemory;

public sealed class QemuStreamTests
{
    private const int Page = QemuStreamWriter.Page;

    public static TheoryData<string, byte[], Fault> Hostile() => new()
    {
        { "another version", [.. "QEVM"u8, 0, 0, 0, 2], Fault.Unsupported },
        { "only the magic", [.. "QEVM"u8], Fault.Truncated },
        { "a machine type of gigabytes", [.. "QEVM"u8, 0, 0, 0, 3, 7, 0xFF, 0xFF, 0xFF, 0xFF], Fault.Corrupt },
        { "a device first", new QemuStreamWriter().Device("timer").ToArray(), Fault.Corrupt },
        { "a section before the RAM that is not known", new QemuStreamWriter().U8(1).U32(1).Name("block").U32(0).U32(1).ToArray(), Fault.Unsupported },
        { "a total that its blocks do not make", new QemuStreamWriter().U8(1).U32(2).Name("ram").U32(0).U32(4).U64(4 | (3 * Page)).Name("pc.ram").U64(4 * Page).ToArray(), Fault.Corrupt },
        { "a block of odd size", new QemuStreamWriter().U8(1).U32(2).Name("ram").U32(0).U32(4).U64(4 | (3 * Page)).Name("pc.ram").U64(100).ToArray(), Fault.Corrupt },
        { "exabytes of RAM", new QemuStreamWriter().Start(("pc.ram", 1L << 60)).ToArray(), Fault.Limit },
        { "no page at all", new QemuStreamWriter().Start(("pc.ram", 4 * Page)).ToArray(), Fault.Truncated },
        { "mapped-ram", new QemuStreamWriter().U8(5).Name("configuration/capabilities").U32(1).U32(1).Name("mapped-ram").ToArray(), Fault.Unsupported },
    };

    [Theory]
    [MemberData(nameof(Hostile))]
    public void What_is_no_stream_of_memory_is_a_fault_with_its_reason(string what, byte[] bytes, Fault fault)
    {
        Assert.NotEmpty(what);
        var budget = new ScanBudget(64 << 20);
        Assert.Equal(fault, Assert.Throws<DiskFormatException>(() => Open(bytes, new ReadContext(budget, new GapList()))).Fault);
        Assert.Equal(0, budget.InUse);
    }

    public static TheoryData<string, Action<QemuStreamWriter>, Fault> Broken() => new()
    {
        { "a page of a block that was not listed", w => w.Zero("other", 0), Fault.Corrupt },
        { "a page beyond its block", w => w.Zero("pc.ram", 4), Fault.Corrupt },
        { "unknown flags", w => w.Record("pc.ram", 1, 0x80), Fault.Unsupported },
        { "two kinds at once", w => w.Record("pc.ram", 1, 0x0A), Fault.Corrupt },
        { "a change of a page that was never sent", w => w.Delta("pc.ram", 1, (0, [1])), Fault.Corrupt },
        { "a packed page of gigabytes", w => w.Record("pc.ram", 1, 0x100).U32(0xFFFF_FFFF), Fault.Corrupt },
        { "a second list of blocks", w => w.U64(4 | Page).Name("x").U64(Page), Fault.Corrupt },
    };

    [Theory]
    [MemberData(nameof(Broken))]
    public void What_came_before_a_fault_is_read_and_the_rest_is_a_gap(string what, Action<QemuStreamWriter> record, Fault fault)
    {
        Assert.NotEmpty(what);
        byte[] bytes = new QemuStreamWriter().Start(("pc.ram", 4 * Page)).Part(w => w.Plain("pc.ram", 2, QemuStreamWriter.Pattern(7))).Part(record).ToArray();
        var gaps = new GapList();
        using GuestMemoryImage image = Open(bytes, new ReadContext(new ScanBudget(64 << 20), gaps));
        CoverageGap gap = Assert.Single(gaps.ToList());
        Assert.Equal(fault, gap.Fault);
        Assert.Equal(3 * Page, gap.Bytes);
        Assert.Equal([new MemoryRun(2 * Page, Page)], image.Runs);
        byte[] page = new byte[Page];
        image.Physical.Read(2 * Page, page);
        Assert.Equal(QemuStreamWriter.Pattern(7), page);
    }

    [Fact]
    public void Each_page_is_as_it_was_sent_last()
    {
        var gaps = new GapList();
        using GuestMemoryImage image = Open(QemuStreamWriter.Sample(), new ReadContext(new ScanBudget(64 << 20), gaps));
        Assert.Empty(gaps.ToList());
        byte[] ram = new byte[16 * Page];
        image.Physical.Read(0, ram);
        Assert.Equal(QemuStreamWriter.SampleRam(), ram);
        MemoryArea vram = Assert.Single(image.Areas);
        Assert.Equal("vga.vram", vram.Name);
        byte[] first = new byte[Page];
        vram.Content.Read(0, first);
        Assert.Equal(QemuStreamWriter.Pattern(20), first);

        // Zero pages are holes: nobody reads them.
        Assert.Equal(10 * Page, image.Physical.HoleLength(6 * Page, 10 * Page));

        // Any slicing reads the same.
        byte[] odd = new byte[5000];
        image.Physical.Read(4000, odd);
        Assert.Equal(ram[4000..9000], odd);
    }

    [Fact]
    public void Pages_that_are_listed_and_never_sent_are_a_gap()
    {
        byte[] bytes = new QemuStreamWriter().Start(("pc.ram", 8 * Page)).End(w => w.Zero("pc.ram", 0).Plain(null, 5, QemuStreamWriter.Pattern(1))).Device("timer").ToArray();
        var gaps = new GapList();
        using GuestMemoryImage image = Open(bytes, new ReadContext(new ScanBudget(64 << 20), gaps));
        Assert.Equal(6 * Page, Assert.Single(gaps.ToList()).Bytes);
        Assert.Equal([new MemoryRun(0, Page), new MemoryRun(5 * Page, Page)], image.Runs);
    }

    [Theory]
    [InlineData("pc-q35-7.2", 0xA000_0000, 0, 0xA000_0000)]
    [InlineData("pc-q35-7.2", 0x1_0000_0000, 0x1_0000_0000, 0x8000_0000)]
    [InlineData("pc-i440fx-7.2", 0x1_0000_0000, 0x1_0000_0000, 0xC000_0000)]
    [InlineData("pc-i440fx-7.2", 0xD000_0000, 0, 0xD000_0000)]
    public void Memory_beyond_the_hole_of_a_PC_lies_from_4_GiB_on(string machine, long ram, long highAddress, long lowBytes)
    {
        byte[] bytes = new QemuStreamWriter(machine).Start(("pc.ram", ram)).End(w => w.Plain("pc.ram", 0, QemuStreamWriter.Pattern(1)).Plain(null, (ram / Page) - 1, QemuStreamWriter.Pattern(2))).ToArray();
        using GuestMemoryImage image = Open(bytes, new ReadContext(new ScanBudget(64 << 20), new GapList()));
        long last = highAddress == 0 ? ram - Page : highAddress + (ram - lowBytes) - Page;
        Assert.Equal([new MemoryRun(0, Page), new MemoryRun(last, Page)], image.Runs);
    }

    [Fact]
    public void Memory_of_a_machine_that_is_not_known_has_no_addresses()
    {
        byte[] bytes = new QemuStreamWriter("virt-7.2").Start(("mach-virt.ram", 2 * Page)).End(w => w.Zero("mach-virt.ram", 0).Plain(null, 1, QemuStreamWriter.Pattern(2))).ToArray();
        using GuestMemoryImage image = Open(bytes, new ReadContext(new ScanBudget(64 << 20), new GapList()));
        Assert.Empty(image.Runs);
        Assert.Equal("mach-virt.ram", Assert.Single(image.Areas).Name);
        Assert.Single(image.Notes);
    }

    [Fact]
    public void A_stream_that_sends_its_memory_without_end_is_cut()
    {
        QemuStreamWriter writer = new QemuStreamWriter().Start(("pc.ram", Page));
        for (int i = 0; i < 400; i++)
        {
            writer.Part(w => w.Plain("pc.ram", 0, QemuStreamWriter.Pattern(i)));
        }

        var gaps = new GapList();
        using GuestMemoryImage image = Open(writer.ToArray(), new ReadContext(new ScanBudget(64 << 20), gaps));
        Assert.Equal(Fault.Limit, Assert.Single(gaps.ToList()).Fault);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void A_mutated_stream_gives_data_or_DiskFormatException() =>
        Mutations.Check(QemuStreamWriter.Sample(), Read, []);

    internal static void Read(byte[] bytes, ReadContext context) => MemoryReading.ReadEverything([new MemoryFile("guest.qemu", new MemorySource(bytes))], context);

    private static GuestMemoryImage Open(byte[] bytes, ReadContext context) => MemoryFormats.Open([new MemoryFile("guest.qemu", new MemorySource(bytes))], context);
}
