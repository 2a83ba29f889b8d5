using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.EndToEnd;

/// <summary>Volumes that are more than a partition, and earlier states of disks, through the launcher.</summary>
public sealed class VolumeTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_volume_group_over_several_disks_of_a_vm_stands_in_the_place_of_its_first_disk()
    {
        // Made by LVM2 and the kernel: tests/DiskReaders.Tests/Volumes/Lvm2/Images.
        string vmx = Vm("plain.1", "plain.2", "plain.3", "plain.4");
        (int status, string output, string error) = Launcher.Run("ls", vmx, "-R", "--files", "--sha256", "--format", "tsv");
        Assert.True(status is 0 or 3, error);
        string[] files = [.. output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => l.Split('\t')[0])];
        Assert.Equal(["d1v1/file1", "d1v1/file2", "d1v1/file3"], files);
        Assert.StartsWith("file2", Launcher.Run("cat", vmx, "d1v1/file2").Output, StringComparison.Ordinal);

        JsonElement info = JsonDocument.Parse(Launcher.Run("info", vmx, "--format", "json").Output).RootElement.GetProperty("targets")[0];
        Assert.Equal(4, info.GetProperty("disks").GetArrayLength());
        Assert.Equal(
            ["d1v1 lvm2 plain/files ext2", "d1v2 lvm2 plain/linear unknown", "d1v3 lvm2 plain/striped unknown"],
            info.GetProperty("disks")[0].GetProperty("volumes").EnumerateArray().Select(v => $"{v.GetProperty("id")} {v.GetProperty("scheme")} {v.GetProperty("name")} {v.GetProperty("fileSystem")}"));
        Assert.Equal(0, info.GetProperty("disks")[1].GetProperty("volumes").GetArrayLength());
    }

    [Fact]
    public void A_volume_whose_disk_is_missing_is_a_gap_and_the_others_are_read()
    {
        string vmx = Vm("plain.1", "plain.2");
        JsonElement report = Launcher.Scan(vmx);
        Assert.Equal("incomplete", report.GetProperty("verdict").GetString());
        Assert.Contains(report.Gaps(), g => g.GetProperty("fault").GetString() == "missing-parent" && g.GetProperty("path").GetString()!.StartsWith("d1v", StringComparison.Ordinal));
    }

    [Fact]
    public void An_encrypted_volume_is_a_gap_without_its_key_and_keeps_its_number_with_it()
    {
        string raw = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["a.txt"] = "abc" });
        File.WriteAllText(_scratch["password"], "correct horse");
        Tool.Shell($"qemu-img convert --object secret,id=k,file=password -O luks -o key-secret=k {Path.GetFileName(raw)} locked.raw", _scratch.Folder);
        (int status, _, string error) = Launcher.Run("ls", _scratch["locked.raw"], "-R");
        Assert.Equal(3, status);
        Assert.Contains("encrypted: v1: LUKS", error, StringComparison.Ordinal);

        File.WriteAllText(_scratch["keys"], "wrong\ncorrect horse\n");
        string expected = Launcher.Run("ls", raw, "-R", "--files", "--sha256", "--format", "tsv").Output;
        Assert.NotEmpty(expected);
        Assert.Equal((0, expected), Launcher.Run("ls", _scratch["locked.raw"], "--key", _scratch["keys"], "-R", "--files", "--sha256", "--format", "tsv") is var (s, o, _) ? (s, o) : default);
        File.WriteAllText(_scratch["keys"], "wrong");
        Assert.Equal(3, Launcher.Run("ls", _scratch["locked.raw"], "--key", _scratch["keys"], "-R").Status);
        Assert.Equal(2, Launcher.Run("ls", _scratch["locked.raw"], "--key", _scratch["nothing"], "-R").Status);
    }

    [Fact]
    public void An_earlier_state_is_read_by_its_name_and_all_of_them_at_once()
    {
        string first = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["a.txt"] = "abc" });
        string disk = TestDisks.Convert(_scratch, first, "disk.qcow2", "qcow2");
        Tool.Shell("qemu-img snapshot -c before disk.qcow2", _scratch.Folder);
        string then = Launcher.Run("ls", disk, "-R", "--files", "--format", "tsv").Output;
        File.Delete(first);
        string second = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["b.txt"] = "abcd" });
        Tool.Shell($"qemu-io -f qcow2 -c 'write -s {second} 0 {new FileInfo(second).Length}' disk.qcow2 >/dev/null", _scratch.Folder);

        Assert.Contains("snapshot before", Launcher.Run("info", disk).Output, StringComparison.Ordinal);
        Assert.Equal(then, Launcher.Run("ls", disk, "-R", "--files", "--format", "tsv", "--snapshot", "before").Output);
        string all = Launcher.Run("ls", disk, "-R", "--files", "--format", "tsv", "--snapshot", "all").Output;
        Assert.Contains("v1/b.txt\t4\n", all, StringComparison.Ordinal);
        Assert.Contains("@before/v1/a.txt\t3\n", all, StringComparison.Ordinal);
        Assert.Equal("abc", Launcher.Run("cat", disk, "v1/a.txt", "--snapshot", "before").Output);
        Assert.Equal(2, Launcher.Run("cat", disk, "v1/a.txt").Status);
        Assert.Equal(2, Launcher.Run("read", disk, "--snapshot", "all").Status);
        Assert.Equal(2, Launcher.Run("ls", disk, "--snapshot", "never").Status);

        // Raw, each state is what qemu-img makes of it; in a scan, each has its own files.
        string[] shas = [.. ((string[][])[[], ["--snapshot", "before"]]).Select(state => Launcher.RunRaw(["read", disk, .. state]) is var (status, bytes, _) && status == 0 ? Convert.ToHexStringLower(SHA256.HashData(bytes)) : "")];
        Tool.Shell("qemu-img convert -l snapshot.name=before -O raw disk.qcow2 then.raw", _scratch.Folder);
        Assert.Equal([Content.Sha256OfFile(second), Content.Sha256OfFile(_scratch["then.raw"])], shas);
        File.WriteAllText(_scratch["rules.yar"], "rule three { condition: filesize == 3 } rule four { condition: filesize == 4 }");
        string[] options = [disk, "--rules", _scratch["rules.yar"], "--snapshot"];
        Assert.Equal(["three v1/a.txt", "three v2/a.txt"], Launcher.Scan([.. options, "before"]).Findings().Order(StringComparer.Ordinal));
        JsonElement both = Launcher.Scan([.. options, "all"]);
        Assert.Equal(
            [(null, "four v1/b.txt"), (null, "four v2/b.txt"), ("before", "three v1/a.txt"), ("before", "three v2/a.txt")],
            both.GetProperty("targets").EnumerateArray().SelectMany(t => t.GetProperty("findings").EnumerateArray().Select(f =>
                (t.TryGetProperty("snapshot", out JsonElement snapshot) ? snapshot.GetString() : null, $"{f.GetProperty("rule").GetString()} {f.GetProperty("path").GetString()}"))).Order());
    }

    [Fact]
    public void Read_leaves_holes_in_a_file_and_appends_where_it_must_not()
    {
        string raw = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["a.txt"] = "abc" });
        string disk = TestDisks.Convert(_scratch, raw, "disk.qcow2", "qcow2");
        Launcher.Run("info", disk);
        Tool.Shell($"{Path.Combine(RepositoryRoot.Path, "vmsweep")} read disk.qcow2 > out; printf x > more; {Path.Combine(RepositoryRoot.Path, "vmsweep")} read disk.qcow2 >> more", _scratch.Folder);
        Assert.Equal(Content.Sha256OfFile(raw), Content.Sha256OfFile(_scratch["out"]));
        Assert.True(long.Parse(Tool.Shell("stat -c %b out", _scratch.Folder), CultureInfo.InvariantCulture) * 512 < new FileInfo(raw).Length);
        Assert.Equal([(byte)'x', .. File.ReadAllBytes(raw)], File.ReadAllBytes(_scratch["more"]));
        Assert.Equal(0, Launcher.Run("read", disk, "--out", _scratch["named"]).Status);
        Assert.Equal(Content.Sha256OfFile(raw), Content.Sha256OfFile(_scratch["named"]));
    }

    /// <summary>A VM of VMware's whose disks are images of the LVM2 tests.</summary>
    private string Vm(params string[] images)
    {
        string folder = Path.Combine(RepositoryRoot.Path, "tests", "DiskReaders.Tests", "Volumes", "Lvm2", "Images");
        var vmx = new List<string> { "config.version = \"8\"", "displayName = \"group\"" };
        for (int i = 0; i < images.Length; i++)
        {
            File.WriteAllBytes(_scratch[images[i] + "-flat.vmdk"], Tool.RunRaw("xz", folder, "-dc", images[i] + ".xz"));
            long sectors = new FileInfo(_scratch[images[i] + "-flat.vmdk"]).Length / 512;
            File.WriteAllText(
                _scratch[images[i] + ".vmdk"],
                $"# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW {sectors} FLAT \"{images[i]}-flat.vmdk\" 0\n");
            vmx.Add($"scsi0:{i}.present = \"TRUE\"");
            vmx.Add($"scsi0:{i}.fileName = \"{images[i]}.vmdk\"");
        }

        File.WriteAllLines(_scratch["vm.vmx"], vmx);
        return _scratch["vm.vmx"];
    }
}
