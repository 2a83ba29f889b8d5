using System.Text;
using Vmsweep.DiskReaders.GuestMemory;
using Vmsweep.DiskReaders.GuestMemory.Systems;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.GuestMemory;

/// <summary>Save images by a real libvirt, in every way its version packs them, against its own ELF core of the same moment.</summary>
[Trait("Category", "Slow")]
public sealed class LibvirtGuestTests
{
    private const long RomsFrom = 0xA0000;
    private const long RomsTo = 0x100000;
    private const long MemoryEnd = MemoryGuest.MemoryMiB << 20;

    private static readonly byte[] Planted = Encoding.ASCII.GetBytes(MemoryGuest.Planted);

    private static readonly Lazy<(string Sha256, IReadOnlyList<long> Found)> OfCore = new(() =>
    {
        using var core = new MemoryReading(LibvirtSaves.Instance.Core);
        return core.SumAndFind(MemoryEnd, RomsFrom, RomsTo, Planted);
    });

    public static TheoryData<string> Formats() => [.. LibvirtSaves.Formats];

    [Theory]
    [MemberData(nameof(Formats))]
    public void A_save_image_equals_the_core(string format)
    {
        using var save = new MemoryReading(LibvirtSaves.Instance.Of(format));
        Assert.Equal("libvirt-save/" + format, save.Image.Format);
        Assert.Empty(save.Gaps.ToList());
        Assert.Equal([new MemoryRun(0, MemoryEnd)], save.Image.Runs);
        (string sha256, IReadOnlyList<long> planted) = save.SumAndFind(MemoryEnd, RomsFrom, RomsTo, Planted);
        Assert.Equal(OfCore.Value.Sha256, sha256);
        Assert.NotEmpty(planted);
        Assert.Equal(OfCore.Value.Found, planted);
        if (format is "bzip2" or "xz")
        {
            // The same bytes name the same processes; to look for them costs as much again as to unpack all.
            using var core = new MemoryReading(LibvirtSaves.Instance.Core);
            save.AssertPagesEqual(core, RomsTo, MemoryEnd);
            return;
        }

        GuestSystem system = Assert.IsType<GuestSystem>(GuestSystem.Find(save.Image, save.Context));
        Assert.Contains(system.Locate(planted.Select(p => p & ~0xFFFL)).Values.SelectMany(m => m), m => m.Process.Name == "holder" && !m.IsKernel);
    }
}
