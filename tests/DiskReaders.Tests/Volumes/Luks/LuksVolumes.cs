using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.DiskReaders.Volumes.Luks;

namespace Vmsweep.DiskReaders.Tests.Volumes.Luks;

/// <summary>Opens LUKS volumes with secrets, and sees to it that nothing rented is kept.</summary>
internal static class LuksVolumes
{
    public static IReadOnlyList<CoverageGap> OpenFile(string path, Action<AssembledVolume> use, params string[] secrets)
    {
        using var file = new FileSource(path);
        return Open(file, (assembly, _) => use(assembly.Volumes[0]), secrets);
    }

    public static IReadOnlyList<CoverageGap> Open(byte[] bytes, Action<AssembledVolume> use, params string[] secrets) =>
        Open(new MemorySource(bytes), (assembly, _) => use(assembly.Volumes[0]), secrets);

    public static IReadOnlyList<CoverageGap> Open(IBlockSource content, Action<VolumeAssembly, ReadContext> use, params string[] secrets)
    {
        var context = new ReadContext(new ScanBudget(64 << 20), new GapList()) { Secrets = new UnlockSecrets([.. secrets.Select(Encoding.UTF8.GetBytes)]) };
        var format = new LuksFormat(LuksLimits.Default);
        Assert.True(format.Probe(content));
        VolumeAssembly assembly = format.Assemble([new VolumeMember("member", content, 512)], context);
        try
        {
            Assert.Single(assembly.Volumes);
            use(assembly, context);
        }
        finally
        {
            foreach (AssembledVolume volume in assembly.Volumes)
            {
                volume.Dispose();
            }

            Assert.Equal(0, context.Budget.InUse);
        }

        return ((GapList)context.Gaps).ToList();
    }

    /// <summary>The content, which must be there.</summary>
    public static IBlockSource Readable(this AssembledVolume volume)
    {
        Assert.Null(volume.Fault);
        return volume.Content!;
    }

    /// <summary>The fault of a volume that must not be readable.</summary>
    public static DiskFormatException Fails(byte[] bytes, params string[] secrets)
    {
        DiskFormatException? fault = null;
        Open(bytes, volume =>
        {
            Assert.Null(volume.Content);
            fault = volume.Fault;
        }, secrets);
        Assert.NotNull(fault);
        return fault;
    }
}
