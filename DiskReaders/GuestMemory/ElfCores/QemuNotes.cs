using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.GuestMemory.ElfCores;

/// <summary>
/// Notes of ELF cores: name and descriptor, each padded to four bytes. QEMU adds one of its own for each processor, which begins with version
/// and size and holds CR3. What is odd here costs a hint only, so nothing is a fault.
/// </summary>
internal static class QemuNotes
{
    private const int MostBytes = 16 << 20;
    private const int MostNotes = 65_536;
    private const int MostTables = 1024;

    // Behind version and size: 18 registers of 8 bytes, 10 segments of 24, then CR0 to CR4.
    private const int Cr3At = 8 + (18 * 8) + (10 * 24) + (3 * 8);
    private const int StateBytes = Cr3At + 16;

    public static void Read(IBlockSource file, long at, long length, bool isX64, List<ulong> tables)
    {
        Span<byte> head = stackalloc byte[12];
        Span<byte> state = stackalloc byte[StateBytes];
        long end = at + Math.Min(Math.Min(length, MostBytes), Math.Max(0, file.Length - at));
        for (int i = 0; i < MostNotes && isX64 && end - at >= head.Length && tables.Count < MostTables; i++)
        {
            if (!file.TryRead(at, head))
            {
                return;
            }

            var note = new LeView(head, "ELF note", at);
            long nameBytes = note.U32(0);
            long dataBytes = note.U32(4);
            long dataAt = at + head.Length + ((nameBytes + 3) & ~3L);
            if (nameBytes == 5 && note.U32(8) == 0 && dataBytes >= StateBytes && dataAt <= end - dataBytes
                && file.HasAt(at + head.Length, "QEMU\0"u8) && file.TryRead(dataAt, state))
            {
                ulong cr3 = new LeView(state, "QEMU processor state", dataAt).U64(Cr3At);
                if (cr3 != 0 && !tables.Contains(cr3))
                {
                    tables.Add(cr3);
                }
            }

            at = dataAt + ((dataBytes + 3) & ~3L);
        }
    }
}
