using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.GuestMemory.Paging;

namespace Vmsweep.DiskReaders.GuestMemory.Systems;

/// <summary>One pass over all of physical memory that notes where a kernel's structures may lie. All of it is what the guest wrote, and so a guess.</summary>
internal sealed class MemorySurvey
{
    private const int PartBytes = 1 << 20;
    private const int MostNotes = 4096;
    private const int MostBannerBytes = 256;
    private const int PageBytes = PhysicalReader.PageBytes;

    private MemorySurvey()
    {
    }

    /// <summary>Where the name of Linux' first task may stand.</summary>
    public List<ulong> SwapperNames { get; } = [];

    /// <summary>Pages that may be the top of a set of page tables.</summary>
    public List<ulong> Roots { get; } = [];

    /// <summary>Pages that may be so, and map themselves, as Windows has them.</summary>
    public List<ulong> SelfMappedRoots { get; } = [];

    /// <summary>What a Linux kernel says of itself first.</summary>
    public string LinuxBanner { get; private set; } = "";

    public static MemorySurvey Make(GuestMemoryImage memory, ReadContext context)
    {
        var survey = new MemorySurvey();
        long end = memory.Runs.Count > 0 ? memory.Runs[^1].End : 0;
        foreach (ulong table in memory.PageTables)
        {
            // Bit 12 tells the tables of user mode from those of the kernel where the two are apart.
            Note(survey.Roots, table & VirtualSpace.AddressMask & ~0x1000UL);
            Note(survey.Roots, table & VirtualSpace.AddressMask);
        }

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
                    survey.Look(part, (ulong)at, (ulong)end);
                    at += part.Length;
                }
                catch (DiskFormatException)
                {
                    // Matching reports it.
                    at += PageBytes - (at % PageBytes);
                }
            }
        }

        return survey;
    }

    private void Look(ReadOnlySpan<byte> part, ulong address, ulong end)
    {
        for (int at = part.IndexOf("swapper"u8); at >= 0;)
        {
            ReadOnlySpan<byte> name = part[at..];
            if (name.Length >= 16 && (name.StartsWith("swapper/0\0\0\0\0\0\0\0"u8) || name.StartsWith("swapper\0\0\0\0\0\0\0\0\0"u8)))
            {
                Note(SwapperNames, address + (ulong)at);
            }

            int next = part[(at + 1)..].IndexOf("swapper"u8);
            at = next < 0 ? -1 : at + 1 + next;
        }

        if (LinuxBanner.Length == 0)
        {
            Banner(part);
        }

        for (int at = (int)((PageBytes - (address % PageBytes)) % PageBytes); at + PageBytes <= part.Length; at += PageBytes)
        {
            ReadOnlySpan<byte> page = part.Slice(at, PageBytes);
            if ((page[PageBytes - 8] & 0x81) == 1 && IsRoot(page, end))
            {
                ulong self = address + (ulong)at;
                Note(Roots, self);
                for (int i = VirtualSpace.EntriesOfTable / 2; i < VirtualSpace.EntriesOfTable; i++)
                {
                    if ((Entry(page, i) & VirtualSpace.AddressMask) == self && (Entry(page, i) & VirtualSpace.Present) != 0)
                    {
                        Note(SelfMappedRoots, self);
                        break;
                    }
                }
            }
        }
    }

    private void Banner(ReadOnlySpan<byte> part)
    {
        ReadOnlySpan<byte> start = "Linux version "u8;
        for (int at = part.IndexOf(start); at >= 0;)
        {
            ReadOnlySpan<byte> text = part[at..][..Math.Min(MostBannerBytes, part.Length - at)];
            int end = text.IndexOfAnyExceptInRange((byte)' ', (byte)'~');
            if (end > start.Length && char.IsAsciiDigit((char)text[start.Length]))
            {
                LinuxBanner = Encoding.ASCII.GetString(text[..end]);
                return;
            }

            int next = part[(at + 1)..].IndexOf(start);
            at = next < 0 ? -1 : at + 1 + next;
        }
    }

    /// <summary>In the top table each entry is empty or leads to a table.</summary>
    private static bool IsRoot(ReadOnlySpan<byte> page, ulong end)
    {
        for (int i = VirtualSpace.EntriesOfTable - 1; i >= 0; i--)
        {
            ulong entry = Entry(page, i);
            if (entry != 0 && ((entry & (VirtualSpace.Present | VirtualSpace.IsLarge)) != VirtualSpace.Present || (entry & VirtualSpace.AddressMask) >= end))
            {
                return false;
            }
        }

        return true;
    }

    private static ulong Entry(ReadOnlySpan<byte> page, int i) => BinaryPrimitives.ReadUInt64LittleEndian(page[(i * 8)..]);

    private static void Note(List<ulong> list, ulong address)
    {
        if (list.Count < MostNotes)
        {
            list.Add(address);
        }
    }
}
