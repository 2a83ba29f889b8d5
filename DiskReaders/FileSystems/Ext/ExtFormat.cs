using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>ext2, ext3 and ext4. Specification: Linux kernel documentation, "ext4 Data Structures and Algorithms".</summary>
public sealed class ExtFormat : IFileSystemFormat
{
    // Where other formats keep their own magic: a volume that says it is one of them is not taken for an older ext by a copy left inside it.
    private static readonly (int Offset, byte[] Bytes)[] Others =
    [
        (0, "XFSB"u8.ToArray()), (0, "LUKS"u8.ToArray()), (3, "NTFS"u8.ToArray()), (3, "-FVE-FS-"u8.ToArray()), (510, [0x55, 0xAA]), (512, "LABELONE"u8.ToArray()),
        (1024, "H+"u8.ToArray()), (1024, "HX"u8.ToArray()), (4086, "SWAPSPACE2"u8.ToArray()), (32769, "CD001"u8.ToArray()), (65600, "_BHRfS_M"u8.ToArray()),
    ];

    public string Name => "ext";

    public FormatSupport Support { get; } = new(
        "ext2, ext3, ext4",
        "journal and fast commits replayed in memory, extents and block maps, inline data, metadata checksums",
        "fscrypt encrypted files, an external journal");

    public bool Probe(IBlockSource volume)
    {
        ArgumentNullException.ThrowIfNull(volume);
        return TryReadSuper(volume, ExtSuperblock.PrimaryOffset, -1, out _) is not null;
    }

    public bool ProbeCopy(IBlockSource volume)
    {
        ArgumentNullException.ThrowIfNull(volume);
        try
        {
            return !IsAnother(volume) && FindBackup(volume, out _) is not null;
        }
        catch (DiskFormatException)
        {
            return false;
        }
    }

    public IFileSystem Open(IBlockSource volume, ReadContext context)
    {
        ArgumentNullException.ThrowIfNull(volume);
        ArgumentNullException.ThrowIfNull(context);
        ExtSuperblock super = ReadSuper(volume, context, out bool fromBackup);
        if (super.Incompat.HasFlag(ExtIncompat.JournalDev))
        {
            throw new DiskFormatException(Fault.Unsupported, "ext4_super_block", ExtSuperblock.PrimaryOffset, $"an external journal of another file system (UUID {super.UuidText})");
        }

        if (super.UnknownIncompat() is { Length: > 0 } unknown)
        {
            throw new DiskFormatException(Fault.Unsupported, "ext4_super_block", ExtSuperblock.PrimaryOffset + 0x60, unknown);
        }

        if (super.SizeBytes > volume.Length)
        {
            context.Gaps.Add(new CoverageGap(Fault.Truncated, "", "ext4_super_block", volume.Length, super.SizeBytes - volume.Length, "the volume is shorter than the file system"));
        }

        List<string> notes = [];
        IBlockSource source = volume;
        FastCommits? changes = null;
        if (super.Incompat.HasFlag(ExtIncompat.Recover) || (fromBackup && super.Compat.HasFlag(ExtCompat.HasJournal)))
        {
            (source, changes) = Journal.Replay(super, volume, context, notes);
            if (source != volume && !fromBackup && TryReadSuper(source, ExtSuperblock.PrimaryOffset, -1, out _) is { } recovered && recovered.BlockShift == super.BlockShift)
            {
                super = recovered;
            }
        }

        var opened = new ExtVolume(super, source, context, changes);
        try
        {
            _ = opened.Groups;
            return new ExtFileSystem(opened, notes);
        }
        catch
        {
            opened.Dispose();
            throw;
        }
    }

    private static ExtSuperblock ReadSuper(IBlockSource volume, ReadContext context, out bool fromBackup)
    {
        fromBackup = false;
        ExtSuperblock? super = TryReadSuper(volume, ExtSuperblock.PrimaryOffset, -1, out DiskFormatException? fault);
        if (super is { ChecksumGood: true })
        {
            return super;
        }

        fault ??= new DiskFormatException(Fault.Corrupt, "ext4_super_block", ExtSuperblock.PrimaryOffset + 0x3FC, "bad s_checksum");
        ExtSuperblock? backup = FindBackup(volume, out long offset);
        if (backup is { ChecksumGood: true } || super is null)
        {
            fromBackup = backup is not null;
            super = backup ?? throw fault;
            context.Gaps.Add(new CoverageGap(fault, "", ExtSuperblock.Size) { Detail = $"{fault.Detail}; the copy at {offset} was used" });
        }
        else
        {
            context.Gaps.Add(new CoverageGap(fault, "", 0));
        }

        return super;
    }

    private static bool IsAnother(IBlockSource volume)
    {
        Span<byte> bytes = stackalloc byte[16];
        foreach ((int offset, byte[] magic) in Others)
        {
            Span<byte> part = bytes[..magic.Length];
            if (offset + magic.Length <= volume.Length)
            {
                volume.Read(offset, part);
                if (part.SequenceEqual(magic))
                {
                    return true;
                }
            }
        }

        return false;
    }

    // "Layout": copies begin groups 1, 3, 5, 7 and 9 whichever of the sparse_super rules holds; mke2fs gives a group as many blocks as a
    // block of bitmap has bits.
    private static ExtSuperblock? FindBackup(IBlockSource volume, out long offset)
    {
        ReadOnlySpan<int> groups = [1, 3, 5, 7, 9];
        for (int shift = 10; shift <= 16; shift++)
        {
            foreach (int group in groups)
            {
                offset = ((shift == 10 ? 1L : 0L) + ((8L << shift) * group)) << shift;
                if (offset + ExtSuperblock.Size <= volume.Length
                    && TryReadSuper(volume, offset, group, out _) is { ChecksumGood: true } super && super.BlockShift == shift && super.HasSuper(group))
                {
                    return super;
                }
            }
        }

        offset = -1;
        return null;
    }

    private static ExtSuperblock? TryReadSuper(IBlockSource volume, long offset, int group, out DiskFormatException? fault)
    {
        fault = null;
        Span<byte> bytes = stackalloc byte[ExtSuperblock.Size];
        try
        {
            volume.Read(offset, bytes);
            var super = new ExtSuperblock(new LeView(bytes, "ext4_super_block", offset));
            return group < 0 || super.BlockGroupNr == group ? super : null;
        }
        catch (DiskFormatException e)
        {
            fault = e;
            return null;
        }
    }
}
