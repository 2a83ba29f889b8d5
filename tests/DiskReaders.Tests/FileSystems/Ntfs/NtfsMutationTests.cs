using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ntfs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs;

public sealed class NtfsMutationTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    /// <summary>A small volume with one of everything.</summary>
    internal static byte[] Everything(Scratch scratch)
    {
        string samples = scratch["wof"];
        Directory.CreateDirectory(samples);
        File.WriteAllText(Path.Combine(samples, "text"), string.Join('\n', Enumerable.Range(0, 2500)));
        string sha1 = CompressionTests.Sha1(File.ReadAllBytes(Path.Combine(samples, "text")));
        File.WriteAllBytes(scratch["lzx"], WimImage.Pack(samples, scratch.Folder, "lzx", 32768)[sha1]);
        File.WriteAllBytes(scratch["xpress"], WimImage.Pack(samples, scratch.Folder, "xpress", 4096)[sha1]);
        long size = new FileInfo(Path.Combine(samples, "text")).Length;
        string image = NtfsImage.Make(
            scratch.Folder,
            "1280K",
            "-c 512",
            $"""
            mkdir -p c d/e; setfattr -h -v 0x00000800 -n system.ntfs_attrib_be c
            seq 1 1500 > c/packed; head -c 2000 /dev/urandom > d/plain; printf resident > d/e/resident; printf s > d/e/resident:stream; printf f > d:folder
            ln d/plain d/e/hard; truncate -s 20000 sparse; printf t >> sparse
            truncate -s {size} wx wl; cat $S/xpress > wx:WofCompressedData; cat $S/lzx > wl:WofCompressedData
            setfattr -h -n system.ntfs_reparse_data -v 0x170000801000000001000000020000000100000000000000 wx
            setfattr -h -n system.ntfs_reparse_data -v 0x170000801000000001000000020000000100000001000000 wl
            for i in $(seq 1 24); do head -c 5000 /dev/zero > t$i; done; for i in $(seq 1 2 24); do rm t$i; done
            head -c 45000 /dev/urandom > pieces; rm t*
            for i in $(seq 1 12); do ln d/plain "d/a long name for hard link number $i"; done
            """,
            "streams_interface=windows,compression");
        return File.ReadAllBytes(image);
    }

    /// <summary>Opens, walks and reads every content.</summary>
    internal static void ReadAll(byte[] image, ReadContext context)
    {
        using var source = new MemorySource(image);
        var format = new NtfsFormat();
        if (!format.Probe(source) && !format.ProbeCopy(source))
        {
            return;
        }

        byte[] buffer = new byte[64 << 10];
        using IFileSystem fileSystem = format.Open(source, context);
        foreach (GuestFile file in fileSystem.Walk())
        {
            _ = file.Links[0].Path(file.StreamName);
            _ = file.Owner;
            try
            {
                using IBlockSource content = fileSystem.OpenContent(file);
                for (long at = 0; at < Math.Min(content.Length, 1 << 20); at += buffer.Length)
                {
                    content.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, content.Length - at)));
                }

                if (content.Length > 0)
                {
                    content.Locate(content.Length - 1, 1);
                    content.Read(content.Length - 1, buffer.AsSpan(0, 1));
                }
            }
            catch (DiskFormatException)
            {
                // One content's fault; the walk goes on.
            }
        }
    }

    /// <summary>Makes every FILE record pass its update sequence again.</summary>
    internal static void Seal(byte[] image)
    {
        for (int at = 0; at + 1024 <= image.Length; at += 512)
        {
            if (image.AsSpan(at, 4).SequenceEqual("FILE"u8))
            {
                int array = BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(at + 4));
                for (int i = 1; i <= 2; i++)
                {
                    image.AsSpan(at + array, 2).CopyTo(image.AsSpan(at + (512 * i) - 2));
                }
            }
        }
    }

    [Fact]
    public void A_damaged_volume_gives_data_or_a_fault()
    {
        byte[] image = Everything(_scratch);
        (SortedSet<string> lines, IReadOnlyList<CoverageGap> gaps) = NtfsImage.List(new MemorySource(image));
        Assert.Empty(gaps);
        Assert.Contains(lines, l => l.StartsWith("wl\t", StringComparison.Ordinal));
        Assert.DoesNotContain(lines, l => l.Contains("error", StringComparison.Ordinal) || l.Contains("fault", StringComparison.Ordinal));
        using (var source = new MemorySource(image))
        {
            Assert.Contains(NtfsImage.Files(source, out _), f => f is NtfsFile { Layout: StreamLayout { CompressionUnitShift: > 0 } });
        }

        var regions = new List<(long, long)> { (0, 512) };
        for (int at = 0; at < image.Length; at += 512)
        {
            if (image.AsSpan(at, 4).SequenceEqual("FILE"u8) && (image[at + 0x16] & 1) != 0)
            {
                int used = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(at + 0x18));
                regions.Add((at, Math.Clamp(used, 64, 1024)));
            }
        }

        Mutations.Check(image, ReadAll, regions, repair: Seal, budgetBytes: 16 << 20);
    }
}
