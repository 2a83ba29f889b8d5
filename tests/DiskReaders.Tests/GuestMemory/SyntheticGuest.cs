using System.Buffers.Binary;
using System.Text;

namespace Vmsweep.DiskReaders.Tests.GuestMemory;

/// <summary>2 MiB of memory with the structures by which a kernel is known, and nothing else.</summary>
internal sealed class SyntheticGuest
{
    public const int Size = 2 << 20;

    /// <summary>Page that a process of the guest has at <see cref="SecretAddress"/>.</summary>
    public const int SecretPage = 0x18_0000;

    public const ulong SecretAddress = 0x7F12_3456_7000;

    private const ulong Table = 0x63;
    private const ulong Leaf = 0x67;
    private const ulong Large = 0xE3;

    private readonly byte[] _memory = new byte[Size];
    private int _nextTable = 0x10_0000;

    /// <summary>Where tasks or processes begin.</summary>
    public const int KernelData = 0x2_0000;

    public static byte[] Linux(int levels)
    {
        var guest = new SyntheticGuest();
        const ulong Image = 0xFFFF_FFFF_8000_0000;
        ulong kernel = guest.NewTable();
        guest.Map(kernel, levels, Image, 0, isLarge: true);
        ulong process = guest.NewTable();
        ulong top = guest.U64((int)kernel + (511 * 8));
        guest.Put((int)process + (511 * 8), top);
        guest.Map(process, levels, SecretAddress, SecretPage, isLarge: false);

        // task_struct: "tasks" at 0x400, "mm" and "active_mm" at 0x450, "pid" and "tgid" at 0x4C0, "comm" at 0x700.
        (string Name, uint Pid, ulong Table)[] tasks = [("swapper/0", 0, 0), ("init", 1, process), ("kthreadd", 2, 0), ("evil", 77, process)];
        for (int i = 0; i < tasks.Length; i++)
        {
            int at = KernelData + 0x1800 + (i * 0x1000);
            int next = KernelData + 0x1800 + ((i + 1) % tasks.Length * 0x1000);
            int previous = KernelData + 0x1800 + ((i + tasks.Length - 1) % tasks.Length * 0x1000);
            guest.Put(at + 0x400, Image + (ulong)next + 0x400);
            guest.Put(at + 0x408, Image + (ulong)previous + 0x400);
            guest.Put32(at + 0x4C0, tasks[i].Pid);
            guest.Put32(at + 0x4C4, tasks[i].Pid);
            Encoding.ASCII.GetBytes(tasks[i].Name).CopyTo(guest._memory, at + 0x700);
            if (tasks[i].Table != 0)
            {
                int mm = KernelData + 0x8000 + (i * 0x400);
                guest.Put(at + 0x450, Image + (ulong)mm);
                guest.Put(at + 0x458, Image + (ulong)mm);
                guest.Put(mm + 0x50, Image + tasks[i].Table);
            }
        }

        Encoding.ASCII.GetBytes("Linux version 6.9.9-test (somebody) #1\n").CopyTo(guest._memory, 0x1_0000);
        return guest._memory;
    }

    public static byte[] Windows()
    {
        var guest = new SyntheticGuest();
        const ulong Pool = 0xFFFF_B800_0000_0000;
        ulong system = guest.NewTable();
        guest.Map(system, 4, Pool, 0, isLarge: true);
        guest.Map(system, 4, 0xFFFF_F780_0000_0000, 0x1_0000, isLarge: false);
        guest.Map(system, 4, 0xFFFF_FFFF_FFD0_0000, 0x1_1000, isLarge: false);
        guest.Put((int)system + (0x1ED * 8), system | Table);
        ulong process = guest.NewTable();
        guest._memory.AsSpan((int)system + 2048, 2048).CopyTo(guest._memory.AsSpan((int)process + 2048));
        guest.Put((int)process + (0x1ED * 8), process | Table);
        guest.Map(process, 4, SecretAddress, SecretPage, isLarge: false);

        // KUSER_SHARED_DATA: build, major and minor version.
        guest.Put32(0x1_0000 + 0x260, 19045);
        guest.Put32(0x1_0000 + 0x26C, 10);

        // EPROCESS as of Windows 10: UniqueProcessId at 0x440, ActiveProcessLinks behind it, ImageFileName at 0x5A8.
        (string Name, ulong Pid, ulong Table)[] processes = [("System", 4, system), ("evil.exe", 4711, process)];
        for (int i = 0; i < processes.Length; i++)
        {
            int at = KernelData + (i * 0x1000) + 0x80;
            int other = KernelData + ((1 - i) * 0x1000) + 0x80;
            guest._memory[at] = 3;
            guest.Put(at + 8, Pool + (ulong)at + 8);
            guest.Put(at + 16, Pool + (ulong)at + 8);
            guest.Put(at + 0x28, processes[i].Table | 2);
            guest.Put(at + 0x440, processes[i].Pid);
            guest.Put(at + 0x448, Pool + (ulong)other + 0x448);
            guest.Put(at + 0x450, Pool + (ulong)other + 0x448);
            Encoding.ASCII.GetBytes(processes[i].Name).CopyTo(guest._memory, at + 0x5A8);
        }

        return guest._memory;
    }

    private ulong NewTable()
    {
        int table = _nextTable;
        _nextTable += 0x1000;
        return (ulong)table;
    }

    private void Map(ulong root, int levels, ulong address, ulong physical, bool isLarge)
    {
        ulong table = root;
        int last = isLarge ? 2 : 1;
        for (int level = levels; level > last; level--)
        {
            int entry = (int)table + (Index(address, level) * 8);
            if (U64(entry) == 0)
            {
                Put(entry, NewTable() | Table);
            }

            table = U64(entry) & 0x000F_FFFF_FFFF_F000;
        }

        Put((int)table + (Index(address, last) * 8), physical | (isLarge ? Large : Leaf));
    }

    private static int Index(ulong address, int level) => (int)((address >> (12 + (9 * (level - 1)))) & 511);

    private ulong U64(int at) => BinaryPrimitives.ReadUInt64LittleEndian(_memory.AsSpan(at));

    private void Put(int at, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(_memory.AsSpan(at), value);

    private void Put32(int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_memory.AsSpan(at), value);
}
