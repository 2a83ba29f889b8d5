using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Raw;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers;

public sealed class RawFormatTests
{
    private readonly RawFormat _raw = new();
    private readonly ReadContext _context = new(new ScanBudget(1 << 20), new GapList());

    [Fact]
    public void A_raw_disk_is_its_file_whatever_it_looks_like()
    {
        byte[] bytes = [.. "KDMV"u8, .. Enumerable.Range(0, 1000).Select(i => (byte)i)];
        using var source = new MemorySource(bytes);
        var file = new ImageFile("disk.img", 5, source);
        Assert.False(_raw.Probe(file));
        Assert.Empty(_raw.References(file));
        using VirtualDisk disk = _raw.Open(file, new FolderChain(new Dictionary<string, byte[]>(), [], _context), _context);
        Assert.Equal("raw", disk.Format);
        Assert.Equal([new ChainLink("disk.img", "raw")], disk.Chain);
        Assert.Equal(bytes, disk.Content.ReadAll());
    }

    [Fact]
    public void An_empty_file_is_no_disk()
    {
        using var source = new MemorySource(ReadOnlyMemory<byte>.Empty);
        Assert.Equal(
            Fault.Truncated,
            Assert.Throws<DiskFormatException>(() => _raw.Open(new ImageFile("x", 1, source), new FolderChain(new Dictionary<string, byte[]>(), [], _context), _context)).Fault);
    }
}
