using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.DiskReaders.Volumes.BitLocker;

namespace Vmsweep.DiskReaders.Tests.Volumes.BitLocker;

/// <summary>Opens and reads BitLocker volumes for the tests here.</summary>
internal static class BitLockerImages
{
    public static byte[] Master(BitLockerWriter writer) => Encoding.ASCII.GetBytes("master:" + Convert.ToHexString(writer.DataKey));

    public static ReadContext Context(ScanBudget budget, IGapSink gaps, params byte[][] secrets) => new(budget, gaps) { Secrets = new UnlockSecrets(secrets) };

    public static AssembledVolume Open(IBlockSource image, ReadContext context) =>
        Assert.Single(new BitLockerFormat().Assemble([new VolumeMember("disk", image, 512)], context).Volumes);

    /// <summary>All bytes of the volume, or the fault it has; with what was reported. Nothing stays rented.</summary>
    public static (byte[]? Bytes, DiskFormatException? Fault, IReadOnlyList<CoverageGap> Gaps) Read(byte[] image, params byte[][] secrets)
    {
        var budget = new ScanBudget(8 << 20);
        var gaps = new GapList();
        byte[]? bytes = null;
        DiskFormatException? fault;
        using (var source = new MemorySource(image))
        using (AssembledVolume volume = Open(source, Context(budget, gaps, secrets)))
        {
            fault = volume.Fault;
            if (volume.Content is { } content)
            {
                bytes = new byte[content.Length];
                content.Read(0, bytes);
            }
        }

        Assert.Equal(0, budget.InUse);
        return (bytes, fault, gaps.ToList());
    }
}
