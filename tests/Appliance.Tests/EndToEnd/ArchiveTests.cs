using System.Text.Json;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.EndToEnd;

/// <summary>Archives in guests' files, through the launcher and the sandbox.</summary>
public sealed class ArchiveTests : IDisposable
{
    /// <summary>With as many blanks as its definition allows: a ZIP packs it then, and does not show it to whoever reads the ZIP as it is.</summary>
    private static readonly string Eicar = TestDisks.Eicar.PadRight(128);

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    /// <summary>A disk with EICAR in a ZIP in a 7z, in an encrypted ZIP, and in an ISO; a bomb; and a document behind an unknown password.</summary>
    private string Disk()
    {
        Directory.CreateDirectory(_scratch["files"]);
        File.WriteAllText(_scratch["eicar.com"], Eicar);
        Tool.Shell(
            """
            zip -q inner.zip eicar.com
            7z a -bd files/photos.jpg inner.zip >/dev/null; test -f files/photos.jpg || mv files/photos.jpg.7z files/photos.jpg
            zip -q -P infected files/sample.zip eicar.com
            zip -q -P nobody-knows files/locked.zip eicar.com
            genisoimage -quiet -R -o files/disc.iso inner.zip
            head -c 200M /dev/zero | bzip2 > files/bomb
            truncate -s 16M ext.raw
            PATH=$PATH:/usr/sbin:/sbin mke2fs -q -F -t ext4 -d files ext.raw
            """,
            _scratch.Folder);
        return _scratch["ext.raw"];
    }

    [Fact]
    public void A_finding_in_an_archive_names_the_way_in()
    {
        string disk = Disk();
        JsonElement report = Launcher.Scan(disk);
        string[] found = [.. report.GetProperty("targets")[0].GetProperty("findings").EnumerateArray()
            .Select(f => $"{f.GetProperty("rule").GetString()} {f.GetProperty("path").GetString()} {string.Join(" > ", f.GetProperty("inside").EnumerateArray().Select(i => i.GetString()))} {f.GetProperty("sizeBytes").GetInt64()} {f.GetProperty("sha256").GetString()![..8]}")
            .Order(StringComparer.Ordinal)];
        string sha256 = Content.Sha256OfFile(_scratch["eicar.com"])[..8];
        Assert.Equal(
            [
                $"EICAR_Test_File v1/disc.iso inner.zip > eicar.com 128 {sha256}",
                $"EICAR_Test_File v1/photos.jpg inner.zip > eicar.com 128 {sha256}",
                $"EICAR_Test_File v1/sample.zip eicar.com 128 {sha256}",
            ],
            found);
        Assert.Equal(
            ["encrypted v1/locked.zip eicar.com zip member", "limit v1/bomb (bzip2) archive ratio"],
            report.Gaps().Select(g => $"{g.GetProperty("fault").GetString()} {g.GetProperty("path").GetString()} {string.Join(" > ", g.GetProperty("inside").EnumerateArray().Select(i => i.GetString()))} {g.GetProperty("structure").GetString()}").Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Budgets_and_passwords_come_from_the_command_line()
    {
        string disk = Disk();
        File.WriteAllText(_scratch["passwords"], "wrong\nnobody-knows\n");
        JsonElement unlocked = Launcher.Scan("--archive-passwords", _scratch["passwords"], "--archive-depth", "1", disk);
        Assert.Contains("EICAR_Test_File v1/locked.zip", unlocked.Findings());
        Assert.Contains(unlocked.Gaps(), g => g.GetProperty("path").GetString() == "v1/sample.zip" && g.GetProperty("fault").GetString() == "encrypted");
        Assert.Contains(unlocked.Gaps(), g => g.GetProperty("path").GetString() == "v1/photos.jpg" && g.GetProperty("structure").GetString() == "archive depth");
        Assert.DoesNotContain("EICAR_Test_File v1/photos.jpg", unlocked.Findings());

        JsonElement none = Launcher.Scan("--no-archives", disk);
        Assert.Empty(none.Findings());
        JsonElement gap = Assert.Single(none.Gaps());
        Assert.Equal(("limit", "archives"), (gap.GetProperty("fault").GetString(), gap.GetProperty("structure").GetString()));
        Assert.StartsWith("5 files", gap.GetProperty("detail").GetString(), StringComparison.Ordinal);

        (int status, _, string error) = Launcher.Run("scan", "--archive-depth", "0", disk);
        Assert.Equal((2, true), (status, error.Contains("--archive-depth", StringComparison.Ordinal)));
        Assert.Equal(2, Launcher.Run("scan", "--archive-passwords", _scratch["nowhere"], disk).Status);
    }
}
