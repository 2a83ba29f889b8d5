using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.GuestMemory.Vmware;

/// <summary>
/// A suspend or snapshot state of VMware (<c>.vmss</c>, <c>.vmsn</c>): a header, groups by name, in each group tags up to an empty one. Little-endian.
/// A tag is a byte with the size of its value (62 and 63: a block with a length of its own) and the number of its indices, a byte with the length
/// of its name, the name, the indices of four bytes, the value. As open memory analysers describe it; VMware has not published it.
/// </summary>
internal sealed class VmwareState
{
    public const int PageBytes = 4096;

    private const string Structure = "VMware state";
    private const int HeaderBytes = 12;
    private const int GroupBytes = 80;
    private const int GroupNameBytes = 64;
    private const uint MostGroups = 1024;

    /// <summary>Real groups have some thousand.</summary>
    private const int MostTags = 1 << 20;

    /// <summary>Of 52 bits of physical addresses.</summary>
    private const ulong MostPages = 1UL << 40;

    private const int PackedBlock = 62;
    private const int PlainBlock = 63;

    private readonly Dictionary<uint, long> _filePages = [];
    private readonly Dictionary<uint, long> _memoryPages = [];
    private readonly Dictionary<uint, long> _sizes = [];
    private readonly List<ulong> _pageTables = [];
    private long _regions;

    private VmwareState()
    {
    }

    /// <summary>It has a group of that name, whatever that holds.</summary>
    public bool HasMemoryGroup { get; private set; }

    /// <summary>Where the memory itself lies in this file; null when it lies in another.</summary>
    public (long Location, long Length)? Memory { get; private set; }

    /// <summary>The memory in this file is packed, in a way that nobody has described.</summary>
    public bool IsMemoryPacked { get; private set; }

    public IReadOnlyList<ulong> PageTables => _pageTables;

    /// <summary>Where parts of physical memory lie in the file of memory; empty where the state does not divide it.</summary>
    /// <exception cref="DiskFormatException">A part is not told in full.</exception>
    public IReadOnlyList<(long Address, long Length, long Location)> Regions()
    {
        List<(long, long, long)> regions = [];
        if (_regions > RunMap.MostRuns)
        {
            throw new DiskFormatException(Fault.Limit, Structure, -1, $"{_regions} regions");
        }

        for (uint i = 0; i < _regions; i++)
        {
            if (!_filePages.TryGetValue(i, out long file) || !_memoryPages.TryGetValue(i, out long memory) || !_sizes.TryGetValue(i, out long pages))
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, -1, $"region {i} of {_regions} is not told in full");
            }

            regions.Add((memory * PageBytes, pages * PageBytes, file * PageBytes));
        }

        return regions;
    }

    /// <summary>CPTDUMP magic: 0xbedNbedN, N being the version. Version 0 has 32-bit offsets.</summary>
    public static bool IsMagic(ReadOnlySpan<byte> head) =>
        head.Length >= 4 && head[0] == head[2] && head[1] == 0xBE && head[3] == 0xBE && head[0] is >= 0xD0 and <= 0xD4;

    /// <exception cref="DiskFormatException">The header or a group is faulty.</exception>
    public static VmwareState Read(IBlockSource file, ReadContext context)
    {
        Span<byte> head = stackalloc byte[HeaderBytes];
        file.Read(0, head);
        var header = new LeView(head, Structure, 0);
        header.Require(IsMagic(head), 0, "magic");
        if (head[0] == 0xD0)
        {
            throw header.Unsupported(0, "version 0");
        }

        uint groups = header.U32(8);
        if (groups > MostGroups)
        {
            throw header.TooLarge(8, "number of groups");
        }

        var state = new VmwareState();
        Span<byte> group = stackalloc byte[GroupBytes];
        using var pages = new PageCache(file, context, 64 << 10, 4);
        for (uint i = 0; i < groups; i++)
        {
            long at = HeaderBytes + (i * GroupBytes);
            file.Read(at, group);
            var view = new LeView(group, "VMware state group", at);
            ReadOnlySpan<byte> name = view.Field(0, GroupNameBytes);
            int end = name.IndexOf((byte)0);
            string text = Encoding.ASCII.GetString(end < 0 ? name : name[..end]);
            if (text is "memory" or "cpu")
            {
                state.HasMemoryGroup |= text == "memory";
                try
                {
                    state.Tags(pages, view.NonNegative64(64, "position"), text == "memory", context);
                }
                catch (DiskFormatException e) when (text == "cpu")
                {
                    // The processors' state is a hint only.
                    _ = e;
                }
            }
        }

        return state;
    }

    private void Tags(PageCache file, long at, bool isMemory, ReadContext context)
    {
        Span<byte> fields = stackalloc byte[256 + 16];
        Span<byte> lengths = stackalloc byte[18];
        Span<byte> value = stackalloc byte[8];
        for (int tag = 0; tag < MostTags; tag++)
        {
            context.ThrowIfCancelled();
            file.Read(at, fields[..2]);
            int flags = fields[0];
            int nameBytes = fields[1];
            if (flags == 0 && nameBytes == 0)
            {
                return;
            }

            int indices = flags >> 6;
            int size = flags & 0x3F;
            file.Read(at + 2, fields[..(nameBytes + (4 * indices))]);
            string name = Encoding.ASCII.GetString(fields[..nameBytes]);
            var index = new LeView(fields.Slice(nameBytes, 4 * indices), "VMware state tag", at + 2 + nameBytes);
            uint first = indices > 0 ? index.U32(0) : 0;
            uint second = indices > 1 ? index.U32(4) : 0;
            at += 2 + nameBytes + (4 * indices);
            if (size is PackedBlock or PlainBlock)
            {
                file.Read(at, lengths);
                var block = new LeView(lengths, "VMware state block", at);
                long stored = block.NonNegative64(0, "size");
                long location = at + 18 + block.U16(16);
                if (isMemory && name == "Memory")
                {
                    Memory = (location, stored);
                    IsMemoryPacked = size == PackedBlock;
                }

                // A state that is cut off within its memory still has the memory before the cut.
                if (stored > file.Length - location)
                {
                    if (isMemory && name == "Memory")
                    {
                        return;
                    }

                    throw block.Corrupt(0, "size");
                }

                at = location + stored;
                continue;
            }

            value.Clear();
            file.Read(at, value[..Math.Min(size, 8)]);
            at += size;
            ulong number = new LeView(value, "VMware state tag", at).U64(0);
            if (isMemory)
            {
                Region(name, first, number, at);
            }
            else if (name == "CR64" && second == 3 && size == 8 && number != 0 && _pageTables.Count < 1024)
            {
                _pageTables.Add(number);
            }
        }

        throw new DiskFormatException(Fault.Limit, Structure, at, $"more than {MostTags} tags in a group");
    }

    private void Region(string name, uint index, ulong value, long at)
    {
        Dictionary<uint, long>? numbers = name switch { "regionPageNum" => _filePages, "regionPPN" => _memoryPages, "regionSize" => _sizes, _ => null };
        if (numbers is null && name != "regionsCount")
        {
            return;
        }

        if (value > MostPages || numbers?.Count >= RunMap.MostRuns)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, at, $"bad {name}");
        }

        if (numbers is null)
        {
            _regions = (long)value;
        }
        else
        {
            numbers[index] = (long)value;
        }
    }
}
