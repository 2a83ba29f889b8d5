using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers;

/// <summary>Nearly empty disks of 62 TB, made by QEMU, opened as a worker opens them. Their time is measured by the benchmark of the same.</summary>
public sealed class HugeDiskTests
{
    private const long Most = 64 << 20;

    [Theory]
    [InlineData("vmdk", "-o subformat=monolithicSparse")]
    [InlineData("vhdx", "-o subformat=dynamic")]
    [InlineData("vhdx", "-o subformat=dynamic,block_size=8M")]
    [InlineData("qcow2", "")]
    [InlineData("qcow2", "-o cluster_size=2M,extended_l2=on")]
    public void A_sparse_disk_of_62_TB_opens_in_64_MB(string format, string options)
    {
        using var scratch = new Scratch();
        Tool.Shell($"qemu-img create -q -f {format} {options} disk.{format} 62T; qemu-io -f {format} -c 'write -P 66 61T 64k' disk.{format} > /dev/null", scratch.Folder);
        var context = new ReadContext(new ScanBudget(Most), new GapList());
        long before = GC.GetAllocatedBytesForCurrentThread();
        using (var chain = new ChainOpener(ChainPlanner.Plan(scratch["disk." + format], new Alone()), context))
        using (InspectedVm inspected = DiskInspector.Inspect([new OpenedDisk(chain.OpenDisk(), "disk", "")], context))
        {
            IBlockSource content = inspected.Disks[0].Disk.Content;
            Assert.Equal(62L << 40, content.Length);
            byte[] read = new byte[64 << 10];
            content.Read(61L << 40, read);
            Assert.False(read.AsSpan().ContainsAnyExcept((byte)66));
            content.Read(content.Length - read.Length, read);
            Assert.False(read.AsSpan().ContainsAnyExcept((byte)0));
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, Most);
        }

        Assert.Equal(0, context.Budget.InUse);
    }

    private sealed class Alone : IReferencePolicy
    {
        public ReferenceAnswer Resolve(string fromPath, ImageReference reference) => new(null, Fault.Refused, "not expected here");
    }
}
