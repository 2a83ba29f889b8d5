using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.GuestMemory;
using Vmsweep.DiskReaders.GuestMemory.Systems;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.GuestMemory;

/// <summary>Systems in memory that has nothing but their structures. A real Linux is met by <see cref="QemuGuestTests"/>; no Windows was at hand.</summary>
public sealed class GuestSystemTests
{
    [Theory]
    [InlineData(4)]
    [InlineData(5)]
    public void Processes_of_Linux_are_found_with_four_and_five_levels_of_tables(int levels)
    {
        (GuestSystem? system, IReadOnlyList<MappedPage> places) = Locate(SyntheticGuest.Linux(levels), SyntheticGuest.SecretPage);
        Assert.Equal("linux", system!.Kind);
        Assert.Equal("Linux version 6.9.9-test (somebody) #1", system.Version);
        Assert.Equal([new GuestProcess("init", 1), new GuestProcess("evil", 77)], system.Processes);
        Assert.Equal(
            [
                new MappedPage(new GuestProcess("init", 1), SyntheticGuest.SecretAddress, false),
                new MappedPage(new GuestProcess("evil", 77), SyntheticGuest.SecretAddress, false),
                new MappedPage(new GuestProcess("kernel", 0), 0xFFFF_FFFF_8000_0000 + SyntheticGuest.SecretPage, true),
            ],
            places);
    }

    [Fact]
    public void Processes_of_Windows_are_found_by_tables_that_map_themselves()
    {
        (GuestSystem? system, IReadOnlyList<MappedPage> places) = Locate(SyntheticGuest.Windows(), SyntheticGuest.SecretPage);
        Assert.Equal("windows", system!.Kind);
        Assert.Equal("Windows NT 10.0.19045", system.Version);
        Assert.Equal([new GuestProcess("System", 4), new GuestProcess("evil.exe", 4711)], system.Processes);
        Assert.Equal(new MappedPage(new GuestProcess("evil.exe", 4711), SyntheticGuest.SecretAddress, false), places[0]);
        Assert.True(places[1].IsKernel);
    }

    [Fact]
    public void A_page_that_only_the_kernel_has_is_the_kernels()
    {
        (_, IReadOnlyList<MappedPage> places) = Locate(SyntheticGuest.Linux(4), 0x1_0000);
        Assert.Equal([new MappedPage(new GuestProcess("kernel", 0), 0xFFFF_FFFF_8001_0000, true)], places);
    }

    [Fact]
    public void Memory_without_a_system_has_none()
    {
        Assert.Null(Locate(new byte[SyntheticGuest.Size], 0).System);
        byte[] noise = new byte[SyntheticGuest.Size];
        new Random(1).NextBytes(noise);
        Assert.Null(Locate(noise, 0).System);
    }

    [Fact]
    public void Tables_that_lead_to_themselves_at_every_entry_end()
    {
        byte[] memory = SyntheticGuest.Linux(4);
        ulong root = BinaryPrimitives.ReadUInt64LittleEndian(memory.AsSpan(0x10_0000 + (511 * 8))) & 0x000F_FFFF_FFFF_F000;

        // The process' lower half: 256 entries that lead back to its own first table.
        Assert.NotEqual(0UL, root);
        int process = ProcessTable(memory);
        for (int i = 0; i < 256; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(memory.AsSpan(process + (i * 8)), (ulong)process | 0x67);
        }

        (GuestSystem? system, IReadOnlyList<MappedPage> places) = Locate(memory, SyntheticGuest.SecretPage);
        Assert.NotNull(system);
        Assert.All(places, p => Assert.True(p.IsKernel));
    }

    [Theory]
    [Trait("Category", "Slow")]
    [InlineData("linux")]
    [InlineData("windows")]
    public void Mutated_structures_give_a_system_or_none(string kind)
    {
        byte[] memory = kind == "linux" ? SyntheticGuest.Linux(4) : SyntheticGuest.Windows();
        Mutations.Check(
            memory,
            (bytes, context) =>
            {
                using GuestMemoryImage image = MemoryFormats.Open([new MemoryFile("guest.vmem", new MemorySource(bytes))], context);
                GuestSystem.Find(image, context)?.Locate([SyntheticGuest.SecretPage, 0]);
            },
            [(SyntheticGuest.KernelData, 0x9000), (0x10_0000, 0xA000)]);
    }

    private static int ProcessTable(byte[] memory)
    {
        // The second top table: its last entry equals the first's.
        for (int at = 0x10_1000; ; at += 0x1000)
        {
            if (memory.AsSpan(at + (511 * 8), 8).SequenceEqual(memory.AsSpan(0x10_0000 + (511 * 8), 8)))
            {
                return at;
            }
        }
    }

    private static (GuestSystem? System, IReadOnlyList<MappedPage> Places) Locate(byte[] memory, long page)
    {
        var budget = new ScanBudget(64 << 20);
        var context = new ReadContext(budget, new GapList());
        GuestSystem? system;
        IReadOnlyList<MappedPage> places;
        using (GuestMemoryImage image = MemoryFormats.Open([new MemoryFile("guest.vmem", new MemorySource(memory))], context))
        {
            system = GuestSystem.Find(image, context);
            places = system?.Locate([page]).GetValueOrDefault(page) ?? [];
        }

        Assert.Equal(0, budget.InUse);
        return (system, places);
    }
}
