namespace Vmsweep.DiskReaders.GuestMemory.Qemu;

/// <summary>Where the blocks of RAM of QEMU's PC machines lie in physical memory. As hw/i386/pc_piix.c, pc_q35.c and microvm.c lay them out.</summary>
internal static class PcLayout
{
    private const long FourGiB = 1L << 32;

    /// <summary>From here on processors of AMD have the memory above 4 GiB moved beyond a hole at 1 TiB.</summary>
    private const long MostBytes = 1000L << 30;

    /// <summary>The stretches of a machine's main memory: address, length, offset in it; null where the machine is not known and it matters.</summary>
    public static IReadOnlyList<(long Address, long Length, long Offset)>? Of(string machine, long length)
    {
        long? low = machine switch
        {
            _ when machine.StartsWith("pc-q35", StringComparison.Ordinal) || machine == "q35" => length >= 0xB000_0000 ? 0x8000_0000 : 0xB000_0000,
            _ when machine.StartsWith("pc-", StringComparison.Ordinal) || machine == "pc" => length >= 0xE000_0000 ? 0xC000_0000 : 0xE000_0000,
            "microvm" => 0xC000_0000,
            _ => null,
        };
        if (low is null)
        {
            // All of them agree as long as nothing has to make way. Other architectures begin elsewhere.
            return machine.Length == 0 && length <= 0x8000_0000 ? [(0, length, 0)] : null;
        }

        return length <= low ? [(0, length, 0)] : length <= MostBytes ? [(0, low.Value, 0), (FourGiB, length - low.Value, low.Value)] : null;
    }

    /// <summary>The blocks that are the main memory, in order: one, or one for each NUMA node.</summary>
    public static IReadOnlyList<RamBlock> MainOf(IReadOnlyList<RamBlock> blocks)
    {
        if (blocks.FirstOrDefault(b => b.Name is "pc.ram" or "microvm.ram") is { } named)
        {
            return [named];
        }

        RamBlock[] nodes = [.. blocks.Where(b => b.Name.Split('/')[^1].StartsWith("ram-node", StringComparison.Ordinal))];
        return nodes.Length > 0 ? nodes : [blocks.MaxBy(b => b.Length)!];
    }
}
