using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.GuestMemory.ElfCores;

/// <summary>
/// ELF cores of whole machines: <c>dump-guest-memory</c> of QEMU, <c>virsh dump --memory-only</c>, VirtualBox' <c>dumpvmcore</c>. Each PT_LOAD is a
/// run of physical memory. Specification: System V ABI, "ELF Header", "Program Header"; little-endian, both classes.
/// </summary>
internal sealed class ElfCoreFormat : IMemoryFormat
{
    private const string Structure = "ELF core";
    private const int HeaderBytes = 64;
    private const ushort TypeCore = 4;
    private const ushort MachineX64 = 62;
    private const uint Load = 1;
    private const uint Note = 4;
    private const ushort ManyHeaders = 0xFFFF;
    private const uint MostHeaders = RunMap.MostRuns;

    public FormatSupport Support => new(
        "ELF core of a machine",
        "virsh dump --memory-only, QEMU's dump-guest-memory, VirtualBox' dumpvmcore; by physical address, page tables from QEMU's notes",
        "pages that the dump leaves out; cores of single processes");

    public bool Probe(IReadOnlyList<MemoryFile> files)
    {
        Span<byte> head = stackalloc byte[HeaderBytes];
        return files[0].Bytes.TryRead(0, head) && head.StartsWith<byte>([0x7F, (byte)'E', (byte)'L', (byte)'F']) && head[5] == 1 && head[16] == TypeCore && head[17] == 0;
    }

    public GuestMemoryImage Open(IReadOnlyList<MemoryFile> files, ReadContext context)
    {
        IBlockSource file = files[0].Bytes;
        Span<byte> head = stackalloc byte[HeaderBytes];
        file.Read(0, head);
        var header = new LeView(head, "ELF header", 0);
        bool is64 = header.U8(4) switch { 1 => false, 2 => true, _ => throw header.Corrupt(4, "EI_CLASS") };
        long headersAt = is64 ? header.NonNegative64(32, "e_phoff") : header.U32(28);
        int headerBytes = header.U16(is64 ? 54 : 42);
        uint count = header.U16(is64 ? 56 : 44);
        header.Require(headerBytes >= (is64 ? 56 : 32), is64 ? 54 : 42, "e_phentsize");
        if (count == ManyHeaders)
        {
            count = SectionInfo(file, header, is64);
        }

        if (count > MostHeaders)
        {
            throw header.TooLarge(is64 ? 56 : 44, "e_phnum");
        }

        List<(long Address, long Length, long Location)> runs = [];
        List<ulong> tables = [];
        long leftOut = 0;
        int atZero = 0;
        Bounds.Check(headersAt, (long)count * headerBytes, file.Length, "ELF program headers");
        using RentedBuffer buffer = context.Budget.Rent(headerBytes);
        for (uint i = 0; i < count; i++)
        {
            context.ThrowIfCancelled();
            long at = headersAt + ((long)i * headerBytes);
            file.Read(at, buffer.Span);
            var entry = new LeView(buffer.Span, "ELF program header", at);
            uint type = entry.U32(0);
            long location = is64 ? entry.NonNegative64(8, "p_offset") : entry.U32(4);
            ulong address = is64 ? entry.U64(24) : entry.U32(12);
            long stored = is64 ? entry.NonNegative64(32, "p_filesz") : entry.U32(16);
            long size = is64 ? entry.NonNegative64(40, "p_memsz") : entry.U32(20);
            if (type == Note)
            {
                QemuNotes.Read(file, location, stored, header.U16(18) == MachineX64, tables);
            }
            else if (type == Load && size > 0)
            {
                entry.Require(stored <= size, 32, "p_filesz");
                leftOut += Math.Min(size - stored, long.MaxValue - leftOut);
                if (stored > 0)
                {
                    entry.Require(address <= long.MaxValue, 24, "p_paddr");
                    atZero += address == 0 ? 1 : 0;
                    runs.Add(((long)address, stored, location));
                }
            }
        }

        if (atZero > 1)
        {
            throw new DiskFormatException(Fault.Unsupported, Structure, headersAt, "the core of a process, not of a machine: its parts have no physical addresses");
        }

        if (leftOut > 0)
        {
            context.Gaps.Add(new CoverageGap(Fault.Unsupported, "", Structure, headersAt, leftOut, "memory that the dump leaves out"));
        }

        RunMap map = RunMap.Of(runs, file.Length, Structure, context.Gaps);
        return map.Length > 0
            ? new GuestMemoryImage { Format = is64 ? "elf-core" : "elf-core/32", Physical = new MappedSource(map, [file]), Runs = map.Runs, PageTables = tables }
            : throw new DiskFormatException(Fault.Truncated, Structure, headersAt, "it holds no memory");
    }

    // With more headers than e_phnum can tell, sh_info of the first section has the number.
    private static uint SectionInfo(IBlockSource file, LeView header, bool is64)
    {
        long at = is64 ? header.NonNegative64(40, "e_shoff") : header.U32(32);
        Span<byte> section = stackalloc byte[48];
        section = section[..(is64 ? 48 : 32)];
        header.Require(at > 0, is64 ? 40 : 32, "e_shoff");
        file.Read(at, section);
        return new LeView(section, "ELF section header", at).U32(is64 ? 44 : 28);
    }
}
