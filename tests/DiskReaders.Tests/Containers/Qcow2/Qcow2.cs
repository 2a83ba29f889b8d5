using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Qcow2;
using Vmsweep.DiskReaders.Containers.Raw;
using Vmsweep.DiskReaders.Containers.Vhdx;
using Vmsweep.DiskReaders.Containers.Vmdk;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Qcow2;

/// <summary>Opens qcow2 images in a folder or in memory, and sees to it that nothing rented is kept.</summary>
internal static class Qcow2
{
    public static readonly IContainerFormat[] Formats = [new VmdkFormat(), new VhdxFormat(), new Qcow2Format(), new RawFormat()];

    public static IReadOnlyList<CoverageGap> InFolder(string folder, string name, Action<VirtualDisk> use, params string[] secrets)
    {
        var context = new ReadContext(new ScanBudget(64 << 20), new GapList()) { Secrets = new UnlockSecrets([.. secrets.Select(Encoding.UTF8.GetBytes)]) };
        using (var chain = new FolderChain(folder, Formats, context))
        {
            With(chain, name, context, use);
        }

        return ((GapList)context.Gaps).ToList();
    }

    /// <summary>Two looks at the files of a folder: one without memory, one that must return all it rents.</summary>
    public static void InFolder(string folder, Action<FolderChain> look, Action<FolderChain, ReadContext> use)
    {
        var context = new ReadContext(new ScanBudget(64 << 20), new GapList());
        using (var chain = new FolderChain(folder, Formats, context))
        {
            look(chain);
            use(chain, context);
        }

        Assert.Equal(0, context.Budget.InUse);
    }

    /// <summary>Opens the first file and hands the disk on; returns the gaps.</summary>
    public static IReadOnlyList<CoverageGap> InMemory((string Name, byte[] Bytes)[] files, Action<VirtualDisk> use)
    {
        var context = new ReadContext(new ScanBudget(64 << 20), new GapList());
        using (var chain = new FolderChain(files.ToDictionary(f => f.Name, f => f.Bytes), Formats, context))
        {
            With(chain, files[0].Name, context, use);
        }

        return ((GapList)context.Gaps).ToList();
    }

    public static byte[] All(params (string Name, byte[] Bytes)[] files)
    {
        byte[] content = [];
        InMemory(files, disk => content = disk.Content.ReadAll());
        return content;
    }

    public static DiskFormatException Fails(params (string Name, byte[] Bytes)[] files) =>
        Assert.Throws<DiskFormatException>(() => InMemory(files, disk =>
        {
            byte[] buffer = new byte[1 << 20];
            for (long at = 0; at < Math.Min(disk.Content.Length, 16 << 20); at += buffer.Length)
            {
                disk.Content.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, disk.Content.Length - at)));
            }
        }));

    private static void With(FolderChain chain, string name, ReadContext context, Action<VirtualDisk> use)
    {
        try
        {
            using VirtualDisk disk = chain.Open(name);
            use(disk);
        }
        finally
        {
            Assert.Equal(0, context.Budget.InUse);
        }
    }
}
