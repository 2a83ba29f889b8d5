using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Connectors;

/// <summary>Which files a name found in an image may open.</summary>
public sealed class FolderPolicyTests : IDisposable
{
    private readonly Scratch _scratch = new();
    private readonly string _vm;
    private readonly string _bases;

    public FolderPolicyTests()
    {
        _vm = Directory.CreateDirectory(_scratch["vm"]).FullName;
        _bases = Directory.CreateDirectory(_scratch["bases"]).FullName;
        Directory.CreateDirectory(Path.Combine(_vm, "sub"));
        foreach (string file in (string[])["vm/own.vmdk", "vm/sub/deep.vmdk", "bases/base.vmdk", "secret", "vm/shadow"])
        {
            File.WriteAllText(_scratch[file], "x");
        }

        File.CreateSymbolicLink(Path.Combine(_vm, "link.vmdk"), _scratch["secret"]);
        Directory.CreateSymbolicLink(Path.Combine(_vm, "linked"), _scratch.Folder);
        Tool.Run("mkfifo", Path.Combine(_vm, "fifo.vmdk"));
    }

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("/etc/shadow")]
    [InlineData("../secret")]
    [InlineData("..\\secret")]
    [InlineData("sub/../../secret")]
    [InlineData("link.vmdk")]
    [InlineData("linked/secret")]
    [InlineData("fifo.vmdk")]
    [InlineData("sub")]
    [InlineData("")]
    [InlineData(".")]
    [InlineData("own.vmdk\0.txt")]
    [InlineData("/dev/zero")]
    [InlineData("C:\\Windows\\System32\\config\\SAM")]
    [InlineData("//host/share/x.vmdk")]
    public void A_forbidden_extent_is_refused_and_remembered(string name)
    {
        var policy = new FolderPolicy(_vm, [_bases]);
        ReferenceAnswer answer = policy.Resolve(Path.Combine(_vm, "top.vmdk"), new ImageReference(ReferenceKind.Extent, [name]));
        Assert.Null(answer.Path);
        Assert.Equal(Fault.Refused, answer.Fault);
        Assert.Single(policy.Refused);
    }

    [Theory]
    [InlineData("own.vmdk", "vm/own.vmdk")]
    [InlineData("sub/deep.vmdk", "vm/sub/deep.vmdk")]
    [InlineData(".\\own.vmdk", "vm/own.vmdk")]
    public void A_file_of_the_VMs_own_folder_opens(string name, string expected) => Assert.Equal(_scratch[expected], Resolve(ReferenceKind.Extent, name).Path);

    [Theory]
    [InlineData("C:\\VMs\\base.vmdk")]
    [InlineData("/vmfs/volumes/datastore1/gold/base.vmdk")]
    [InlineData("base.vmdk")]
    public void A_parent_is_looked_for_by_its_name_where_bases_are_declared(string name) =>
        Assert.Equal(Path.Combine(_bases, "base.vmdk"), Resolve(ReferenceKind.Parent, name).Path);

    [Fact]
    public void The_first_candidate_that_is_there_is_taken() =>
        Assert.Equal(Path.Combine(_vm, "own.vmdk"), Resolve(ReferenceKind.Parent, ".\\gone.vmdk", "D:\\old\\own.vmdk").Path);

    [Fact]
    public void A_parent_that_is_nowhere_is_missing() => Assert.Equal(Fault.MissingParent, Resolve(ReferenceKind.Parent, "gone.vmdk").Fault);

    private ReferenceAnswer Resolve(ReferenceKind kind, params string[] names) =>
        new FolderPolicy(_vm, [_bases]).Resolve(Path.Combine(_vm, "top.vmdk"), new ImageReference(kind, names));
}
