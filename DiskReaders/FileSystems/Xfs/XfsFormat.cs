using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Xfs.Log;

namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary>XFS, versions 4 and 5. Specification: "XFS Algorithms &amp; Data Structures" (xfs-documentation).</summary>
public sealed class XfsFormat : IFileSystemFormat
{
    public string Name => "xfs";

    public FormatSupport Support { get; } = new(
        "XFS",
        "versions 4 and 5, all folder and fork forms, reflink, bigtime, large extent counts; log replayed in memory",
        "realtime files, an external log, unfinished intents");

    public bool Probe(IBlockSource volume)
    {
        ArgumentNullException.ThrowIfNull(volume);
        return volume.HasAt(0, "XFSB"u8);
    }

    public bool ProbeCopy(IBlockSource volume)
    {
        ArgumentNullException.ThrowIfNull(volume);
        return FindCopy(volume, null, out _) is not null;
    }

    public IFileSystem Open(IBlockSource volume, ReadContext context)
    {
        ArgumentNullException.ThrowIfNull(volume);
        ArgumentNullException.ThrowIfNull(context);
        XfsSuperblock super = ReadSuper(volume, context);
        if (super.UnknownIncompat() is { Length: > 0 } unknown)
        {
            throw new DiskFormatException(Fault.Unsupported, "xfs_dsb", 216, unknown);
        }

        if (super.SizeBytes > volume.Length)
        {
            context.Gaps.Add(new CoverageGap(Fault.Truncated, "", "xfs_dsb", volume.Length, super.SizeBytes - volume.Length, "the volume is shorter than the file system"));
        }

        if (super.Incompat.HasFlag(XfsIncompat.NeedsRepair))
        {
            context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", "xfs_dsb", 216, 0, "the file system says that it needs repair"));
        }

        List<string> notes = [];
        LogPatches? patches = XfsLog.Replay(super, volume, context, notes);
        try
        {
            if (patches is not null && Recovered(patches) is { } recovered && recovered.BlockShift == super.BlockShift && recovered.GroupBlocks == super.GroupBlocks)
            {
                super = recovered;
            }

            var opened = new XfsVolume(super, volume, context, patches);
            patches = null;
            try
            {
                _ = opened.Chunks;
                return new XfsFileSystem(opened, notes);
            }
            catch
            {
                opened.Dispose();
                throw;
            }
        }
        finally
        {
            patches?.Dispose();
        }
    }

    private static XfsSuperblock ReadSuper(IBlockSource volume, ReadContext context)
    {
        XfsSuperblock? super = TryRead(volume.Read, volume.Length, 0, out DiskFormatException? fault);
        if (super is { ChecksumGood: true })
        {
            return super;
        }

        fault ??= new DiskFormatException(Fault.Corrupt, "xfs_dsb", XfsSuperblock.ChecksumField, "bad sb_crc");
        if (super is null && fault.Fault == Fault.Unsupported)
        {
            throw fault;
        }

        XfsSuperblock? copy = FindCopy(volume, super, out long offset);
        context.Gaps.Add(copy is null
            ? new CoverageGap(fault, "", 0)
            : new CoverageGap(fault, "", XfsSuperblock.Size) { Detail = $"{fault.Detail}; the copy at {offset} was used" });
        return copy ?? super ?? throw fault;
    }

    private static XfsSuperblock? Recovered(LogPatches patches) => TryRead(patches.Read, long.MaxValue, 0, out _);

    // Each group begins with a copy. Where the first is lost, groups lie where mkfs puts them: a power of two of them, or as large as can be.
    private static XfsSuperblock? FindCopy(IBlockSource volume, XfsSuperblock? primary, out long offset)
    {
        const int LeastShift = 9, MostShift = 16, MostDivisions = 8;
        if (primary is not null)
        {
            for (uint group = 1; group < Math.Min(primary.GroupCount, 8); group++)
            {
                offset = primary.GroupOffset(group);
                if (Copy(volume, offset) is { } copy)
                {
                    return copy;
                }
            }
        }

        for (int shift = LeastShift; shift <= MostShift; shift++)
        {
            long blocks = volume.Length >> shift;
            for (int division = 1; division <= MostDivisions; division++)
            {
                long group = (blocks + (1L << division) - 1) >> division;
                offset = group << shift;
                if (offset > 0 && Copy(volume, offset) is { } copy && copy.BlockShift == shift)
                {
                    return copy;
                }
            }

            offset = ((1L << 40) - 1) >> shift << shift;
            if (Copy(volume, offset) is { } large && large.BlockShift == shift)
            {
                return large;
            }
        }

        offset = -1;
        return null;
    }

    private static XfsSuperblock? Copy(IBlockSource volume, long offset)
    {
        if (!volume.HasAt(offset, "XFSB"u8))
        {
            return null;
        }

        XfsSuperblock? super = TryRead(volume.Read, volume.Length, offset, out _);
        return super is { ChecksumGood: true } && offset % super.GroupOffset(1) == 0 && offset / super.GroupOffset(1) < super.GroupCount ? super : null;
    }

    private delegate void Reader(long offset, Span<byte> destination);

    private static XfsSuperblock? TryRead(Reader read, long length, long offset, out DiskFormatException? fault)
    {
        fault = null;
        byte[] bytes = new byte[XfsSuperblock.LargestSector];
        try
        {
            read(offset, bytes.AsSpan(0, 512));
            int sector = 1 << Math.Clamp((int)bytes[121], 9, 15);
            sector = (int)Math.Min(sector, length - offset);
            read(offset, bytes.AsSpan(0, sector));
            return new XfsSuperblock(new BeView(bytes.AsSpan(0, sector), "xfs_dsb", offset));
        }
        catch (DiskFormatException e)
        {
            fault = e;
            return null;
        }
    }
}
