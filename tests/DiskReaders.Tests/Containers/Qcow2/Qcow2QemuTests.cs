using System.Text.Json;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Qcow2;

/// <summary>Images that qemu-img and qemu-io make, compared with what qemu-img reads from them and says of their extents.</summary>
public sealed class Qcow2QemuTests
{
    private const string Writes =
        """
        qemu-io -f qcow2 -c 'write -P 0x11 0 64k' -c 'write -P 0x22 1023k 3k' -c 'write -P 0x33 20M 5M' -c 'write -P 0x44 41M 512' \
            -c 'write -z 21M 1M' -c 'discard 22M 1M' -c 'write -z 30M 2M' -c 'write -P 0x55 47M 900k' -c 'write -zu 24M 64k' d.qcow2 > /dev/null
        """;

    [Theory]
    [InlineData("compat=0.10", "qcow2/v2")]
    [InlineData("compat=1.1", "qcow2/v3")]
    [InlineData("cluster_size=512", "qcow2/v3")]
    [InlineData("compat=0.10,cluster_size=1k", "qcow2/v2")]
    [InlineData("cluster_size=4k", "qcow2/v3")]
    [InlineData("cluster_size=2M", "qcow2/v3")]
    [InlineData("extended_l2=on,cluster_size=16k", "qcow2/v3")]
    [InlineData("extended_l2=on,cluster_size=128k", "qcow2/v3")]
    [InlineData("extended_l2=on,cluster_size=2M", "qcow2/v3")]
    [InlineData("preallocation=metadata", "qcow2/v3")]
    [InlineData("lazy_refcounts=on,refcount_bits=64", "qcow2/v3")]
    [InlineData("data_file=data.raw", "qcow2/v3")]
    [InlineData("data_file=data.raw,data_file_raw=on", "qcow2/v3")]
    public void Content_and_extents_equal_those_of_qemu(string options, string format)
    {
        using var scratch = new Scratch();
        Tool.Shell($"qemu-img create -q -f qcow2 -o {options} d.qcow2 48M\n{Writes}", scratch.Folder);
        // Of a raw data file qemu-img map calls holes of the file data, too.
        AssertEqualsQemu(scratch, "d.qcow2", format, compareMap: !options.Contains("data_file_raw", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("compat=0.10", 64 << 10)]
    [InlineData("compat=1.1", 64 << 10)]
    [InlineData("cluster_size=512", 512)]
    [InlineData("cluster_size=2M", 2 << 20)]
    [InlineData("extended_l2=on,cluster_size=32k", 32 << 10)]
    [InlineData("compression_type=zstd", 64 << 10)]
    [InlineData("compression_type=zstd,cluster_size=4k", 4 << 10)]
    [InlineData("compression_type=zstd,cluster_size=2M", 2 << 20)]
    public void Compressed_clusters_equal_those_of_qemu(string options, int cluster)
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["in.raw"], Compressible((9 << 20) + 512));
        Tool.Shell(
            $"""
            qemu-img convert -c -f raw -O qcow2 -o {options} in.raw d.qcow2
            qemu-io -f qcow2 -c 'write -P 0x77 3M 100k' -c 'write -z 5M 64k' d.qcow2 > /dev/null
            """,
            scratch.Folder);
        AssertEqualsQemu(scratch, "d.qcow2", options == "compat=0.10" ? "qcow2/v2" : "qcow2/v3");
        int packed = 0;
        Qcow2.InFolder(scratch.Folder, "d.qcow2", disk =>
        {
            for (long at = 0; at < disk.Content.Length; at += cluster)
            {
                packed += disk.Content.Locate(at, Math.Min(cluster, disk.Content.Length - at)).Kind == ExtentKind.Packed ? 1 : 0;
            }
        });
        Assert.True(packed > 1);
    }

    [Theory]
    [InlineData("qcow2", "")]
    [InlineData("qcow2", "-o extended_l2=on")]
    [InlineData("raw", "")]
    [InlineData("vmdk", "")]
    [InlineData("vhdx", "-o block_size=1M")]
    public void A_chain_of_three_over_a_base_of_any_format_equals_that_of_qemu(string baseFormat, string options)
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["in.raw"], Compressible(8 << 20));
        Tool.Shell(
            $"""
            qemu-img convert -f raw -O {baseFormat} {options} in.raw base
            qemu-img create -q -f qcow2 -b base -F {baseFormat} middle.qcow2 10M
            qemu-io -f qcow2 -c 'write -P 1 1M 1M' -c 'write -z 4M 300k' -c 'write -P 2 7900k 600k' middle.qcow2 > /dev/null
            qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=32k -b middle.qcow2 -F qcow2 d.qcow2 12M
            qemu-io -f qcow2 -c 'write -P 3 1500k 5k' -c 'write -z 2M 7k' -c 'discard 3M 64k' -c 'write -P 4 11M 10k' d.qcow2 > /dev/null
            """,
            scratch.Folder);
        AssertEqualsQemu(scratch, "d.qcow2", "qcow2/v3", compareMap: baseFormat is "qcow2" or "raw");
        Qcow2.InFolder(scratch.Folder, "d.qcow2", disk =>
        {
            Assert.Equal(["d.qcow2", "middle.qcow2", "base"], disk.Chain.Select(l => l.Path));
            Assert.Equal(12 << 20, disk.Content.Length);
        });
    }

    [Fact]
    public void A_base_declared_raw_is_not_probed()
    {
        // CVE-2008-1945 and its kin: a guest that writes a header into a raw disk must not choose what the host opens.
        using var scratch = new Scratch();
        Tool.Shell(
            """
            echo secret > secret
            qemu-img create -q -f qcow2 -u -b secret -F raw base 1M
            truncate -s 256K base
            qemu-img create -q -f qcow2 -b base -F raw d.qcow2
            """,
            scratch.Folder);
        Qcow2.InFolder(scratch.Folder, "d.qcow2", disk =>
        {
            Assert.Equal(File.ReadAllBytes(scratch["base"]), disk.Content.ReadAll());
            Assert.Equal(["qcow2/v3", "raw"], disk.Chain.Select(l => l.Format));
        });
    }

    [Fact]
    public void The_active_disk_is_read_where_there_are_internal_snapshots()
    {
        using var scratch = new Scratch();
        Tool.Shell($"qemu-img create -q -f qcow2 d.qcow2 48M\n{Writes}\nqemu-img snapshot -c one d.qcow2\nqemu-io -c 'write -P 9 0 1M' d.qcow2 > /dev/null", scratch.Folder);
        AssertEqualsQemu(scratch, "d.qcow2", "qcow2/v3");
    }

    [Fact]
    public void Any_slicing_of_reads_equals_one_read()
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["in.raw"], Compressible(2 << 20));
        Tool.Shell(
            """
            qemu-img convert -c -f raw -O qcow2 -o cluster_size=4k,compression_type=zstd in.raw base.qcow2
            qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=16k -b base.qcow2 -F qcow2 d.qcow2
            qemu-io -c 'write -P 3 1500k 5k' -c 'write -z 1M 7k' -c 'write -P 4 100k 100k' d.qcow2 > /dev/null
            qemu-img convert -O raw d.qcow2 out.raw
            """,
            scratch.Folder);
        byte[] expected = File.ReadAllBytes(scratch["out.raw"]);
        Qcow2.InFolder(scratch.Folder, "d.qcow2", disk => Parallel.For(0, 4, seed =>
        {
            var random = new Random(seed);
            byte[] buffer = new byte[70_000];
            for (int i = 0; i < 2000; i++)
            {
                int at = random.Next(expected.Length);
                Span<byte> part = buffer.AsSpan(0, Math.Min(random.Next(1, 1 << random.Next(1, 16)), expected.Length - at));
                disk.Content.Read(at, part);
                Assert.True(part.SequenceEqual(expected.AsSpan(at, part.Length)), $"other bytes at {at}");
            }
        }));
    }

    /// <summary>Half noise, half text, with holes: some clusters pack well, some not at all.</summary>
    internal static byte[] Compressible(int length)
    {
        byte[] bytes = new byte[length];
        var random = new Random(7);
        for (int at = 0; at < length; at += 10_000)
        {
            Span<byte> part = bytes.AsSpan(at, Math.Min(10_000, length - at));
            switch (random.Next(4))
            {
                case 0:
                    random.NextBytes(part[..(part.Length / 3)]);
                    break;
                case 1:
                    break;
                default:
                    for (int i = 0; i < part.Length; i++)
                    {
                        part[i] = (byte)("the quick brown fox"[i % 19] + (i / 500));
                    }

                    break;
            }
        }

        return bytes;
    }

    private static void AssertEqualsQemu(Scratch scratch, string name, string format, bool compareMap = true)
    {
        Tool.Shell($"qemu-img convert -f qcow2 -O raw {name} expected", scratch.Folder);
        using JsonDocument map = JsonDocument.Parse(Tool.Shell($"qemu-img map -f qcow2 --output=json {name}", scratch.Folder));
        IReadOnlyList<CoverageGap> gaps = Qcow2.InFolder(scratch.Folder, name, disk =>
        {
            Assert.Equal(format, disk.Format);
            Assert.Equal(Content.Sha256OfFile(scratch["expected"]), disk.Content.Sha256(step: 1_000_003));
            if (compareMap)
            {
                AssertMap(map, disk);
            }
        });
        Assert.Empty(gaps);
    }

    /// <summary>Where qemu-img map says data, this stores something, at the same place of the file; all else reads as zeros.</summary>
    private static void AssertMap(JsonDocument map, VirtualDisk disk)
    {
        foreach (JsonElement range in map.RootElement.EnumerateArray())
        {
            long at = range.GetProperty("start").GetInt64();
            long end = Math.Min(disk.Content.Length, at + range.GetProperty("length").GetInt64());
            bool data = range.GetProperty("data").GetBoolean() && !range.GetProperty("zero").GetBoolean();
            long place = range.TryGetProperty("offset", out JsonElement offset) ? offset.GetInt64() : -1;
            while (at < end)
            {
                StoredExtent extent = disk.Content.Locate(at, end - at);
                if (data)
                {
                    Assert.True(extent.IsStored, $"qemu has data at {at}");
                    if (extent.Kind == ExtentKind.Data && place >= 0)
                    {
                        Assert.Equal(place, extent.Position);
                    }
                }
                else if (extent.IsStored)
                {
                    byte[] bytes = new byte[extent.Length];
                    disk.Content.Read(at, bytes);
                    Assert.True(!bytes.AsSpan().ContainsAnyExcept((byte)0), $"qemu has zeros at {at}");
                }

                at += extent.Length;
                place += place >= 0 ? extent.Length : 0;
            }
        }
    }
}
