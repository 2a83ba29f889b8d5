using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Tests.FileSystems.Ext;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.DiskReaders.Volumes.Lvm2;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Volumes.Lvm2;

/// <summary>Physical volumes that others made.</summary>
public sealed class LvmCorpusTests
{
    [Fact]
    public void A_volume_of_the_corpus_equals_its_listing()
    {
        string corpus = Environment.GetEnvironmentVariable("VMSWEEP_CORPUS") is { Length: > 0 } set ? set : Path.Combine(LvmImages.Folder, "../../../../../../shared/corpus");
        string packed = Path.Combine(corpus, "images/dv-lvmqcow2/lvm.qcow2.xz");
        Assert.SkipUnless(File.Exists(packed), $"no corpus at {corpus}; set VMSWEEP_CORPUS");
        using var scratch = new Scratch();
        Tool.Shell($"xz -dc '{packed}' > lvm.qcow2 && qemu-img convert -O raw lvm.qcow2 raw", scratch.Folder);
        using var disk = new FileSource(scratch["raw"]);
        var gaps = new GapList();
        var budget = new ScanBudget(64 << 20);
        var format = new Lvm2Format();
        Assert.True(format.Probe(disk));
        VolumeAssembly all = format.Assemble([new VolumeMember("lvm.qcow2", disk, 512)], new ReadContext(budget, gaps));
        using AssembledVolume volume = all.Volumes.Single(v => v.Content is { Length: > 0 });
        IEnumerable<string> ours = ExtListing.Ours(volume.Content!, gaps, out _).Where(l => l.StartsWith("F ", StringComparison.Ordinal)).Select(l => string.Join(' ', l.Split(' ').Skip(1).Take(2)));
        IEnumerable<string> listed = File.ReadLines(Path.Combine(corpus, "listings/dv-lvmqcow2.tsv")).Select(l => l.Split('\t')).Select(f => f[1] + " " + f[2]);
        Assert.Equal(listed.Order(StringComparer.Ordinal), ours.Order(StringComparer.Ordinal));
        Assert.Empty(gaps.ToList());
    }
}
