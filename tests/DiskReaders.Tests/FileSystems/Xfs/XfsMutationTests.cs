using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Xfs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Xfs;

/// <summary>Damaged images give data, gaps or <see cref="DiskFormatException"/>, within time and memory.</summary>
[Trait("Category", "Slow")]
public sealed class XfsMutationTests
{
    // Small in bytes: each block that holds something is copied for each mutation.
    [Fact]
    public void Version_5()
    {
        using var scratch = new Scratch();
        Tool.Shell($"truncate -s 32M image; mkfs.xfs --unsupported -q -f -b size=1024 -d agcount=2 image; mkdir mnt; mount -o loop image mnt; trap 'umount mnt' EXIT; cd mnt\n{XfsImages.SmallTree}\ncd ..", scratch.Folder);
        Check(scratch["image"], Mutations.PerFormat / 2);
    }

    [Fact]
    public void Version_5_with_a_dirty_log()
    {
        using var scratch = new Scratch();
        Tool.Shell($"truncate -s 32M image; mkfs.xfs --unsupported -q -f -b size=1024 -d agcount=2 image; mkdir mnt; mount -o loop image mnt; trap 'umount mnt 2>/dev/null || true' EXIT; cd mnt\n{XfsImages.SmallTree}\ncd ..; sync -f mnt; rm -r mnt/a mnt/pieces; printf new > mnt/new; xfs_io -x -c 'shutdown -f' mnt; umount mnt", scratch.Folder);
        byte[] image = File.ReadAllBytes(scratch["image"]);
        byte[] packed = PackedXfs.Pack(image);
        var context = new ReadContext(new ScanBudget(64 << 20), new GapList());
        using (IFileSystem system = new XfsFormat().Open(PackedXfs.Open(packed), context))
        {
            Assert.Contains(system.Facts.Notes, n => n.StartsWith("log replayed", StringComparison.Ordinal));
        }

        List<(long, long)> regions = [];
        foreach (int record in XfsRepair.Records(image))
        {
            for (int at = 0; at < 16 << 10; at += 512)
            {
                long place = PackedXfs.PlaceOf(packed, record + at);
                if (place >= 0)
                {
                    regions.Add((place, 512));
                }
            }
        }

        Mutations.Check(packed, (bytes, c) => ReadAll(PackedXfs.Open(bytes), c), regions, Mutations.PerFormat / 4, repair: LogRepair);
    }

    [Fact]
    public void Version_4()
    {
        using var scratch = new Scratch();
        XfsImages.MakeFromPrototype(scratch, "-m crc=0 -b size=1024 -n size=4096", "64M");
        Check(scratch["image"], Mutations.PerFormat / 4);
    }

    internal static List<GuestFile> ReadAll(IBlockSource source, ReadContext context)
    {
        const int MostBytes = 64 << 10;
        const int MostExtents = 200;
        var format = new XfsFormat();
        _ = format.Probe(source) || format.ProbeCopy(source);
        List<GuestFile> files = [];
        byte[] buffer = new byte[MostBytes];
        using IFileSystem system = format.Open(source, context);
        foreach (GuestFile file in system.Walk())
        {
            files.Add(file);
            Assert.NotEmpty(file.Links);
            _ = file.Links[0].Path();
            try
            {
                using IBlockSource content = system.OpenContent(file);
                long at = 0;
                for (int i = 0; i < MostExtents && at < content.Length; i++)
                {
                    StoredExtent extent = content.Locate(at, content.Length - at);
                    if (extent.IsStored)
                    {
                        content.Read(at, buffer.AsSpan(0, (int)Math.Min(extent.Length, MostBytes)));
                    }

                    at += extent.Length;
                }

                content.Read(0, buffer.AsSpan(0, (int)Math.Min(content.Length, MostBytes)));
            }
            catch (DiskFormatException)
            {
            }
        }

        return files;
    }

    private static void Check(string path, int count)
    {
        byte[] image = File.ReadAllBytes(path);
        byte[] packed = PackedXfs.Pack(image);
        List<(long, long)> regions = [];
        int blocks = PackedXfs.CountOf(packed);
        for (int i = 0; i < blocks; i++)
        {
            long place = PackedXfs.HeaderBytes(blocks) + ((long)i * PackedXfs.BlockBytes);
            ReadOnlySpan<byte> block = packed.AsSpan((int)place, PackedXfs.BlockBytes);
            if (block.StartsWith("XFSB"u8))
            {
                regions.AddRange([(place, 304), (place, 304), (place + (place == PackedXfs.HeaderBytes(blocks) ? 0 : 512), 344)]);
            }
            else if (block.StartsWith("XAGI"u8) || block.StartsWith("IAB"u8) || block.StartsWith("BMA"u8) || block.StartsWith("XD"u8) || block.StartsWith("XSLM"u8))
            {
                regions.AddRange([(place, 120), (place, 120), (place, 1024)]);
            }
            else if (block.StartsWith("IN"u8) && !block.Slice(2, 2).SequenceEqual(new byte[2]))
            {
                regions.Add((place, 300));
            }
        }

        Assert.NotEmpty(ReadAll(PackedXfs.Open(packed), new ReadContext(new ScanBudget(64 << 20), new GapList())));
        Mutations.Check(packed, (bytes, context) => ReadAll(PackedXfs.Open(bytes), context), regions, count, repair: XfsRepair.Packed);
    }

    private static void LogRepair(byte[] packed) => XfsRepair.PackedLog(packed);
}
