using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.GuestMemory;
using Vmsweep.DiskReaders.GuestMemory.Systems;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.GuestMemory;

/// <summary>Against a real guest: QEMU's own dumps of it, in every way it writes them.</summary>
[Trait("Category", "Slow")]
public sealed class QemuGuestTests
{
    // Between them lie ROMs, which a core shows as the processor sees them and a stream as the memory behind.
    private const long RomsFrom = 0xA0000;
    private const long RomsTo = 0x100000;
    private const long MemoryEnd = MemoryGuest.MemoryMiB << 20;

    [Fact]
    public void A_text_in_a_process_memory_is_located_to_the_process()
    {
        using var core = new MemoryReading(MemoryGuest.Instance.Core);
        Assert.Equal("elf-core", core.Image.Format);
        Assert.Empty(core.Gaps.ToList());
        AssertLocated(core);
        Assert.NotEmpty(core.Image.PageTables);
    }

    [Fact]
    public void A_live_stream_in_several_rounds_with_changed_pages_equals_the_core()
    {
        MemoryGuest guest = MemoryGuest.Instance;
        Assert.True(guest.LiveRounds >= 3, $"{guest.LiveRounds} rounds");
        Assert.True(guest.DeltaPages > 0, "no page came as a change");
        using var core = new MemoryReading(guest.LiveCore);
        using var stream = new MemoryReading(guest.LiveStream);
        Assert.Empty(stream.Gaps.ToList());
        Assert.Equal([new MemoryRun(0, MemoryEnd)], stream.Image.Runs);
        byte[] expected = new byte[4096];
        byte[] actual = new byte[4096];
        int changed = 0;
        List<string> differences = [];
        for (long at = 0; at < MemoryEnd; at += 4096)
        {
            core.Image.Physical.Read(at, expected);
            stream.Image.Physical.Read(at, actual);
            changed += stream.Image.Physical.Locate(at, 4096) is { Kind: ExtentKind.Packed } ? 1 : 0;
            if (at is < RomsFrom or >= RomsTo && !expected.AsSpan().SequenceEqual(actual))
            {
                differences.Add($"0x{at:x}");
            }
        }

        Assert.True(differences.Count == 0, $"{differences.Count} pages: {string.Join(", ", differences.Take(20))}");
        Assert.True(changed > 0, "no page was last sent as a change");
        AssertLocated(stream);
    }

    [Theory]
    [InlineData("cat")]
    [InlineData("gzip")]
    [InlineData("bzip2")]
    [InlineData("xz", "-3")]
    [InlineData("xz", "-1", "--block-size=1MiB", "--check=crc32")]
    [InlineData("lzop")]
    [InlineData("zstd")]
    public void A_stream_packed_by_any_program_equals_the_core(string program, params string[] options) =>
        AssertEqualsCore(
            program == "cat" ? MemoryGuest.Instance.Stream : MemoryGuest.Instance.PackedStream(program, options),
            program == "cat" ? "qemu" : "qemu/" + program);

    private static void AssertEqualsCore(string path, string format)
    {
        using var core = new MemoryReading(MemoryGuest.Instance.Core);
        using var stream = new MemoryReading(path);
        Assert.Equal(format, stream.Image.Format);
        Assert.Empty(stream.Gaps.ToList());
        Assert.Equal([new MemoryRun(0, MemoryEnd)], stream.Image.Runs);
        Assert.Equal(core.Sha256(0, RomsFrom), stream.Sha256(0, RomsFrom));
        Assert.Equal(core.Sha256(RomsTo, MemoryEnd), stream.Sha256(RomsTo, MemoryEnd));
        Assert.Contains(stream.Image.Areas, a => a.Name == "pc.bios");
        AssertLocated(stream);
    }

    private static void AssertLocated(MemoryReading memory)
    {
        List<long> planted = memory.Find(Encoding.ASCII.GetBytes(MemoryGuest.Planted));
        Assert.NotEmpty(planted);
        GuestSystem system = Assert.IsType<GuestSystem>(GuestSystem.Find(memory.Image, memory.Context));
        Assert.Equal("linux", system.Kind);
        Assert.StartsWith("Linux version 6.", system.Version, StringComparison.Ordinal);
        Assert.Contains(new GuestProcess("init", 1), system.Processes);
        var mapped = system.Locate(planted.Select(p => p & ~0xFFFL));
        Assert.Contains(mapped.Values.SelectMany(m => m), m => m.Process == new GuestProcess("holder", MemoryGuest.Instance.HolderPid) && !m.IsKernel && m.Address < 0x8000_0000_0000);
    }
}
