using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.Hostile;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Tests.Changes;

/// <summary>What is taken from a base by differencing disks of Hyper-V, Virtual PC and VirtualBox, and what by none whatever it claims.</summary>
[Trait("Category", "Slow")]
public sealed class DifferencingInheritanceTests
{
    private const string Leaf = "leaf";

    [Theory]
    [InlineData("vhdx", 21)]
    [InlineData("vhd", 22)]
    [InlineData("vdi", 23)]
    public void Whatever_is_in_the_differences_the_findings_are_those_of_a_whole_scan(string format, int seed)
    {
        string @base = DifferencingDisk.NameOf(format);
        using var clones = new LinkedClones(@base);
        var random = new Random(seed);
        clones.Scan(clones.Clone($"first.{format}", @base, "true"));
        string over = @base;
        for (int round = 0; round < 3; round++)
        {
            // The last lies over the one before, and that over the base.
            string name = round == 1 ? $"{{{Guid.NewGuid():D}}}.{format}" : $"{Leaf}{round}.{format}";
            clones.Clone(name, over, string.Join('\n', Enumerable.Range(0, 4).Select(_ => LinkedClones.Change(random))));
            Report report = clones.Scan(name, s => s with { RecheckShare = round == 1 ? 0.2 : 0 });
            Report alone = clones.Alone(name);
            Assert.Equal(LinkedClones.Said(alone), LinkedClones.Said(report));
            Assert.DoesNotContain(report.Targets[0].Gaps, g => g.Fault == Faults.Name(Fault.MissingParent));
            Assert.Equal(report.Totals.BytesSeen, report.Totals.BytesRead + report.Totals.BytesInherited);
            Assert.True(report.Totals is { BytesInherited: > 5 << 20, FilesInherited: > 0 } && (round == 1 || report.Totals.FilesInherited > 5), $"{report.Totals}");
            Assert.Contains(report.Targets[0].Findings, f => f.Inherited == true);
            over = round == 1 ? name : @base;
        }
    }

    [Theory]
    [InlineData("qcow2")]
    [InlineData("vmdk")]
    [InlineData("vhdx")]
    [InlineData("vhd")]
    [InlineData("vdi")]
    public void Nothing_is_taken_by_what_claims_another_parent_from_what_was_written_to_or_of_other_signatures(string format)
    {
        string @base = DifferencingDisk.NameOf(format);
        using var clones = new LinkedClones(@base);
        clones.Scan(clones.Clone($"first.{format}", @base, "true"));

        // One cluster in the middle of a file is the disk's own: that file is read, and only that.
        string name = $"{Leaf}.{format}";
        clones.Clone(name, @base, $$"""
            block=$(debugfs -R 'bmap /f5.bin 2' '{{LinkedClones.Ext}}' 2>/dev/null)
            size=$(dumpe2fs -h '{{LinkedClones.Ext}}' 2>/dev/null | sed -n 's/^Block size: *//p')
            printf {{HostileScan.Mark}} | dd of=work.raw bs=1 seek=$((1048576 + block * size + 100)) conv=notrunc status=none
            """);
        Report one = clones.Scan(name);
        Report alone = clones.Alone(name);
        Assert.Equal(LinkedClones.Said(alone), LinkedClones.Said(one));
        Assert.Contains(one.Targets[0].Findings, f => f is { Path: "v1/f5.bin", Inherited: null });
        Assert.Contains(one.Targets[0].Findings, f => f is { Path: "v1/f7.bin", Inherited: true });
        Assert.True(one.Totals.FilesInherited > 50, $"{one.Totals}");

        // The base was read with other signatures.
        File.WriteAllText(clones["more.yar"], "rule Programs { strings: $a = \"MZ\" condition: $a at 0 }");
        Report other = clones.Scan(name, s => s with { RuleSources = [.. s.RuleSources, clones["more.yar"]] });
        Assert.Equal(0, other.Totals.FilesInherited);
        Assert.Contains(other.Targets[0].Findings, f => f.Rule == "Programs");

        // The same names and identities, and another disk: what has the identity of a base is not that base.
        Directory.CreateDirectory(clones["other"]);
        File.Copy(clones[@base], clones[$"other/{@base}"]);
        File.Copy(clones[name], clones[$"other/{name}"]);
        clones.Infect($"other/{@base}", @base);
        Report twin = clones.Scan($"other/{name}");
        Assert.Equal(0, twin.Totals.FilesInherited);
        Assert.Equal(LinkedClones.Said(clones.Alone($"other/{name}")), LinkedClones.Said(twin));
        Assert.NotEqual(one.Totals.Findings, twin.Totals.Findings);

        // One that claims a parent that is not there is a gap, whatever lies in its place.
        if (format is "vhdx" or "vhd" or "vdi")
        {
            byte[] same = File.ReadAllBytes(clones[name + ".raw"]);
            DifferencingDisk.Write(clones[$"liar.{format}"], clones[@base], same, same, Guid.NewGuid());
            Report liar = clones.Scan($"liar.{format}");
            Assert.Equal((0, 0), (liar.Totals.FilesInherited, liar.Totals.Findings));
            Assert.Contains(liar.Targets[0].Gaps, g => g.Fault == Faults.Name(Fault.MissingParent));
        }

        // The base is written to, by somebody who changes nothing else in it.
        clones.Infect(@base, @base);
        Report changed = clones.Scan(name);
        Assert.Equal(0, changed.Totals.FilesInherited);
        Assert.Equal(LinkedClones.Said(clones.Alone(name)), LinkedClones.Said(changed));
        Assert.Equal(one.Totals.Findings + 1, changed.Totals.Findings);
    }
}
