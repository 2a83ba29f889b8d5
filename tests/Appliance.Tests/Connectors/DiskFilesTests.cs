using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Connectors;

/// <summary>A folder's disks under whatever names they were left: none is passed over in silence.</summary>
public sealed class DiskFilesTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("gzip -c disk > disk.img.gz", "gzip")]
    [InlineData("zstd -q disk -o vzdump-qemu-100.vma.zst", "zstd")]
    [InlineData("xz -c -0 disk > disk.vmdk.xz", "xz")]
    [InlineData("7z a -bso0 -mx1 disk.qcow2.7z disk", "7z")]
    [InlineData("bzip2 -c disk > DISK.RAW.BZ2", "bzip2")]
    [InlineData("printf 'EVF\\t\\r\\n\\377\\0' > evidence; truncate -s 100k evidence", "e01")]
    [InlineData("qemu-img convert -O qed disk plain-name", "qed")]
    [InlineData("printf AFF10'\\r\\n\\0' > x.aff; truncate -s 1M x.aff", "aff")]
    public void What_is_packed_or_of_another_product_is_a_gap(string make, string structure)
    {
        Tool.Shell($"truncate -s 1M disk; printf data | dd of=disk conv=notrunc status=none; {make}; rm -f disk", _scratch.Folder);
        Vm vm = Assert.Single(new TargetFinder([]).Find(_scratch.Folder));
        GapReport gap = Assert.Single(InProcess.List(vm.Target).Gaps());
        Assert.Equal(("unsupported", structure), (gap.Fault, gap.Structure));
    }

    [Theory]
    [InlineData("qemu-img create -q -f qcow2 a 1M", "qcow2")]
    [InlineData("qemu-img create -q -f vdi a 1M; truncate -s 100k a", "vdi")]
    [InlineData("qemu-img create -q -f vmdk a.vmdk 1M; mv a.vmdk a; truncate -s 100k a", "vmdk")]
    [InlineData("truncate -s 100k a; printf '\\125\\252' | dd of=a bs=1 seek=510 conv=notrunc status=none", "raw")]
    [InlineData("truncate -s 100k a; printf LABELONE | dd of=a bs=1 seek=512 conv=notrunc status=none", "raw")]
    [InlineData("truncate -s 100k a; printf 'EFI PART' | dd of=a bs=1 seek=4096 conv=notrunc status=none", "raw")]
    [InlineData("truncate -s 100k a; printf '\\374\\116\\053\\251' | dd of=a bs=1 seek=4096 conv=notrunc status=none", "raw")]
    [InlineData("truncate -s 100k a; printf 'LUKS\\272\\276' | dd of=a conv=notrunc status=none", "raw")]
    [InlineData("truncate -s 128M a; mkfs.btrfs -q a", "raw")]
    [InlineData("truncate -s 300M a; mkfs.xfs -q a", "raw")]
    [InlineData("truncate -s 1M a; mke2fs -q -F a", "raw")]
    public void A_disk_without_an_extension_is_found_by_its_bytes(string make, string format)
    {
        Tool.Shell(make + "; mv a 8f14e45fceea167a5a36dedd4bea2543; seq 1 100000 > notes; head -c 100k /dev/urandom > noise", _scratch.Folder);
        VmDisk disk = Assert.Single(Assert.Single(new TargetFinder([]).Find(_scratch.Folder)).Disks);
        Assert.Equal("8f14e45fceea167a5a36dedd4bea2543", Path.GetFileName(disk.Path));
        using var bytes = new DiskReaders.Blocks.FileSource(disk.Path);
        Assert.Equal(format, DiskReaders.Inspection.ContainerFormats.Choose(new DiskReaders.Containers.ImageFile(disk.Path, 0, bytes), disk.Plan.Declared).Name);
    }
}
