using System.Text.Json;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Vmdk;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers;

/// <summary>VMDK images that qemu-img and qemu-io write, against what qemu-img reads from them.</summary>
public sealed class VmdkQemuTests
{
    private static readonly IContainerFormat[] Formats = [new VmdkFormat()];

    /// <summary>Data, zeros written over data, holes between, and an end that is not a whole grain.</summary>
    private const string Writes =
        """-c "write -P 0x11 0 64k" -c "write -P 0x22 100k 700k" -c "write -P 0x33 5M 3M" -c "write -z 5500k 192k" -c "write -P 0x44 40M 1000k" -c "write -P 0x55 47999k 1k" """;

    [Theory]
    [InlineData("monolithicSparse", "off")]
    [InlineData("monolithicSparse", "on")]
    [InlineData("monolithicFlat", "off")]
    [InlineData("twoGbMaxExtentSparse", "off")]
    [InlineData("twoGbMaxExtentSparse", "on")]
    [InlineData("twoGbMaxExtentFlat", "off")]
    public void Content_and_extents_equal_those_of_qemu_img(string subformat, string zeroedGrain)
    {
        using var scratch = new Scratch();
        Tool.Shell($"qemu-img create -q -f vmdk -o subformat={subformat},zeroed_grain={zeroedGrain} disk.vmdk 48000k; qemu-io -f vmdk {Writes} disk.vmdk", scratch.Folder);
        SameAsQemu(scratch, "disk.vmdk", $"vmdk/{subformat}");
    }

    [Theory]
    [InlineData("48000k")]
    [InlineData("47999k")]
    [InlineData("40001k")]
    public void A_stream_optimized_disk_reads_as_qemu_img_reads_it(string size)
    {
        using var scratch = new Scratch();
        Tool.Shell(
            $$"""
            qemu-img create -q -f raw disk.raw {{size}}
            qemu-io -f raw -c "write -P 0x11 0 64k" -c "write -P 0x22 100k 700k" -c "write -P 0x44 38M 1000k" disk.raw
            head -c 3000000 /dev/urandom | dd of=disk.raw bs=64k oflag=seek_bytes seek=2000000 conv=notrunc status=none
            seq 1 300000 | dd of=disk.raw bs=64k seek=100 conv=notrunc status=none
            qemu-img convert -f raw -O vmdk -o subformat=streamOptimized disk.raw disk.vmdk
            """,
            scratch.Folder);
        SameAsQemu(scratch, "disk.vmdk", "vmdk/streamOptimized", packed: true);
    }

    [Theory]
    [InlineData("monolithicSparse")]
    [InlineData("twoGbMaxExtentSparse")]
    public void A_chain_of_three_reads_as_qemu_img_reads_it(string subformat)
    {
        using var scratch = new Scratch();
        Tool.Shell(
            $$"""
            qemu-img create -q -f vmdk -o subformat={{subformat}} base.vmdk 30M
            qemu-io -f vmdk {{Writes.Replace("40M", "20M", StringComparison.Ordinal).Replace("47999k", "29999k", StringComparison.Ordinal)}} base.vmdk
            qemu-img create -q -f vmdk -o subformat=monolithicSparse,zeroed_grain=on -b base.vmdk -F vmdk middle.vmdk
            qemu-io -f vmdk -c "write -P 0x66 1M 300k" -c "write -z 6M 512k" middle.vmdk
            qemu-img create -q -f vmdk -o subformat=monolithicSparse -b middle.vmdk -F vmdk leaf.vmdk
            qemu-io -f vmdk -c "write -P 0x77 1100k 4k" -c "write -P 0x88 25M 1M" leaf.vmdk
            """,
            scratch.Folder);
        SameAsQemu(scratch, "leaf.vmdk", "vmdk/monolithicSparse", chain: ["leaf.vmdk", "middle.vmdk", "base.vmdk"]);
    }

    [Theory]
    [InlineData("twoGbMaxExtentSparse", 3)]
    [InlineData("twoGbMaxExtentFlat", 3)]
    public void A_disk_of_several_two_gigabyte_extents_is_joined(string subformat, int extents)
    {
        using var scratch = new Scratch();
        Tool.Shell(
            $$"""
            qemu-img create -q -f vmdk -o subformat={{subformat}} disk.vmdk 5G
            qemu-io -f vmdk -c "write -P 0x11 2097088k 128k" -c "write -P 0x22 4095M 2M" -c "write -P 0x33 5242816k 64k" disk.vmdk
            """,
            scratch.Folder);
        using Opened disk = Open(scratch, "disk.vmdk");
        Assert.Equal(5L << 30, disk.Content.Length);
        Assert.Equal(extents, disk.Chain.Asked.Count);
        foreach ((long at, int length, byte value) in new[] { (2097088L << 10, 128 << 10, (byte)0x11), (4095L << 20, 2 << 20, (byte)0x22), (5242816L << 10, 64 << 10, (byte)0x33) })
        {
            byte[] bytes = new byte[length];
            disk.Content.Read(at, bytes);
            Assert.True(!bytes.AsSpan().ContainsAnyExcept(value));
        }

        if (subformat == "twoGbMaxExtentSparse")
        {
            SameExtents(scratch, "disk.vmdk", disk.Content, packed: false);
        }
    }

    [Fact]
    public void A_sparse_disk_of_62_terabytes_opens_at_once_and_in_little_memory()
    {
        using var scratch = new Scratch();
        Tool.Shell("qemu-img create -q -f vmdk disk.vmdk 62T; qemu-io -f vmdk -c 'write -P 0x42 61T 64k' disk.vmdk", scratch.Folder);
        long allocated = GC.GetAllocatedBytesForCurrentThread();
        long started = System.Diagnostics.Stopwatch.GetTimestamp();
        using Opened disk = Open(scratch, "disk.vmdk");
        byte[] bytes = new byte[64 << 10];
        disk.Content.Read(61L << 40, bytes);
        Assert.True(!bytes.AsSpan().ContainsAnyExcept((byte)0x42));
        disk.Content.Read(0, bytes);
        Assert.True(!bytes.AsSpan().ContainsAnyExcept((byte)0));
        Assert.Equal(61L << 40, disk.Content.HoleLength(0, long.MaxValue));

        // Less than a second on an idle machine.
        Assert.InRange(System.Diagnostics.Stopwatch.GetElapsedTime(started).TotalSeconds, 0, 20);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - allocated, 0, 4 << 20);
    }

    [Fact]
    public void A_parent_that_changed_since_is_refused_with_both_identities()
    {
        using var scratch = new Scratch();
        Tool.Shell(
            """
            qemu-img create -q -f vmdk base.vmdk 4M
            qemu-img create -q -f vmdk -b base.vmdk -F vmdk leaf.vmdk
            sed -i 's/^CID=.*/CID=0badcafe/' base.vmdk
            """,
            scratch.Folder);
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => Open(scratch, "leaf.vmdk"));
        Assert.Equal(Fault.MissingParent, e.Fault);
        Assert.Contains("0badcafe", e.Detail, StringComparison.Ordinal);
        Assert.Matches("parentCID is [0-9a-f]{8}", e.Detail);
    }

    private static Opened Open(Scratch scratch, string name)
    {
        var opened = new Opened(scratch.Folder);
        try
        {
            opened.Disk = opened.Chain.Open(name);
            return opened;
        }
        catch
        {
            opened.Dispose();
            throw;
        }
    }

    private static void SameAsQemu(Scratch scratch, string name, string format, bool packed = false, string[]? chain = null)
    {
        Tool.Run("qemu-img", "convert", "-O", "raw", scratch[name], scratch["expected.raw"]);
        using Opened disk = Open(scratch, name);
        Assert.Equal(format, disk.Disk!.Format);
        Assert.Equal(chain ?? [name], disk.Disk.Chain.Select(c => c.Path));
        Assert.Equal(new FileInfo(scratch["expected.raw"]).Length, disk.Content.Length);
        string expected = Content.Sha256OfFile(scratch["expected.raw"]);
        foreach (int step in new[] { 1 << 20, 70_001, 4096 })
        {
            Assert.Equal(expected, disk.Content.Sha256(step: step));
        }

        if (!format.EndsWith("Flat", StringComparison.Ordinal))
        {
            SameExtents(scratch, name, disk.Content, packed);
        }

        Assert.Empty(disk.Gaps.ToList());
    }

    /// <summary>Stored and not stored, range by range, and for plain data the position in the file.</summary>
    private static void SameExtents(Scratch scratch, string name, IBlockSource content, bool packed)
    {
        using var json = JsonDocument.Parse(Tool.Run("qemu-img", "map", "--output=json", scratch[name]));
        foreach (JsonElement range in json.RootElement.EnumerateArray())
        {
            long at = range.GetProperty("start").GetInt64();
            long end = at + range.GetProperty("length").GetInt64();
            bool data = range.GetProperty("data").GetBoolean();
            long? position = range.TryGetProperty("offset", out JsonElement offset) ? offset.GetInt64() : null;
            while (at < end)
            {
                StoredExtent extent = content.Locate(at, end - at);
                if (extent.IsStored != data)
                {
                    // A grain that the file system beneath keeps as a hole is data for qemu and nothing stored for us.
                    Assert.True(data && extent.Kind == ExtentKind.Hole, $"{at}: {extent} where qemu-img says data={data}");
                }
                else if (data && position is { } expected && !packed)
                {
                    Assert.Equal(expected + at - range.GetProperty("start").GetInt64(), extent.Position);
                }

                Assert.True(!packed || !data || extent.Kind == ExtentKind.Packed);
                at += extent.Length;
            }
        }
    }

    private sealed class Opened : IDisposable
    {
        private readonly ScanBudget _budget = new(64 << 20);

        public Opened(string folder)
        {
            Gaps = new GapList();
            Chain = new FolderChain(folder, Formats, new ReadContext(_budget, Gaps));
        }

        public FolderChain Chain { get; }

        public GapList Gaps { get; }

        public VirtualDisk? Disk { get; set; }

        public IBlockSource Content => Disk!.Content;

        public void Dispose()
        {
            Disk?.Dispose();
            Chain.Dispose();
            Assert.Equal(0, _budget.InUse);
        }
    }
}
