using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Vma;

/// <summary>
/// A backup of a Proxmox VM by vzdump: a header with the VM's configuration, then extents of up to 59 clusters of 64 KiB from all its disks,
/// in the order in which they were copied. Spec: pve-qemu vma_spec.txt. Big-endian. One walk over the extent headers finds all clusters; it
/// takes 8 bytes of memory for each, 128 MiB for 1 TiB.
/// </summary>
public sealed class VmaFormat : IBundleFormat
{
    private const string Structure = "VMA Extent Header";
    private const int ExtentHeaderBytes = 512;
    private const int BlockInfos = 59;

    public string Name => "vma";

    public FormatSupport Support { get; } = new(
        "Proxmox VMA",
        "every disk of a backup, read where it lies, header and extent checksums",
        "packed backups");

    public bool Probe(ImageFile file) => file.Bytes.HasAt(0, "VMA\0"u8);

    public IReadOnlyList<ImageReference> References(ImageFile file) => [];

    public BundleHead Head(ImageFile file)
    {
        VmaHeader header = VmaHeader.Read(file.Bytes);
        return new BundleHead(header.VmName, header.GuestOs, [.. Disks(header).Select(d => d.Name)]);
    }

    public VirtualDisk Open(ImageFile file, IChainOpener chain, ReadContext context) =>
        Head(file).Disks is [string only]
            ? OpenDisk(file, only, chain, context)
            : throw new DiskFormatException(Fault.Unsupported, "VMA", 0, "it does not hold one disk, and none was chosen");

    public VirtualDisk OpenDisk(ImageFile file, string disk, IChainOpener chain, ReadContext context)
    {
        VmaHeader header = VmaHeader.Read(file.Bytes);
        VmaDevice device = Disks(header).FirstOrDefault(d => d.Name == disk)
            ?? throw new DiskFormatException(Fault.Corrupt, "VMA Header", 4096, $"there is no device \"{disk}\"");
        var clusters = new VmaClusters(context);
        try
        {
            DiskFormatException? ended = Collect(file.Bytes, header, device, clusters, context);
            if (ended is not null)
            {
                context.Gaps.Add(new CoverageGap(ended, "", 0));
            }

            var missing = new MissingSource(device.SizeBytes, () => ended ?? new DiskFormatException(Fault.Truncated, "VMA", -1, "the archive has no such cluster of the device"));
            var map = new VmaMap(clusters, device.SizeBytes);
            return new VirtualDisk
            {
                Format = Name,
                Content = new MappedSource(map, [file.Bytes, missing], owned: map),
                Chain = [new ChainLink(file.Name, Name)],
            };
        }
        catch
        {
            clusters.Dispose();
            throw;
        }
    }

    /// <summary>The saved memory of a running VM is no disk.</summary>
    private static IEnumerable<VmaDevice> Disks(VmaHeader header) => header.List.Where(d => d.Name != "vmstate");

    /// <summary>Notes where the clusters of a device lie; answers why the walk ended before the file does.</summary>
    private static DiskFormatException? Collect(IBlockSource file, VmaHeader header, VmaDevice device, VmaClusters clusters, ReadContext context)
    {
        Span<byte> bytes = stackalloc byte[ExtentHeaderBytes];
        long end = (device.SizeBytes - 1) / VmaClusters.ClusterBytes;
        for (long at = header.HeaderBytes; at < file.Length;)
        {
            context.ThrowIfCancelled();
            if (file.Length - at < ExtentHeaderBytes)
            {
                return new DiskFormatException(Fault.Truncated, Structure, at, "the archive ends within it");
            }

            file.Read(at, bytes);
            var view = new BeView(bytes, Structure, at);
            if (!view.Bytes[..4].SequenceEqual("VMAE"u8) || view.Uuid(8) != header.Uuid)
            {
                return view.Corrupt(0, "magic or uuid");
            }

            int blocks = view.U16(6);
            if (!VmaHeader.HasChecksum(bytes, 24))
            {
                return view.Corrupt(24, "md5sum");
            }

            long data = at + ExtentHeaderBytes;
            int stored = 0;
            for (int i = 0; i < BlockInfos; i++)
            {
                // blockinfo: mask, reserved, dev_id, cluster_num.
                int info = 40 + (i * 8);
                ushort mask = view.U16(info);
                byte id = view.U8(info + 3);
                if (id == 0)
                {
                    continue;
                }

                long location = data + ((long)stored * VmaClusters.BlockBytes);
                stored += BitOperations.PopCount(mask);
                if (id != device.Id)
                {
                    continue;
                }

                long cluster = view.U32(info + 4);
                view.Require(cluster <= end, info + 4, "cluster_num");
                if (location + (BitOperations.PopCount(mask) * (long)VmaClusters.BlockBytes) > file.Length)
                {
                    return new DiskFormatException(Fault.Truncated, Structure, at, "the archive ends within its clusters");
                }

                view.Require(clusters.TryAdd(cluster, location, mask), info + 4, "cluster_num, it is there twice");
            }

            view.Require(stored == blocks, 6, "block_count");
            at = data + ((long)blocks * VmaClusters.BlockBytes);
        }

        return null;
    }
}
