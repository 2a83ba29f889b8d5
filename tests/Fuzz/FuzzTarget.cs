using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Gzip;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Parallels;
using Vmsweep.DiskReaders.Containers.Qcow2;
using Vmsweep.DiskReaders.Containers.Raw;
using Vmsweep.DiskReaders.Containers.Vdi;
using Vmsweep.DiskReaders.Containers.Vhd;
using Vmsweep.DiskReaders.Containers.Vhdx;
using Vmsweep.DiskReaders.Containers.Vma;
using Vmsweep.DiskReaders.Containers.Vmdk;
using Vmsweep.DiskReaders.Containers.Xva;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Btrfs;
using Vmsweep.DiskReaders.FileSystems.Ext;
using Vmsweep.DiskReaders.FileSystems.ExFat;
using Vmsweep.DiskReaders.FileSystems.Fat;
using Vmsweep.DiskReaders.FileSystems.Iso9660;
using Vmsweep.DiskReaders.FileSystems.Ntfs;
using Vmsweep.DiskReaders.FileSystems.Xfs;
using Vmsweep.DiskReaders.FileSystems.Erofs;
using Vmsweep.DiskReaders.FileSystems.SquashFs;
using Vmsweep.DiskReaders.FileSystems.Udf;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.DiskReaders.Volumes.Ldm;
using Vmsweep.DiskReaders.Volumes.Md;
using Vmsweep.DiskReaders.Tests.Containers;
using Vmsweep.DiskReaders.Tests.Containers.Ova;
using Vmsweep.DiskReaders.Tests.Containers.Vhd;
using Vmsweep.DiskReaders.Tests.Containers.Vhdx;
using Vmsweep.DiskReaders.Tests.Containers.Vma;
using Vmsweep.DiskReaders.Tests.FileSystems.Btrfs;
using Vmsweep.DiskReaders.Tests.FileSystems.ExFat;
using Vmsweep.DiskReaders.Tests.FileSystems.Ext;
using Vmsweep.DiskReaders.Tests.FileSystems.Udf;
using Vmsweep.DiskReaders.Tests.Volumes.Lvm2;
using Vmsweep.DiskReaders.Tests.Volumes.BitLocker;
using Vmsweep.DiskReaders.Volumes.BitLocker;
using Vmsweep.DiskReaders.Tests.Volumes.Luks;
using Vmsweep.DiskReaders.Tests.FileSystems.Ntfs.Vss;
using Vmsweep.DiskReaders.Tests.FileSystems.Xfs;
using Vmsweep.DiskReaders.Tests.Inspection.Registry;
using Vmsweep.Golden;
using Vmsweep.Signatures.Yara;
using Vmsweep.Signatures.Yara.Language;
using Vmsweep.Signatures.Yara.Routing;

namespace Vmsweep.Fuzz;

/// <summary>One format under attack: reads everything that the bytes describe.</summary>
/// <param name="Read">May throw <see cref="DiskFormatException"/> and nothing else.</param>
/// <param name="Seeds">Small sound inputs.</param>
/// <param name="Repair">Recomputes checksums, so that what lies behind them is reached; null where the format has none.</param>
internal sealed record FuzzTarget(string Name, Action<IBlockSource, ReadContext> Read, Func<IReadOnlyList<byte[]>> Seeds, Action<byte[]>? Repair = null)
{
    public const long BudgetBytes = 128 << 20;

    // A fault in one place does not end the look, but a small image may describe exabytes.
    private const int MostReads = 256;
    private const int MostExtents = 200;
    private const int MostContentBytes = 64 << 10;
    private const int MostFiles = 5000;

    public static readonly IReadOnlyList<FuzzTarget> All =
    [
        new("vmdk", ReadVmdk, FuzzSeeds.Vmdk),
        new("vhdx", ReadVhdx, FuzzSeeds.Vhdx, VhdxWriter.Repair),
        new("vhd", (s, c) => ReadImage(new VhdFormat(), "disk.vhd", s, c), FuzzSeeds.Vhd, VhdWriter.Repair),
        new("vdi", (s, c) => ReadImage(new VdiFormat(), "disk.vdi", s, c), FuzzSeeds.Vdi),
        new("qcow2", (s, c) => ReadImage(new Qcow2Format(), "disk.qcow2", s, c), FuzzSeeds.Qcow2),
        new("parallels", (s, c) => ReadImage(new ParallelsFormat(), "disk.hdd", s, c), FuzzSeeds.Parallels),
        new("volumes", ReadVolumes, FuzzSeeds.Volumes, FuzzSeeds.RepairGpt),
        new("lvm2", LvmEverything.Read, () => [LvmEverything.Disk], LvmEverything.Repair),
        new("luks", LuksReading.Read, FuzzSeeds.Luks, LuksWriter.Repair),
        new("md", (s, c) => ReadMembers(new MdFormat(), s, c), FuzzSeeds.Md, FuzzSeeds.RepairMd),
        new("ldm", (s, c) => ReadMembers(new LdmFormat(), s, c), FuzzSeeds.Ldm),
        new("ntfs", (s, c) => ReadFileSystem(new NtfsFormat(), s, c with { IncludeDeleted = true }), FuzzSeeds.Ntfs),
        new("vss", VssReading.Read, () => VssReading.Seeds),
        new("fat", (s, c) => ReadFileSystem(new FatFormat(), s, c), FuzzSeeds.Fat),
        new("btrfs", ReadBtrfs, FuzzSeeds.Btrfs, BtrfsImages.Repair),
        new("exfat", (s, c) => ReadFileSystem(new ExFatFormat(), s, c), FuzzSeeds.ExFat, ExFatRepair.Checksums),
        new("iso9660", (s, c) => ReadFileSystem(new Iso9660Format(), s, c), FuzzSeeds.Iso9660),
        new("udf", (s, c) => ReadFileSystem(new UdfFormat(), s, c), FuzzSeeds.Udf, UdfWriter.Repair),
        new("ext", (s, c) => ReadFileSystem(new ExtFormat(), s, c), FuzzSeeds.Ext, ExtRepair.Checksums),
        new("squashfs", (s, c) => ReadFileSystem(new SquashFsFormat(), s, c), FuzzSeeds.SquashFs),
        new("erofs", (s, c) => ReadFileSystem(new ErofsFormat(), s, c), FuzzSeeds.Erofs),
        new("bitlocker", ReadBitLocker, FuzzSeeds.BitLocker, FuzzSeeds.RepairBitLocker),
        new("tar", ReadTar, FuzzSeeds.Tar, TarWriter.Repair),
        new("gzip", ReadGzip, FuzzSeeds.Gzip),
        new("xva", (s, c) => ReadBundle(new XvaFormat(), s, c), FuzzSeeds.Xva, TarWriter.Repair),
        new("vma", (s, c) => ReadBundle(new VmaFormat(), s, c), FuzzSeeds.Vma, VmaWriter.Repair),
        new("xfs", (s, c) => ReadFileSystem(new XfsFormat(), PackedXfs.Open(s.ReadAll()), c), FuzzSeeds.Xfs, RepairXfs),
        new("hive", (s, c) => PackedHive.Read(s.ReadAll(), c), FuzzSeeds.Hive, PackedHive.Repair),
        new("yara", ReadRules, FuzzSeeds.Yara),
    ];

    private static readonly IContainerFormat[] Containers = [new VmdkFormat(), new VhdxFormat(), new VhdFormat(), new VdiFormat(), new Qcow2Format(), new ParallelsFormat()];

    public static FuzzTarget Of(string name) => All.Single(t => t.Name == name);

    public void ReadBytes(byte[] bytes, ReadContext context)
    {
        using var source = new MemorySource(bytes);
        Read(source, context);
    }

    private static void RepairXfs(byte[] packed)
    {
        XfsRepair.Packed(packed);
        XfsRepair.PackedLog(packed);
    }

    private static void ReadVmdk(IBlockSource image, ReadContext context)
    {
        Span<byte> head = stackalloc byte[4];
        image.Read(0, head[..(int)Math.Min(4, image.Length)]);
        string? over = head.SequenceEqual("COWD"u8) ? "vmfsSparse" : head is [0xBE, 0xBA, 0xFE, 0xCA] ? "seSparse" : null;
        using var chain = new FolderChain(
            (name, _) => name switch
            {
                "disk.vmdk" => over is null ? image : new MemorySource(FuzzSeeds.DescriptorOver(over)),
                "extent" => image,
                _ => FuzzSeeds.Companions.TryGetValue(name, out byte[]? bytes) ? new MemorySource(bytes) : null,
            },
            Containers,
            context);
        ReadContainer(new VmdkFormat(), chain, "disk.vmdk", context);
    }

    private static void ReadVhdx(IBlockSource image, ReadContext context)
    {
        using var chain = new FolderChain(
            (name, _) => name == "disk.vhdx" ? image : FuzzSeeds.Companions.TryGetValue(name, out byte[]? bytes) ? new MemorySource(bytes) : null,
            Containers,
            context);
        ReadContainer(new VhdxFormat(), chain, "disk.vhdx", context);
    }

    private static void ReadImage(IContainerFormat format, string name, IBlockSource image, ReadContext context)
    {
        using var chain = new FolderChain(
            (asked, _) => asked == name ? image : FuzzSeeds.Companions.TryGetValue(asked, out byte[]? bytes) ? new MemorySource(bytes) : null,
            Containers,
            context);
        if (format is ISnapshotFormat keeper && chain.Image(name) is var file && keeper.Probe(file))
        {
            ReadStates(keeper, file, chain, context);
        }

        ReadContainer(format, chain, name, context);
    }

    /// <summary>A damaged table of states leaves the disk itself readable.</summary>
    private static void ReadStates(ISnapshotFormat format, ImageFile file, FolderChain chain, ReadContext context)
    {
        try
        {
            foreach (ImageSnapshot state in format.Snapshots(file).Take(4))
            {
                using VirtualDisk disk = format.OpenSnapshot(file, state.Id, chain, context);
                disk.Content.Read(0, new byte[Math.Min(disk.Content.Length, MostContentBytes)]);
            }
        }
        catch (DiskFormatException)
        {
            // What a reader may say of hostile bytes.
        }
    }

    private static void ReadContainer(IContainerFormat format, FolderChain chain, string name, ReadContext context)
    {
        ImageFile file = chain.Image(name);
        format.Probe(file);
        format.References(file);
        using VirtualDisk disk = format.Open(file, chain, context);
        ReadDisk(disk);
    }

    private static void ReadBundle(IBundleFormat format, IBlockSource image, ReadContext context)
    {
        var file = new ImageFile("bundle", 0, image);
        format.Probe(file);
        using var chain = new FolderChain((_, _) => null, Containers, context);
        foreach (string name in format.Head(file).Disks)
        {
            try
            {
                using VirtualDisk disk = format.OpenDisk(file, name, chain, context);
                ReadDisk(disk);
            }
            catch (DiskFormatException)
            {
                // The next disk may be sound.
            }
        }
    }

    private static void ReadTar(IBlockSource image, ReadContext context)
    {
        TarReader.Probe(image);
        var reader = new TarReader(image, context.Cancellation);
        while (reader.Next() is { } member)
        {
            if (member.OffsetBytes < 0 || member.StoredBytes < 0 || member.StoredBytes > member.SizeBytes || member.OffsetBytes > image.Length - member.StoredBytes)
            {
                throw new InvalidOperationException($"a member of {member.StoredBytes} bytes at {member.OffsetBytes}");
            }
        }
    }

    private static void ReadGzip(IBlockSource image, ReadContext context)
    {
        GzipSource.Head(image, 1 << 16);
        byte[] packed = image.ReadAll();
        using var source = new GzipSource(new MemorySource(packed), 0, context);
        byte[] buffer = new byte[4096];
        long step = Math.Max(buffer.Length, source.Length / 8);
        for (long at = source.Length; at > 0; at -= Math.Min(at, step))
        {
            Span<byte> part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, at));
            source.Read(at - part.Length, part);
        }
    }

    private static void ReadDisk(VirtualDisk disk)
    {
        byte[] buffer = new byte[4096];
        long step = Math.Max(buffer.Length, disk.Content.Length / MostReads);
        for (long at = 0; at < disk.Content.Length; at = at > long.MaxValue - step ? long.MaxValue : at + step)
        {
            try
            {
                disk.Content.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, disk.Content.Length - at)));
                disk.Content.Locate(at, disk.Content.Length - at);
            }
            catch (DiskFormatException)
            {
                // The next range may be sound.
            }
        }
    }

    /// <summary>An image is the members of a volume manager, one after another, all of one size.</summary>
    private static void ReadMembers(IVolumeFormat format, IBlockSource image, ReadContext context)
    {
        long size = image.Length / FuzzSeeds.Members;
        List<VolumeMember> members = [];
        for (int i = 0; i < FuzzSeeds.Members; i++)
        {
            var source = new SliceSource(image, i * size, size);
            if (format.Probe(source))
            {
                members.Add(new VolumeMember("member", source, 512));
            }
        }

        byte[] buffer = new byte[4096];
        foreach (AssembledVolume volume in format.Assemble(members, context).Volumes)
        {
            using (volume)
            {
                long length = volume.Content?.Length ?? 0;
                long step = Math.Max(buffer.Length, length / MostReads);
                for (long at = 0; at < length; at = at > long.MaxValue - step ? long.MaxValue : at + step)
                {
                    try
                    {
                        volume.Content!.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, length - at)));
                        volume.Content.Locate(at, length - at);
                    }
                    catch (DiskFormatException)
                    {
                        // The next range may be sound.
                    }
                }
            }
        }
    }

    /// <summary>Recognition, tables and whatever file systems show up, as a scan does it.</summary>
    private static void ReadVolumes(IBlockSource image, ReadContext context)
    {
        var file = new ImageFile("disk.raw", 0, image);
        ContainerFormats.Disagreement(file, ContainerFormats.Raw);
        using var chain = new FolderChain((_, _) => null, Containers, context);
        VirtualDisk disk = new RawFormat().Open(file, chain, context);
        using InspectedVm inspected = DiskInspector.Inspect([new OpenedDisk(disk, "disk.raw", "")], context);
        foreach (InspectedVolume volume in inspected.Volumes)
        {
            if (volume.FileSystem is { } fileSystem)
            {
                Walk(fileSystem);
            }
        }
    }

    private static void ReadBitLocker(IBlockSource image, ReadContext context)
    {
        var format = new BitLockerFormat();
        if (!format.Probe(image))
        {
            return;
        }

        context = context with { Secrets = new UnlockSecrets([BitLockerWriter.KeyFile]) };
        using AssembledVolume volume = format.Assemble([new VolumeMember("disk", image, 512)], context).Volumes[0];
        if (volume.Content is not { } content)
        {
            throw volume.Fault!;
        }

        byte[] buffer = new byte[5000];
        for (long at = 0; at < content.Length; at += 0x9_1000)
        {
            content.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, content.Length - at)));
            content.Locate(at, content.Length - at);
        }
    }

    private static void ReadFileSystem(IFileSystemFormat format, IBlockSource image, ReadContext context)
    {
        format.Probe(image);
        using IFileSystem fileSystem = format.Open(image, context);
        Walk(fileSystem);
    }

    /// <summary>The seeds hold only the blocks that are stored: no Btrfs is smaller than 16 MiB.</summary>
    private static void ReadBtrfs(IBlockSource image, ReadContext context)
    {
        using var packed = new PackedImage(image.ReadAll());
        ReadFileSystem(new BtrfsFormat(), packed, context);
    }

    private static void Walk(IFileSystem fileSystem)
    {
        byte[] buffer = new byte[MostContentBytes];
        int files = 0;
        foreach (GuestFile file in fileSystem.Walk())
        {
            if (file.Links.Count == 0 || file.SizeBytes < 0)
            {
                throw new InvalidOperationException($"file {file.Id} has {file.Links.Count} names and {file.SizeBytes} bytes");
            }

            _ = GuestName.Escape(file.Links[0].Path(file.StreamName), controls: true);
            _ = file.Owner;
            if (++files > MostFiles || file.Fault is not null)
            {
                continue;
            }

            try
            {
                ReadContent(fileSystem, file, buffer);
            }
            catch (DiskFormatException)
            {
                // The next file may be sound.
            }
        }
    }

    private static void ReadContent(IFileSystem fileSystem, GuestFile file, byte[] buffer)
    {
        using IBlockSource content = fileSystem.OpenContent(file);
        long at = 0;
        for (int i = 0; i < MostExtents && at < content.Length; i++)
        {
            StoredExtent extent = content.Locate(at, content.Length - at);
            if (extent.Length <= 0)
            {
                throw new InvalidOperationException($"an extent of {extent.Length} bytes at {at}");
            }

            if (extent.IsStored)
            {
                content.Read(at, buffer.AsSpan(0, (int)Math.Min(extent.Length, buffer.Length)));
            }

            at += extent.Length;
        }

        content.Read(0, buffer.AsSpan(0, (int)Math.Min(content.Length, buffer.Length)));
    }

    /// <summary>The product's own reading of rule sources, without the native compiler behind it.</summary>
    private static void ReadRules(IBlockSource image, ReadContext context)
    {
        byte[] text = image.ReadAll();
        List<RuleFault> faults = [];
        ParsedFile parsed = RuleFileParser.Parse(new RuleFile("rules.yar", "rules", null, text), faults);
        RoutePlan.Make(parsed.Units);
        context.ThrowIfCancelled();
    }
}
