using Vmsweep.Appliance.Leases;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Leases;

/// <summary>Which folders that a kill has left are removed, and which never are.</summary>
public sealed class HeldFolderTests : IDisposable
{
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    private readonly Scratch _scratch = new();

    public HeldFolderTests() => File.SetUnixFileMode(_scratch.Folder, Private);

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void What_nobody_holds_is_removed_and_nothing_that_links_lead_to()
    {
        Make("elsewhere");
        string left = Make("vmsweep-run-aB3xY9");
        File.WriteAllText(Path.Combine(left, "rules"), "text");
        Directory.CreateDirectory(Path.Combine(left, "inner"));
        Directory.CreateSymbolicLink(Path.Combine(left, "inner/link"), _scratch["elsewhere"]);
        Make("vmsweep-pace-aaaaaa");
        string held = Make("vmsweep-run-bbbbbb");
        using (new FileStream(Path.Combine(held, ".held"), FileMode.Open, FileAccess.ReadWrite, FileShare.None))
        {
            Assert.Equal(2, HeldFolder.RemoveLeft(_scratch.Folder));
            Assert.Equal(["elsewhere", "vmsweep-run-bbbbbb"], Names());
            Assert.True(File.Exists(_scratch["elsewhere/.held"]));
        }

        Assert.Equal(1, HeldFolder.RemoveLeft(_scratch.Folder));
    }

    [Fact]
    public void What_may_be_anothers_stays()
    {
        Make("elsewhere");
        Directory.CreateSymbolicLink(_scratch["vmsweep-run-link01"], _scratch["elsewhere"]);
        File.SetUnixFileMode(Make("vmsweep-run-open01"), Private | UnixFileMode.GroupExecute);
        File.Delete(Path.Combine(Make("vmsweep-run-begun1"), ".held"));
        string pipe = Path.Combine(Make("vmsweep-run-pipe01"), ".held");
        File.Delete(pipe);
        Tool.Run("mkfifo", pipe);
        string link = Path.Combine(Make("vmsweep-run-link02"), ".held");
        File.Delete(link);
        File.CreateSymbolicLink(link, _scratch["elsewhere/.held"]);
        File.WriteAllText(_scratch["vmsweep-run-file01"], "");
        foreach (string other in (string[])["vmsweep-run-aaaaaaa", "vmsweep-run-aaaaa", "vmsweep-aaaaaa", "xvmsweep-run-aaaaaa", "vmsweep-run-aaaa-a", "vmsweep-vsphere-rig-aaaaaa"])
        {
            Make(other);
        }

        if (Environment.IsPrivilegedProcess)
        {
            Tool.Run("chown", "nobody", Make("vmsweep-run-nobody"));
        }

        string[] before = Names();
        Assert.Equal(0, HeldFolder.RemoveLeft(_scratch.Folder));
        Assert.Equal(before, Names());
        Assert.Equal(0, HeldFolder.RemoveLeft(_scratch["nowhere"]));

        // Where anybody may rename anything, nothing is removed; with the sticky bit nobody may.
        Make("vmsweep-run-aaaaaa");
        Tool.Run("chmod", "0777", _scratch.Folder);
        Assert.Equal(0, HeldFolder.RemoveLeft(_scratch.Folder));
        Tool.Run("chmod", "1777", _scratch.Folder);
        Assert.Equal(1, HeldFolder.RemoveLeft(_scratch.Folder));
        Assert.Equal(before, Names());
    }

    [Fact]
    public void One_that_is_in_use_stays_and_goes_with_its_owner()
    {
        string path;
        using (var folder = new HeldFolder("run"))
        {
            path = Path.GetDirectoryName(folder.File("x"))!;
            File.WriteAllText(folder.File("x"), "");
            HeldFolder.RemoveLeft(Path.GetTempPath());
            Assert.True(File.Exists(folder.File("x")));
        }

        Assert.False(Directory.Exists(path));
    }

    private string Make(string name)
    {
        Directory.CreateDirectory(_scratch[name], Private);
        File.WriteAllText(_scratch[name + "/.held"], "");
        return _scratch[name];
    }

    private string[] Names() => [.. Directory.GetFileSystemEntries(_scratch.Folder).Select(e => Path.GetFileName(e)).Order(StringComparer.Ordinal)];
}
