using System.Buffers.Binary;
using System.Diagnostics;
using System.Security.Cryptography;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Tests.Containers;
using Vmsweep.DiskReaders.Tests.Containers.Vhdx;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Hostile;

/// <summary>Images that are cut, empty, random, absurdly large, or of another format than they are called.</summary>
public sealed class HostileImageTests
{
    [Theory]
    [InlineData(".vmdk")]
    [InlineData(".vhdx")]
    [InlineData(".raw")]
    [InlineData(".img")]
    [InlineData(".qcow2")]
    [InlineData(".vhd")]
    [InlineData(".iso")]
    public void An_empty_or_random_file_is_a_gap(string extension)
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["empty" + extension], []);
        byte[] noise = new byte[100_000];
        new Random(1).NextBytes(noise);
        File.WriteAllBytes(scratch["random" + extension], noise);
        File.WriteAllBytes(scratch["tiny" + extension], [1, 2, 3]);
        ScanResult result = HostileScan.Folder(scratch);
        foreach (string name in (string[])["empty", "random", "tiny"])
        {
            Assert.Contains(result.Report.Targets, t => t.Target.Contains(name, StringComparison.Ordinal) && t.Gaps.Count > 0);
        }

        Assert.All(result.Gaps, g => Assert.DoesNotContain("unexpectedly", g.Detail, StringComparison.Ordinal));
        Assert.Equal(3, result.Status);
    }

    public static TheoryData<string> Kinds() => ["sparse.vmdk", "stream.vmdk", "dynamic.vhdx", "fixed.vhdx", "table.raw", "ntfs.raw", "ext.raw", "fat.raw"];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_cut_image_is_a_gap_wherever_it_is_cut(string kind)
    {
        using var scratch = new Scratch();
        byte[] whole = Whole(kind);
        HostileScan.AddSound(scratch);
        foreach (double share in (double[])[0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
        {
            string path = scratch[kind];
            File.WriteAllBytes(path, whole[..(int)(whole.Length * share)]);
            ScanResult result = HostileScan.Targets(path);
            Assert.True(result.Gaps.Count > 0, $"{kind} cut at {share} is without a gap: {result.Text}");
            Assert.Equal(3, result.Status);
            Assert.All(result.Gaps, g => Assert.DoesNotContain("unexpectedly", g.Detail, StringComparison.Ordinal));
        }
    }

    private static byte[] Whole(string kind)
    {
        using var scratch = new Scratch();
        Tool.Shell($$"""
            PATH=$PATH:/usr/sbin:/sbin
            mkdir t; head -c 1900000 /dev/urandom > t/a; head -c 2050000 /dev/urandom > t/b
            ext() { mke2fs -q -F -t ext4 -O ^has_journal -b 1024 -N 16 -d t $1 4096k 2>/dev/null; }
            case {{kind}} in
            sparse.vmdk) ext r; qemu-img convert -O vmdk -o subformat=monolithicSparse r out;;
            stream.vmdk) ext r; qemu-img convert -O vmdk -o subformat=streamOptimized r out;;
            dynamic.vhdx) ext r; qemu-img convert -O vhdx -o block_size=1M r out;;
            fixed.vhdx) ext r; qemu-img convert -O vhdx -o subformat=fixed,block_size=1M r out;;
            table.raw) ext r; truncate -s 5M out; printf 'label: gpt\nfirst-lba: 34\nstart=64,size=8192\n' | sfdisk -q --force out >/dev/null 2>&1; dd if=r of=out bs=512 seek=64 conv=notrunc status=none;;
            ext.raw) ext out;;
            ntfs.raw) truncate -s 8M out; mkntfs -q -F -f out >/dev/null 2>&1; ntfscp -f out t/a a; ntfscp -f out t/b b;;
            fat.raw) truncate -s 4300K out; mkfs.fat out >/dev/null; mcopy -i out t/a t/b ::;;
            esac
            """, scratch.Folder);
        return File.ReadAllBytes(scratch["out"]);
    }

    [Theory]
    [InlineData("vmdk/sparse")]
    [InlineData("vmdk/descriptor")]
    [InlineData("vhdx")]
    [InlineData("qcow2")]
    [InlineData("vdi")]
    [InlineData("vhd")]
    [InlineData("parallels")]
    [InlineData("vma")]
    [InlineData("luks")]
    public void Another_formats_header_in_a_declared_raw_disk_is_a_finding_and_the_disk_is_read_raw(string inside)
    {
        // CVE-2010-3851, CVE-2024-40767: whoever probes such a disk opens what its header names.
        using var scratch = new Scratch();
        byte[] image = new byte[256 << 10];
        byte[] head = inside switch
        {
            "vmdk/sparse" => VmdkImages.Hosted([Grain.Data(1)], VmdkImages.Descriptor("monolithicSparse", "RW 16 SPARSE \"/etc/shadow\"")),
            "vmdk/descriptor" => VmdkImages.Text(VmdkImages.Descriptor("monolithicFlat", "RW 16 FLAT \"/etc/shadow\" 0")),
            "vhdx" => new VhdxWriter().Build()[..image.Length],
            "qcow2" => [.. "QFI\xFB"u8[..3], 0xFB, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 11, 0, 0, 0, 16, 0, 0, 0, 0, 0, 1, 0, 0],
            "vdi" => [.. "<<< Oracle VM VirtualBox Disk Image >>>\n"u8, .. new byte[24], 0x7F, 0x10, 0xDA, 0xBE, 1, 0, 1, 0],
            "vhd" => "conectix"u8.ToArray(),
            "parallels" => [.. "WithouFreSpacExt"u8, 2, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 8, 0, 0, 1, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0],
            "vma" => [.. "VMA\0"u8, 0, 0, 0, 1, .. new byte[16]],
            _ => [.. "LUKS\xBA\xBE"u8[..4], 0xBA, 0xBE, 0, 2],
        };
        head.CopyTo(image, 0);
        string path = scratch["disk.raw"];
        File.WriteAllBytes(path, image);
        ScanResult result = HostileScan.Folder(scratch);

        if (inside != "luks")
        {
            Assert.Equal("HostileImage_FormatDisagrees", Assert.Single(result.Findings).Rule);
            Assert.Equal(1, result.Status);
        }

        TargetReport target = result.Report.Targets.Single(t => t.Target == path);
        Assert.Equal("raw", Assert.Single(target.Disks).Format);
        Assert.Single(target.Disks[0].Chain);
        Assert.NotEmpty(target.Gaps);
        Assert.Single(InProcess.Disk(path).Plan.Files);
        using var read = new MemoryStream();
        new InProcessWorker().Run(
            new ReadJob(0, -1) { Limits = InProcess.Limits, Disks = InProcess.Plans(path) }, [], _ => { }, read.Write, TestContext.Current.CancellationToken);
        Assert.Equal(SHA256.HashData(image), SHA256.HashData(read.ToArray()));
    }

    [Theory]
    [InlineData(9_223_372_036_854_775_807)]
    [InlineData(9_223_372_036_854_775_296)]
    [InlineData(4_611_686_018_427_387_904)]
    public void A_raw_disk_of_exbibytes_is_looked_at_in_no_time(long bytes)
    {
        string folder = Directory.Exists("/dev/shm") ? Directory.CreateDirectory($"/dev/shm/vmsweep-test-{Guid.NewGuid():N}").FullName : throw new InvalidOperationException("there is no tmpfs at /dev/shm, which holds files of 8 EiB");
        try
        {
            string path = Path.Combine(folder, "huge.raw");
            Tool.Run("truncate", "-s", bytes.ToString(System.Globalization.CultureInfo.InvariantCulture), path);
            AssertQuick(() => Assert.Equal("empty", Assert.Single(HostileScan.Targets(path).Report.Targets[0].Disks[0].Volumes).FileSystem));

            Tool.Shell($"printf data | dd of={path} bs=1 seek=1000000 conv=notrunc status=none; printf far | dd of={path} bs=1 seek=4000000000000000000 conv=notrunc status=none");
            AssertQuick(() => Assert.Equal(3, HostileScan.Targets(path).Status));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Theory]
    [InlineData("RW 9223372036854775807 FLAT \"x.raw\" 0")]
    [InlineData("RW 18446744073709551615 FLAT \"x.raw\" 0")]
    [InlineData("RW 99999999999999999999999999 ZERO")]
    [InlineData("RW 16 FLAT \"x.raw\" 9223372036854775807")]
    [InlineData("RW 2199023255552 ZERO\nRW 2199023255552 ZERO\nRW 2199023255552 ZERO")]
    [InlineData("RW 2199023255552 FLAT \"x.raw\" 0")]
    public void A_descriptor_of_absurd_sizes_is_quickly_a_gap(string extents)
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["x.raw"], new byte[8192]);
        File.WriteAllText(scratch["huge.vmdk"], VmdkImages.Descriptor("monolithicFlat", extents));
        AssertQuick(() => Assert.Contains(HostileScan.Folder(scratch).Gaps, g => (g.Path + g.Detail).Contains("vmdk", StringComparison.Ordinal) || g.Path.StartsWith('v')));
    }

    [Fact]
    public void A_descriptor_over_its_size_or_with_unknown_lines_is_refused()
    {
        using var scratch = new Scratch();
        string sound = VmdkImages.Descriptor("monolithicFlat", "RW 16 FLAT \"x.bin\" 0");
        File.WriteAllBytes(scratch["x.bin"], new byte[8192]);
        File.WriteAllText(scratch["large.vmdk"], sound + new string('#', 2 << 20));
        File.WriteAllText(scratch["unknown.vmdk"], sound + "what is this\n");
        ScanResult result = HostileScan.Folder(scratch);
        result.Gap("limit", "large.vmdk");
        result.Gap("corrupt", "unknown.vmdk");
    }

    [Theory]
    [InlineData(12)]
    [InlineData(20)]
    [InlineData(28)]
    public void A_footer_unlike_its_header_is_refused(int field)
    {
        using var scratch = new Scratch();
        byte[] image = VmdkImages.Stream([Grain.Data(1), Grain.Data(2)], VmdkImages.Descriptor("streamOptimized", "RW 32 SPARSE \"s.vmdk\""));
        BinaryPrimitives.WriteInt64LittleEndian(image.AsSpan(image.Length - 1024 + field), 128);
        File.WriteAllBytes(scratch["s.vmdk"], image);
        GapReport gap = HostileScan.Folder(scratch).Gap("corrupt", "s.vmdk");
        Assert.Equal("footer", gap.Structure);
        Assert.InRange(gap.Offset, image.Length - 1024, image.Length - 512);
    }

    [Theory]
    [InlineData(long.MaxValue)]
    [InlineData(1L << 62)]
    [InlineData(-1L)]
    [InlineData(0L)]
    public void A_VHDX_of_absurd_size_is_a_gap(long bytes)
    {
        using var scratch = new Scratch();
        byte[] image = new VhdxWriter().Build();
        int at = image.AsSpan(VhdxWriter.ItemsAt).IndexOf(BitConverter.GetBytes(3L * VhdxWriter.Megabyte)) + VhdxWriter.ItemsAt;
        BinaryPrimitives.WriteInt64LittleEndian(image.AsSpan(at), bytes);
        File.WriteAllBytes(scratch["a.vhdx"], image);
        AssertQuick(() => Assert.Contains(HostileScan.Folder(scratch).Gaps, g => g.Path.EndsWith("a.vhdx", StringComparison.Ordinal) && g.Structure.Length > 0));
    }

    internal static void AssertQuick(Action action)
    {
        long started = Stopwatch.GetTimestamp();
        action();
        Assert.True(Stopwatch.GetElapsedTime(started) < TimeSpan.FromSeconds(30), $"took {Stopwatch.GetElapsedTime(started)}");
    }
}
