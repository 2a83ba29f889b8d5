using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.GuestMemory;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.GuestMemory;

public sealed class VmwareTests
{
    private const int Page = 4096;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Regions_lie_where_the_state_says(bool isInside)
    {
        byte[] memory = VmwareWriter.Memory();
        var gaps = new GapList();
        using GuestMemoryImage image = isInside ? Open(gaps, VmwareWriter.Sample(memory).ToArray()) : Open(gaps, VmwareWriter.Sample().ToArray(), memory);
        Assert.Equal(isInside ? "vmware/vmss" : "vmware/vmem", image.Format);
        Assert.Empty(gaps.ToList());
        Assert.Empty(image.Areas);
        Assert.Equal([new MemoryRun(0, 6 * Page), new MemoryRun(1 << 20, 2 * Page)], image.Runs);
        Assert.Equal([0x2000UL], image.PageTables);
        byte[] read = new byte[2 * Page];
        image.Physical.Read(1 << 20, read);
        Assert.Equal(memory[(6 * Page)..], read);
        image.Physical.Read(4 * Page, read);
        Assert.Equal(memory[(4 * Page)..(6 * Page)], read);
    }

    [Fact]
    public void A_file_of_memory_alone_is_one_run()
    {
        var gaps = new GapList();
        using GuestMemoryImage image = MemoryFormats.Open([new MemoryFile("web.vmem", new MemorySource(VmwareWriter.Memory()))], Context(gaps));
        Assert.Equal([new MemoryRun(0, 8 * Page)], image.Runs);
        Assert.Equal("vmware/vmem", image.Format);
    }

    [Fact]
    public void A_state_that_does_not_divide_its_memory_has_it_in_one_run()
    {
        using GuestMemoryImage image = Open(new GapList(), new VmwareWriter().Group("memory").Block("Memory", [0, 0], VmwareWriter.Memory(), 7).ToArray());
        Assert.Equal([new MemoryRun(0, 8 * Page)], image.Runs);
    }

    [Fact]
    public void Memory_that_is_cut_off_is_a_gap()
    {
        var gaps = new GapList();
        using GuestMemoryImage image = Open(gaps, VmwareWriter.Sample().ToArray(), VmwareWriter.Memory()[..^(Page + 100)]);
        CoverageGap gap = Assert.Single(gaps.ToList());
        Assert.Equal((Fault.Truncated, Page + 100L), (gap.Fault, gap.Bytes));

        gaps = new GapList();
        using GuestMemoryImage inside = Open(gaps, VmwareWriter.Sample(VmwareWriter.Memory()).ToArray()[..^(Page + 2)]);
        Assert.Equal((Fault.Truncated, (long)Page), (gaps.ToList()[0].Fault, gaps.ToList()[0].Bytes));
    }

    [Fact]
    public void Bytes_of_the_file_that_no_region_has_are_read_too()
    {
        using GuestMemoryImage image = Open(new GapList(), VmwareWriter.Sample().ToArray(), [.. VmwareWriter.Memory(), .. QemuStreamWriter.Pattern(9)]);
        byte[] rest = new byte[Page];
        Assert.Single(image.Areas).Content.Read(0, rest);
        Assert.Equal(QemuStreamWriter.Pattern(9), rest);
    }

    public static TheoryData<string, byte[], Fault> Hostile() => new()
    {
        { "a region that is not told in full", new VmwareWriter().Group("memory").Tag("regionsCount", [], VmwareWriter.U32(2)).Block("Memory", [0, 0], new byte[Page], 0).ToArray(), Fault.Corrupt },
        { "billions of regions", new VmwareWriter().Group("memory").Tag("regionsCount", [], VmwareWriter.U32(0xFFFF_FFFF)).Block("Memory", [0, 0], new byte[Page], 0).ToArray(), Fault.Limit },
        { "a region of exabytes", new VmwareWriter().Group("memory").Tag("regionsCount", [], VmwareWriter.U32(1)).Tag("regionSize", [0], VmwareWriter.U64(ulong.MaxValue)).ToArray(), Fault.Corrupt },
        { "packed memory", new VmwareWriter().Group("memory").Block("Memory", [0, 0], new byte[Page], 0, isPacked: true).ToArray(), Fault.Unsupported },
        { "no memory", new VmwareWriter().Group("cpu").ToArray(), Fault.MissingParent },
        { "groups beyond the end", [.. VmwareWriter.U32(0xBED2BED2), .. VmwareWriter.U32(8), .. VmwareWriter.U32(5)], Fault.Truncated },
        { "too many groups", [.. VmwareWriter.U32(0xBED2BED2), .. VmwareWriter.U32(8), .. VmwareWriter.U32(500_000)], Fault.Limit },
        { "version 0", [.. VmwareWriter.U32(0xBED0BED0), .. VmwareWriter.U32(8), .. VmwareWriter.U32(0)], Fault.Unsupported },
    };

    [Theory]
    [MemberData(nameof(Hostile))]
    public void A_state_without_memory_that_can_be_read_is_a_fault(string what, byte[] bytes, Fault fault)
    {
        Assert.NotEmpty(what);
        Assert.Equal(fault, Assert.Throws<DiskFormatException>(() => Open(new GapList(), bytes)).Fault);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void A_mutated_state_gives_data_or_DiskFormatException()
    {
        byte[] memory = VmwareWriter.Memory();
        byte[] inside = VmwareWriter.Sample(memory).ToArray();
        Mutations.Check(inside, (bytes, context) => MemoryReading.ReadEverything([new MemoryFile("web.vmss", new MemorySource(bytes))], context), [(0, inside.Length - memory.Length)], Mutations.PerFormat / 2);
        byte[] apart = VmwareWriter.Sample().ToArray();
        Mutations.Check(
            apart,
            (bytes, context) => MemoryReading.ReadEverything([new MemoryFile("web.vmss", new MemorySource(bytes)), new MemoryFile("web.vmem", new MemorySource(memory))], context),
            [],
            Mutations.PerFormat / 2);
    }

    private static ReadContext Context(GapList gaps) => new(new ScanBudget(64 << 20), gaps);

    private static GuestMemoryImage Open(GapList gaps, byte[] state, byte[]? memory = null) => MemoryFormats.Open(
        [new MemoryFile("web.vmss", new MemorySource(state)), .. memory is null ? (MemoryFile[])[] : [new MemoryFile("web.vmem", new MemorySource(memory))]],
        Context(gaps));
}
