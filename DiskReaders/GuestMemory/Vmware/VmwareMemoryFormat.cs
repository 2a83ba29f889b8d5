using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.GuestMemory.Vmware;

/// <summary>
/// VMware's memory of a suspended VM or a snapshot: a state file that holds it, or one that says how the <c>.vmem</c> beside it divides, or a
/// <c>.vmem</c> alone.
/// </summary>
internal sealed class VmwareMemoryFormat : IMemoryFormat
{
    public const string MemoryExtension = ".vmem";

    private const string Structure = "VMware memory";

    /// <summary>Where PC hardware leaves out addresses: what lies beyond is elsewhere in a guest's memory, and a file alone does not say where.</summary>
    private const long FlatBytes = 3L << 30;

    public FormatSupport Support => new(
        "VMware suspend state and snapshot",
        ".vmss or .vmsn with the memory inside or in the .vmem beside it; .vmem alone",
        "packed and encrypted states; the state of a snapshot that was taken without memory holds none");

    public bool Probe(IReadOnlyList<MemoryFile> files)
    {
        Span<byte> head = stackalloc byte[4];
        return (files[0].Bytes.TryRead(0, head) && VmwareState.IsMagic(head)) || IsMemoryName(files[0].Name);
    }

    /// <param name="files">The state with the file of memory, or either alone.</param>
    public GuestMemoryImage Open(IReadOnlyList<MemoryFile> files, ReadContext context)
    {
        Span<byte> head = stackalloc byte[4];
        if (IsMemoryName(files[0].Name) && !(files[0].Bytes.TryRead(0, head) && VmwareState.IsMagic(head)))
        {
            return Flat(files[0].Bytes, [], "vmem");
        }

        var state = VmwareState.Read(files[0].Bytes, context);
        if (state.Memory is { } inside)
        {
            if (state.IsMemoryPacked)
            {
                throw new DiskFormatException(Fault.Unsupported, Structure, inside.Location, "the memory in the state is packed");
            }

            if (inside.Location > files[0].Bytes.Length)
            {
                throw new DiskFormatException(Fault.Truncated, Structure, inside.Location, "the state ends before its memory");
            }

            return Divided(new SliceSource(files[0].Bytes, inside.Location, Math.Min(inside.Length, files[0].Bytes.Length - inside.Location), Structure), inside.Length, state, "vmss", context);
        }

        if (files.Count > 1)
        {
            return Divided(files[1].Bytes, files[1].Bytes.Length, state, "vmem", context);
        }

        throw new DiskFormatException(Fault.MissingParent, Structure, -1, "neither in the state nor in a .vmem beside it is there memory");
    }

    public static bool IsMemoryName(string name) => name.EndsWith(MemoryExtension, StringComparison.OrdinalIgnoreCase);

    private static GuestMemoryImage Divided(IBlockSource memory, long declared, VmwareState state, string variant, ReadContext context)
    {
        IReadOnlyList<(long Address, long Length, long Location)> regions = state.Regions();
        if (regions.Count == 0)
        {
            if (declared > memory.Length)
            {
                context.Gaps.Add(new CoverageGap(Fault.Truncated, "", Structure, memory.Length, declared - memory.Length, "the state ends within its memory"));
            }

            return Flat(memory, state.PageTables, variant);
        }

        RunMap map = RunMap.Of(regions, memory.Length, Structure, context.Gaps);
        if (map.Length == 0)
        {
            throw new DiskFormatException(Fault.Truncated, Structure, -1, "no memory of the regions is there");
        }

        // What no region has is read all the same: nothing of the file is left out.
        List<MemoryArea> rest = [];
        long end = 0;
        foreach ((long _, long length, long location) in regions.OrderBy(r => r.Location).Append((0, 0, memory.Length)))
        {
            if (location > end && end < memory.Length)
            {
                rest.Add(new MemoryArea("outside-regions", new SliceSource(memory, end, Math.Min(location, memory.Length) - end)));
            }

            end = Math.Max(end, location + length);
        }

        return new GuestMemoryImage
        {
            Format = "vmware/" + variant,
            Physical = new MappedSource(map, [memory]),
            Runs = map.Runs,
            Areas = rest,
            PageTables = state.PageTables,
        };
    }

    private static GuestMemoryImage Flat(IBlockSource memory, IReadOnlyList<ulong> tables, string variant)
    {
        if (memory.Length == 0)
        {
            throw new DiskFormatException(Fault.Truncated, Structure, 0, "the file is empty");
        }

        return new GuestMemoryImage
        {
            Format = "vmware/" + variant,
            Physical = new SliceSource(memory, 0, memory.Length),
            Runs = [new MemoryRun(0, memory.Length)],
            PageTables = tables,
            Notes = memory.Length > FlatBytes ? ["no state says how the memory divides: addresses from 3 GiB on are offsets in the file"] : [],
        };
    }
}
