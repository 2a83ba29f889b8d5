using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Tests.Connectors;

/// <summary>What a descriptor on a datastore may name.</summary>
public sealed class ChainPolicyTests
{
    private static readonly string[] Chain = ["[ds] vm/a-000002.vmdk", "[ds] vm/a-000001.vmdk", "[bases] gold/base.vmdk"];

    [Theory]
    [InlineData(ReferenceKind.Extent, "a-000002-delta.vmdk", "[ds] vm/a-000002-delta.vmdk")]
    [InlineData(ReferenceKind.Extent, "../other/a-flat.vmdk", null)]
    [InlineData(ReferenceKind.Extent, "/vmfs/volumes/ds/other/a-flat.vmdk", null)]
    [InlineData(ReferenceKind.Extent, "/vmfs/volumes/ds/vm/b-flat.vmdk", "[ds] vm/b-flat.vmdk")]
    [InlineData(ReferenceKind.Extent, "/vmfs/devices/disks/naa.1", null)]
    [InlineData(ReferenceKind.Extent, "/etc/shadow", null)]
    [InlineData(ReferenceKind.Extent, "sub/a-flat.vmdk", null)]
    [InlineData(ReferenceKind.Extent, "..", null)]
    [InlineData(ReferenceKind.Extent, "", null)]
    [InlineData(ReferenceKind.Extent, "a\0.vmdk", null)]
    [InlineData(ReferenceKind.Parent, "a-000001.vmdk", "[ds] vm/a-000001.vmdk")]
    [InlineData(ReferenceKind.Parent, "a.vmdk", null)]
    [InlineData(ReferenceKind.Parent, "/vmfs/volumes/5f2/gold/base.vmdk", "[bases] gold/base.vmdk")]
    [InlineData(ReferenceKind.Parent, "/vmfs/volumes/5f2/../ds/vm/a-000001.vmdk", null)]
    [InlineData(ReferenceKind.Parent, "/vmfs/volumes/unknown/gold/base.vmdk", null)]
    [InlineData(ReferenceKind.Parent, "../gold/base.vmdk", null)]
    [InlineData(ReferenceKind.Parent, "../../../../etc/passwd", null)]
    [InlineData(ReferenceKind.Parent, "/etc/passwd", null)]
    public void Names_lead_only_where_files_of_the_disk_lie(ReferenceKind kind, string name, string? to)
    {
        var opened = new List<string>();
        ChainPolicy policy = Policy(opened);
        ReferenceAnswer answer = policy.Resolve("[ds] vm/a-000002.vmdk", new ImageReference(kind, [name]));
        Assert.Equal(to, answer.File?.Name);
        Assert.Equal(to is null ? [] : [to], opened);
        if (to is null)
        {
            Assert.Equal(Fault.Refused, answer.Fault);
            Assert.Single(policy.Refused);
        }
    }

    [Fact]
    public void The_file_that_a_running_VM_writes_is_never_opened()
    {
        var opened = new List<string>();
        ReferenceAnswer answer = Policy(opened, "[ds] vm/a-000001.vmdk").Resolve("[ds] vm/a-000002.vmdk", new ImageReference(ReferenceKind.Parent, ["a-000001.vmdk"]));
        Assert.Equal(Fault.Refused, answer.Fault);
        Assert.Contains("never read", answer.Detail, StringComparison.Ordinal);
        Assert.Empty(opened);
    }

    [Fact]
    public void A_file_that_is_not_there_is_a_missing_parent()
    {
        var policy = new ChainPolicy(Chain, new HashSet<string>(), new Dictionary<string, string>(), p => throw new IOException($"{p}: 404"));
        ReferenceAnswer answer = policy.Resolve("[ds] vm/a-000002.vmdk", new ImageReference(ReferenceKind.Parent, ["a-000001.vmdk"]));
        Assert.Equal((Fault.MissingParent, "[ds] vm/a-000001.vmdk: 404"), (answer.Fault, answer.Detail));
    }

    private static ChainPolicy Policy(List<string> opened, params string[] live) => new(
        Chain,
        live.ToHashSet(),
        new Dictionary<string, string> { ["5f2"] = "bases", ["ds"] = "ds" },
        path =>
        {
            opened.Add(path.ToString());
            return new PlannedFile(0, path.ToString(), "/socket");
        });
}
