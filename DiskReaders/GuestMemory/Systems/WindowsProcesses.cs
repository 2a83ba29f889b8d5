using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.GuestMemory.Paging;

namespace Vmsweep.DiskReaders.GuestMemory.Systems;

/// <summary>
/// Finds the processes of 64-bit Windows. Its page tables map themselves, which is how they are known; an EPROCESS is known by its
/// DirectoryTableBase being one of them, behind a dispatcher header of a process. Places of other fields are taken from the process "System",
/// whose id is 4.
/// </summary>
internal sealed class WindowsProcesses(GuestMemoryImage memory, PhysicalReader reader, MemorySurvey survey, ReadContext context)
{
    private const int PartBytes = 1 << 20;
    private const int PageBytes = PhysicalReader.PageBytes;

    // KPROCESS: DISPATCHER_HEADER of 0x18 bytes with its type first, ProfileListHead, DirectoryTableBase. The same from Windows XP x64 on.
    private const int TableBaseAt = 0x28;
    private const byte ProcessType = 3;

    private const int MostProcessBytes = 0xC00;
    private const int NameBytes = 15;

    // KUSER_SHARED_DATA, at the same address in every Windows.
    private const ulong SharedData = 0xFFFF_F780_0000_0000;
    private const ulong BuildAt = 0x260;
    private const ulong MajorAt = 0x26C;

    public GuestSystem? Find()
    {
        if (survey.SelfMappedRoots.Count == 0)
        {
            return null;
        }

        List<(ulong Process, ulong Root)> found = Candidates();
        foreach ((ulong process, ulong root) in found)
        {
            var kernel = new VirtualSpace(reader, root, 4);
            if (System(kernel, process) is not { } fields)
            {
                continue;
            }

            List<(GuestProcess Process, ulong Root)> processes = [];
            foreach ((ulong other, ulong table) in found)
            {
                if (Name(other + (ulong)fields.Name) is { Length: > 0 } name && reader.TryRead64(other + (ulong)fields.Pid, out ulong pid) && pid is > 0 and < uint.MaxValue)
                {
                    processes.Add((new GuestProcess(name, (long)pid), table));
                }
            }

            return new GuestSystem(memory, context, "windows", Version(kernel), kernel, new GuestProcess("System", 4), [.. processes.DistinctBy(p => (p.Process, p.Root)).OrderBy(p => p.Process.Pid)]);
        }

        return null;
    }

    /// <summary>Every place that may be a process: its DirectoryTableBase is a page that maps itself.</summary>
    private List<(ulong Process, ulong Root)> Candidates()
    {
        HashSet<ulong> roots = [.. survey.SelfMappedRoots];
        ulong least = survey.SelfMappedRoots.Min();
        ulong most = survey.SelfMappedRoots.Max() + PageBytes;
        List<(ulong Process, ulong Root)> found = [];
        using RentedBuffer buffer = context.Budget.Rent(PartBytes);
        foreach (MemoryRun run in memory.Runs)
        {
            for (long at = run.Address; at < run.End;)
            {
                context.ThrowIfCancelled();
                long hole = memory.Physical.HoleLength(at, run.End - at);
                if (hole > 0)
                {
                    at += hole;
                    continue;
                }

                Span<byte> part = buffer.Span[..(int)Math.Min(PartBytes - (at % PageBytes), run.End - at)];
                try
                {
                    memory.Physical.Read(at, part);
                }
                catch (DiskFormatException)
                {
                    at += PageBytes - (at % PageBytes);
                    continue;
                }

                // A process is aligned to 16 bytes and its first fields lie within a page.
                for (int i = (16 - (int)(at % 16)) % 16; i + TableBaseAt + 8 <= part.Length; i += 16)
                {
                    ulong value = U64(part, i + TableBaseAt);
                    if (value >= least && value < most && part[i] == ProcessType && roots.Contains(value & VirtualSpace.AddressMask)
                        && VirtualSpace.IsKernel(U64(part, i + 8)) && VirtualSpace.IsKernel(U64(part, i + 16)) && found.Count < GuestSystem.MostProcesses)
                    {
                        found.Add(((ulong)at + (ulong)i, value & VirtualSpace.AddressMask));
                    }
                }

                at += part.Length;
            }
        }

        return found;
    }

    /// <summary>Where the fields lie, if this is the process "System".</summary>
    private (int Pid, int Name)? System(VirtualSpace kernel, ulong process)
    {
        byte[] bytes = new byte[MostProcessBytes];
        for (int at = 0; at < bytes.Length;)
        {
            int count = (int)Math.Min(bytes.Length - at, PageBytes - (long)((process + (ulong)at) % PageBytes));
            if (!reader.TryRead(process + (ulong)at, bytes.AsSpan(at, count)))
            {
                return null;
            }

            at += count;
        }

        int name = bytes.AsSpan().IndexOf("System\0\0\0\0\0\0\0\0\0"u8);
        if (name < 0)
        {
            return null;
        }

        // UniqueProcessId, then ActiveProcessLinks: the next process' link leads back to this one.
        for (int at = TableBaseAt + 8; at + 24 <= bytes.Length; at += 8)
        {
            ulong next = U64(bytes, at + 8);
            if (U64(bytes, at) == 4 && VirtualSpace.IsKernel(next) && VirtualSpace.IsKernel(U64(bytes, at + 16))
                && kernel.TryRead64(next + 8, out ulong back) && kernel.TryTranslate(back, out ulong physical) && physical == process + (ulong)at + 8)
            {
                return (at, name);
            }
        }

        return null;
    }

    private string? Name(ulong address)
    {
        Span<byte> bytes = stackalloc byte[NameBytes];
        int first = (int)Math.Min(NameBytes, PageBytes - (long)(address % PageBytes));
        if (!reader.TryRead(address, bytes[..first]) || (first < NameBytes && !reader.TryRead(address + (ulong)first, bytes[first..])))
        {
            return null;
        }

        int end = bytes.IndexOf((byte)0);
        bytes = end < 0 ? bytes : bytes[..end];
        return bytes.ContainsAnyExceptInRange((byte)' ', (byte)'~') ? null : Encoding.ASCII.GetString(bytes);
    }

    private static string Version(VirtualSpace kernel)
    {
        Span<byte> numbers = stackalloc byte[8];
        Span<byte> build = stackalloc byte[4];
        if (!kernel.TryRead(SharedData + MajorAt, numbers) || !kernel.TryRead(SharedData + BuildAt, build))
        {
            return "";
        }

        uint major = BinaryPrimitives.ReadUInt32LittleEndian(numbers);
        uint minor = BinaryPrimitives.ReadUInt32LittleEndian(numbers[4..]);
        uint number = BinaryPrimitives.ReadUInt32LittleEndian(build) & 0xFFFF;
        return major is >= 5 and < 100 && minor < 100 ? string.Create(CultureInfo.InvariantCulture, $"Windows NT {major}.{minor}{(number > 0 ? $".{number}" : "")}") : "";
    }

    private static ulong U64(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt64LittleEndian(bytes[at..]);
}
