using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Btrfs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Btrfs;

/// <summary>Thousands of damaged images.</summary>
public sealed class BtrfsMutationTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [Trait("Category", "Slow")]
    [InlineData("compress-force=zlib", "", 1)]
    [InlineData("compress-force=lzo,commit=300", "sync; echo logged > logged; head -c 9000 /dev/urandom >> large; mv tiny moved; python3 -c 'import os; [os.fsync(os.open(n, os.O_RDONLY)) for n in (\"logged\", \"large\", \"moved\", \".\")]'; cp --sparse=always ../dev0 ../copy", 2)]
    public void Damaged_images_give_data_or_a_format_fault(string options, string after, int seed)
    {
        string[] images = BtrfsImages.Make(_scratch, 1, "-n 4096 -M -m single -d single", BtrfsImages.Small + "\n" + after, options, "16M");
        byte[] packed = BtrfsImages.Pack(after.Length > 0 ? _scratch["copy"] : images[0]);
        Mutations.Check(packed, Read, BtrfsImages.Metadata(packed), Mutations.PerFormat / 2, seed, BtrfsImages.Repair);
    }

    internal static void Read(byte[] packed, ReadContext context)
    {
        using var source = new PackedImage(packed);
        _ = ReadAll(source, context);
    }

    internal static List<GuestFile> ReadAll(IBlockSource source, ReadContext context)
    {
        var format = new BtrfsFormat();
        format.Probe(source);
        format.ProbeCopy(source);
        format.SpanIdentity(source);
        List<GuestFile> files = [];
        byte[] buffer = new byte[16 << 10];
        using IFileSystem system = format.Open(source, context);
        _ = system.Facts;
        foreach (GuestFile file in system.Walk())
        {
            Assert.NotEmpty(file.Links);
            Assert.True(file.SizeBytes >= 0);
            _ = file.Links[0].Path();
            files.Add(file);
            try
            {
                using IBlockSource content = system.OpenContent(file);
                int steps = 0;
                for (long at = 0; at < content.Length && steps < 20; steps++)
                {
                    StoredExtent extent = content.Locate(at, content.Length - at);
                    Assert.InRange(extent.Length, 1, content.Length - at);
                    if (extent.IsStored)
                    {
                        content.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, extent.Length)));
                    }

                    at += extent.Length;
                }
            }
            catch (DiskFormatException)
            {
                // The next file may be sound.
            }
        }

        return files;
    }
}
