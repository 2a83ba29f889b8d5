using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.GuestMemory.Paging;

namespace Vmsweep.DiskReaders.GuestMemory.Systems;

/// <summary>
/// Finds the tasks of a Linux kernel on x86-64. <c>init_task</c> is known by its <c>comm</c>, "swapper/0"; page tables are those through which the kernel's
/// image maps it. Where the fields of <c>task_struct</c> lie differs with version and configuration, so their places are taken from what must hold
/// for the first three tasks: 0 swapper, 1 init, 2 kthreadd.
/// </summary>
internal sealed class LinuxTasks(GuestMemoryImage memory, PhysicalReader reader, MemorySurvey survey, ReadContext context)
{
    // Documentation/arch/x86/x86_64/mm.rst: the kernel's image in the last 2 GiB, entry 510 of the last table of the third level.
    private const ulong ImageBase = 0xFFFF_FFFF_8000_0000;
    private const int ImageEntry = 510;
    private const int LastEntry = 511;

    private const int CommBytes = 16;
    private const int MostBeforeComm = 0x1800;
    private const int MostBehindTasks = 0x200;
    private const int MostMm = 0x400;

    private const int PageBytes = PhysicalReader.PageBytes;

    private readonly Dictionary<(ulong Table, int Levels), Dictionary<ulong, ulong>> _images = [];

    public GuestSystem? Find()
    {
        foreach (int levels in (ReadOnlySpan<int>)[4, 5])
        {
            foreach (ulong root in survey.Roots)
            {
                foreach (ulong name in survey.SwapperNames)
                {
                    context.ThrowIfCancelled();
                    if (AddressInImage(root, levels, name) is { } comm && Of(new VirtualSpace(reader, root, levels), comm) is { } system)
                    {
                        return system;
                    }
                }
            }
        }

        return null;
    }

    /// <summary>The address at which a kernel's image has a byte; null where these tables are not such a kernel's.</summary>
    private ulong? AddressInImage(ulong root, int levels, ulong physical)
    {
        if (!TryEntry(root, LastEntry, out ulong table) || (levels == 5 && !TryEntry(table, LastEntry, out table)))
        {
            return null;
        }

        // Every process has the same upper half, so the table below is met once.
        if (!_images.TryGetValue((table, levels), out Dictionary<ulong, ulong>? image))
        {
            _images.Add((table, levels), image = TryEntry(table, ImageEntry, out ulong directory) ? Image(directory) : []);
        }

        return image.TryGetValue(physical / PageBytes, out ulong page) ? page + (physical % PageBytes) : null;
    }

    /// <summary>Where the pages with names of a first task are mapped by a page directory.</summary>
    private Dictionary<ulong, ulong> Image(ulong directory)
    {
        HashSet<ulong> wanted = [.. survey.SwapperNames.Select(n => n / PageBytes)];
        Dictionary<ulong, ulong> found = [];
        byte[] entries = new byte[PageBytes];
        byte[] pages = new byte[PageBytes];
        if (!reader.TryRead(directory, entries))
        {
            return found;
        }

        for (int i = 0; i < VirtualSpace.EntriesOfTable; i++)
        {
            ulong entry = BinaryPrimitives.ReadUInt64LittleEndian(entries.AsSpan(i * 8));
            ulong address = ImageBase + ((ulong)i << VirtualSpace.Shift(2));
            if ((entry & VirtualSpace.Present) == 0)
            {
                continue;
            }

            if ((entry & VirtualSpace.IsLarge) != 0)
            {
                ulong start = (entry & VirtualSpace.AddressMask & ~(VirtualSpace.LeafBytes(2) - 1)) / PageBytes;
                foreach (ulong page in wanted.Where(p => p >= start && p < start + VirtualSpace.EntriesOfTable))
                {
                    found.TryAdd(page, address + ((page - start) * PageBytes));
                }

                continue;
            }

            if (!reader.TryRead(entry & VirtualSpace.AddressMask, pages))
            {
                continue;
            }

            for (int j = 0; j < VirtualSpace.EntriesOfTable; j++)
            {
                ulong leaf = BinaryPrimitives.ReadUInt64LittleEndian(pages.AsSpan(j * 8));
                if ((leaf & VirtualSpace.Present) != 0 && wanted.Contains((leaf & VirtualSpace.AddressMask) / PageBytes))
                {
                    found.TryAdd((leaf & VirtualSpace.AddressMask) / PageBytes, address + ((ulong)j * PageBytes));
                }
            }
        }

        return found;
    }

    private GuestSystem? Of(VirtualSpace kernel, ulong comm)
    {
        // The list head "tasks" stands before "comm"; it is the one whose entries have names at the same distance.
        byte[] before = new byte[MostBeforeComm];
        if (!kernel.TryRead(comm - MostBeforeComm, before))
        {
            return null;
        }

        for (int distance = 16; distance <= MostBeforeComm; distance += 8)
        {
            ulong next = BinaryPrimitives.ReadUInt64LittleEndian(before.AsSpan(MostBeforeComm - distance));
            ulong previous = BinaryPrimitives.ReadUInt64LittleEndian(before.AsSpan(MostBeforeComm - distance + 8));
            ulong self = comm - (ulong)distance;
            if (!VirtualSpace.IsKernel(next) || !VirtualSpace.IsKernel(previous) || next == self
                || !kernel.TryRead64(next + 8, out ulong back) || back != self
                || !kernel.TryRead64(previous, out ulong forth) || forth != self
                || Comm(kernel, next + (ulong)distance) is not { Length: > 0 })
            {
                continue;
            }

            List<ulong> tasks = List(kernel, self);
            if (tasks.Count >= 3 && Comm(kernel, tasks[2] + (ulong)distance) == "kthreadd" && Fields(kernel, tasks, distance) is { } processes)
            {
                return new GuestSystem(memory, context, "linux", survey.LinuxBanner, kernel, new GuestProcess("kernel", 0), processes);
            }
        }

        return null;
    }

    /// <summary>The list heads of all tasks, init_task's first.</summary>
    private static List<ulong> List(VirtualSpace kernel, ulong first)
    {
        List<ulong> tasks = [first];
        ulong at = first;
        while (tasks.Count < GuestSystem.MostProcesses && kernel.TryRead64(at, out ulong next) && next != first && VirtualSpace.IsKernel(next)
            && kernel.TryRead64(next + 8, out ulong back) && back == at)
        {
            tasks.Add(at = next);
        }

        return tasks;
    }

    private List<(GuestProcess Process, ulong Root)>? Fields(VirtualSpace kernel, List<ulong> tasks, int distance)
    {
        // "mm" and "active_mm" follow "tasks": equal for init, and kernel threads have no mm.
        byte[][] firsts = [new byte[distance], new byte[distance], new byte[distance]];
        for (int i = 0; i < 3; i++)
        {
            if (!kernel.TryRead(tasks[i], firsts[i]))
            {
                return null;
            }
        }

        int mm = -1, pgd = -1;
        for (int at = 16; mm < 0 && at < Math.Min(MostBehindTasks, distance - 16); at += 8)
        {
            ulong ofInit = U64(firsts[1], at);
            if (VirtualSpace.IsKernel(ofInit) && ofInit == U64(firsts[1], at + 8) && U64(firsts[0], at) == 0 && U64(firsts[2], at) == 0 && Pgd(kernel, ofInit) is { } place)
            {
                (mm, pgd) = (at, place);
            }
        }

        // "pid" and "tgid" stand together and are equal for the first thread of a process.
        int pid = -1;
        for (int at = 16; pid < 0 && at < distance - 8; at += 4)
        {
            bool isPid = true;
            for (int i = 0; i < 3; i++)
            {
                isPid &= U32(firsts[i], at) == i && U32(firsts[i], at + 4) == i;
            }

            pid = isPid ? at : -1;
        }

        if (mm < 0 || pid < 0)
        {
            return null;
        }

        List<(GuestProcess Process, ulong Root)> processes = [];
        Span<byte> id = stackalloc byte[4];
        foreach (ulong task in tasks)
        {
            if (kernel.TryRead64(task + (ulong)mm, out ulong own) && VirtualSpace.IsKernel(own)
                && kernel.TryRead64(own + (ulong)pgd, out ulong table) && kernel.TryTranslate(table, out ulong root)
                && kernel.TryRead(task + (ulong)pid, id) && Comm(kernel, task + (ulong)distance) is { } name)
            {
                processes.Add((new GuestProcess(name, BinaryPrimitives.ReadUInt32LittleEndian(id)), root & ~(ulong)(PageBytes - 1)));
            }
        }

        return [.. processes.OrderBy(p => p.Process.Pid)];
    }

    /// <summary>Where in an mm_struct the pointer to its page tables is: they share the kernel's upper half.</summary>
    private int? Pgd(VirtualSpace kernel, ulong mm)
    {
        if (!TryEntry(kernel.Root, LastEntry, out ulong upper))
        {
            return null;
        }

        for (int at = 0; at < MostMm; at += 8)
        {
            if (kernel.TryRead64(mm + (ulong)at, out ulong pointer) && VirtualSpace.IsKernel(pointer) && pointer % PageBytes == 0
                && kernel.TryTranslate(pointer, out ulong table) && TryEntry(table, LastEntry, out ulong same) && same == upper)
            {
                return at;
            }
        }

        return null;
    }

    private bool TryEntry(ulong table, int index, out ulong below)
    {
        bool isThere = reader.TryRead64(table + ((ulong)index * 8), out ulong entry) && (entry & (VirtualSpace.Present | VirtualSpace.IsLarge)) == VirtualSpace.Present;
        below = entry & VirtualSpace.AddressMask;
        return isThere;
    }

    /// <summary>A task's name; null where none can stand there.</summary>
    private static string? Comm(VirtualSpace kernel, ulong address)
    {
        Span<byte> bytes = stackalloc byte[CommBytes];
        if (!kernel.TryRead(address, bytes))
        {
            return null;
        }

        int end = bytes.IndexOf((byte)0);
        return end < 0 || bytes[..end].ContainsAnyInRange((byte)0, (byte)0x1F) ? null : Encoding.UTF8.GetString(bytes[..end]);
    }

    private static ulong U64(byte[] bytes, int at) => BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(at));

    private static uint U32(byte[] bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at));
}
