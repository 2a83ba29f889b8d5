using System.Security.Cryptography;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.EndToEnd;

/// <summary><c>info</c>, <c>ls</c>, <c>cat</c> and <c>read</c> through the launcher.</summary>
public sealed class ReadingTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("vmdk", "subformat=monolithicSparse")]
    [InlineData("vmdk", "subformat=monolithicFlat")]
    [InlineData("vmdk", "subformat=twoGbMaxExtentSparse")]
    [InlineData("vmdk", "subformat=twoGbMaxExtentFlat")]
    [InlineData("vmdk", "subformat=streamOptimized")]
    [InlineData("vhdx", "subformat=dynamic")]
    [InlineData("vhdx", "subformat=fixed")]
    public void Raw_content_equals_what_qemu_img_read(string format, string options)
    {
        string raw = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["a.txt"] = "abc" });
        string disk = TestDisks.Convert(_scratch, raw, "disk." + format, format, options);
        (int status, byte[] output, string error) = Launcher.RunRaw("read", disk);
        Assert.True(status == 0, error);
        Assert.Equal(Content.Sha256OfFile(raw), Convert.ToHexStringLower(SHA256.HashData(output)));

        (_, byte[] part, _) = Launcher.RunRaw("read", disk, "--offset", "1048576", "--length", "2K");
        Assert.Equal(File.ReadAllBytes(raw)[(1 << 20)..((1 << 20) + 2048)], part);
    }

    [Fact]
    public void Ls_lists_folders_files_and_hashes()
    {
        string raw = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["dir/a.txt"] = "abc", ["b.txt"] = "" });
        (int status, string output, string error) = Launcher.Run("ls", "-R", "--files", "--sha256", "--format", "tsv", raw);
        Assert.True(status == 0, error);
        Assert.Equal(
            """
            v1/b.txt	0	e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
            v1/dir/a.txt	3	ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
            v2/b.txt	0	e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
            v2/dir/a.txt	3	ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad

            """,
            output);
        Assert.Equal("v1/b.txt\t0\nv1/dir\t0\n", Launcher.Run("ls", "--format", "tsv", raw, "v1").Output.Replace("v1/lost+found\t0\n", "", StringComparison.Ordinal));
        Assert.Equal("v2/dir/a.txt\t3\n", Launcher.Run("ls", "--format", "tsv", raw, "v2/dir").Output);
        Assert.Equal("abc", Launcher.Run("cat", raw, "v1/dir/a.txt").Output);
        Assert.Contains("\"path\": \"v1/dir/a.txt\"", Launcher.Run("ls", "-R", "--format", "json", raw).Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Info_shows_container_chain_and_volumes()
    {
        string raw = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["a.txt"] = "abc" });
        TestDisks.Convert(_scratch, raw, "base.vmdk", "vmdk");
        Tool.Shell("qemu-img create -q -f vmdk -b base.vmdk -F vmdk top.vmdk", _scratch.Folder);
        (int status, string output, string error) = Launcher.Run("info", _scratch["top.vmdk"]);
        Assert.True(status == 0, error);
        Assert.Contains("vmdk/monolithicSparse", output, StringComparison.Ordinal);
        Assert.Contains("over " + _scratch["base.vmdk"], output, StringComparison.Ordinal);
        Assert.Contains("ext4", output, StringComparison.Ordinal);
        Assert.Contains("fat16", output, StringComparison.Ordinal);
    }

    [Fact]
    public void The_worker_gives_what_is_read_even_when_the_reader_of_the_pipe_goes_away()
    {
        string raw = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["a.txt"] = "abc" });
        string head = Tool.Shell($"'{RepositoryRoot.Path}/vmsweep' read '{raw}' | head -c 512 | sha256sum; true");
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(raw).AsSpan(0, 512))), head[..64]);
    }

    [Fact]
    public void Doctor_finds_this_machine_sound()
    {
        (int status, string output, _) = Launcher.Run("doctor");
        Assert.True(status == 0, output);
        Assert.Contains("sandbox", output, StringComparison.Ordinal);
    }
}
