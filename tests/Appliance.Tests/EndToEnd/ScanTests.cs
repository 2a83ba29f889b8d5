using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.EndToEnd;

/// <summary>Scans through the launcher, in the sandbox, of disks that qemu-img and mkfs made.</summary>
public sealed class ScanTests : IDisposable
{
    private const string MarkerRule = "rule marker { meta: severity = \"high\" strings: $a = \"MARKER-7b1f\" condition: $a }";

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    private string Rules(string text = MarkerRule)
    {
        File.WriteAllText(_scratch["rules.yar"], text);
        return _scratch["rules.yar"];
    }

    private string Marked() => TestDisks.Raw(_scratch, new Dictionary<string, string>
    {
        ["home/anna/notes.txt"] = "nothing to see",
        ["home/anna/bad.bin"] = "xx MARKER-7b1f yy",
    });

    [Theory]
    [InlineData("disk.vmdk", "vmdk", "")]
    [InlineData("disk.vmdk", "vmdk", "subformat=streamOptimized")]
    [InlineData("disk.vhdx", "vhdx", "")]
    public void A_detection_names_the_file_as_the_guest_knows_it(string name, string format, string options)
    {
        string disk = TestDisks.Convert(_scratch, Marked(), name, format, options);
        JsonElement report = Launcher.Scan("--rules", Rules(), disk);
        Assert.Equal(["marker v1/home/anna/bad.bin", "marker v2/home/anna/bad.bin"], report.Findings().Order());
        Assert.Equal("full", report.GetProperty("sandbox").GetString());
        JsonElement finding = report.GetProperty("targets")[0].GetProperty("findings")[0];
        Assert.Equal(3, finding.GetProperty("matches")[0].GetProperty("offset").GetInt64());
        Assert.Equal("high", finding.GetProperty("severity").GetString());
        Assert.Equal(64, finding.GetProperty("sha256").GetString()!.Length);
        Assert.Empty(report.Gaps());
        JsonElement totals = report.GetProperty("totals");
        Assert.Equal(totals.GetProperty("bytesSeen").GetInt64(), totals.GetProperty("bytesRead").GetInt64());
        Assert.Equal(totals.GetProperty("filesSeen").GetInt64(), totals.GetProperty("filesScanned").GetInt64());
    }

    [Fact]
    public void The_sample_of_the_README_is_detected_by_the_built_in_rules()
    {
        (int status, string output, string error) = Launcher.Run("scan", "--state", "none", "samples");
        Assert.True(status == 1, error);
        Assert.Contains("v1/Users/anna/Downloads/invoice.pdf.exe", output, StringComparison.Ordinal);
        Assert.Contains("v1/Users/anna/readme.txt:hidden", output, StringComparison.Ordinal);
        Assert.Contains("DETECTED", output, StringComparison.Ordinal);
    }

    [Fact]
    public void A_vmx_is_scanned_through_its_snapshot_chain()
    {
        // The base has the file; the delta that the VM runs on has it overwritten. Only the current state counts.
        string raw = Marked();
        Tool.Run("qemu-img", "convert", "-O", "vmdk", raw, _scratch["base.vmdk"]);
        Tool.Shell("qemu-img create -q -f vmdk -b base.vmdk -F vmdk base-000001.vmdk", _scratch.Folder);
        byte[] bytes = File.ReadAllBytes(raw);
        int at = bytes.AsSpan().IndexOf("MARKER-7b1f"u8);
        Tool.Shell($"qemu-io -f vmdk -c 'write -P 0x41 {at / 512 * 512} 512' base-000001.vmdk", _scratch.Folder);
        File.Delete(raw);
        File.WriteAllText(_scratch["web.vmx"], """
            .encoding = "UTF-8"
            config.version = "8"
            displayName = "web 01"
            guestOS = "debian12-64"
            uuid.bios = "56 4d 11 22 33 44 55 66-77 88 99 aa bb cc dd ee"
            scsi0:0.present = "TRUE"
            scsi0:0.fileName = "base-000001.vmdk"
            ide1:0.present = "TRUE"
            ide1:0.deviceType = "cdrom-image"
            ide1:0.fileName = "tools.iso"
            """);
        JsonElement report = Launcher.Scan("--rules", Rules(), _scratch["web.vmx"]);
        Assert.Equal(["marker v2/home/anna/bad.bin"], report.Findings());
        JsonElement target = report.GetProperty("targets")[0];
        Assert.Equal("web 01", target.GetProperty("vm").GetProperty("name").GetString());
        Assert.Equal("off", target.GetProperty("vm").GetProperty("power").GetString());
        Assert.Equal(2, target.GetProperty("disks")[0].GetProperty("chain").GetArrayLength());

        // In a folder the VM comes once, and its base is no disk of its own.
        JsonElement folder = Launcher.Scan("--rules", Rules(), _scratch.Folder);
        Assert.Equal(1, folder.GetProperty("targets").GetArrayLength());
    }

    [Fact]
    public void A_VM_with_several_disks_numbers_them()
    {
        string raw = Marked();
        TestDisks.Convert(_scratch, raw, "a.vmdk", "vmdk");
        TestDisks.Convert(_scratch, raw, "b.vmdk", "vmdk");
        File.Delete(raw);
        File.WriteAllText(_scratch["two.vmx"], "config.version = \"8\"\nscsi0:0.fileName = \"a.vmdk\"\nscsi0:1.fileName = \"b.vmdk\"\nscsi0:2.fileName = \"missing.vmdk\"\n");
        JsonElement report = Launcher.Scan("--rules", Rules(), _scratch["two.vmx"]);
        Assert.Equal(
            ["marker d1v1/home/anna/bad.bin", "marker d1v2/home/anna/bad.bin", "marker d2v1/home/anna/bad.bin", "marker d2v2/home/anna/bad.bin"],
            report.Findings().Order());
        Assert.Equal("missing-parent", Assert.Single(report.Gaps()).GetProperty("fault").GetString());
    }

    [Fact]
    public void What_lies_outside_every_file_is_matched_as_what_it_is()
    {
        string raw = Marked();
        using (FileStream disk = File.OpenWrite(raw))
        {
            disk.Seek(200, SeekOrigin.Begin);
            disk.Write("MARKER-7b1f"u8);
            disk.Seek(1000 * 512, SeekOrigin.Begin);
            disk.Write("MARKER-7b1f"u8);
        }

        JsonElement report = Launcher.Scan("--rules", Rules(), raw);
        Assert.Equal(["Boot_UnknownCode disk/mbr@0"], report.Findings().Where(f => !f.StartsWith("marker ", StringComparison.Ordinal)));
        Assert.Equal(5, report.Findings().Count);
        Assert.Contains(report.Findings(), f => f.StartsWith("marker disk/mbr", StringComparison.Ordinal));
        Assert.Contains(report.Findings(), f => f.StartsWith("marker disk/gap", StringComparison.Ordinal));
    }

    [Fact]
    public void A_file_larger_than_the_memory_is_matched_in_windows_and_said_so()
    {
        string big = new string('a', 9 << 20) + "MARKER-7b1f" + new string('b', 1 << 20);
        string raw = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["big.txt"] = big });
        JsonElement report = Launcher.Scan("--rules", Rules(), "--memory", "4M", raw);
        Assert.Equal(["marker v1/big.txt", "marker v2/big.txt"], report.Findings().Order());
        Assert.Equal(9 << 20, report.GetProperty("targets")[0].GetProperty("findings")[0].GetProperty("matches")[0].GetProperty("offset").GetInt64());
        Assert.Equal(["limit", "limit"], report.Gaps().Select(g => g.GetProperty("fault").GetString()));

        JsonElement whole = Launcher.Scan("--rules", Rules(), raw);
        Assert.Empty(whole.Gaps());
        Assert.Equal(
            whole.GetProperty("targets")[0].GetProperty("findings")[0].GetProperty("sha256").GetString(),
            report.GetProperty("targets")[0].GetProperty("findings")[0].GetProperty("sha256").GetString());
    }

    [Fact]
    public void One_broken_disk_of_a_folder_does_not_keep_the_others_from_being_scanned()
    {
        TestDisks.Convert(_scratch, Marked(), "good.vmdk", "vmdk");
        File.Delete(_scratch["disk.raw"]);
        File.WriteAllBytes(_scratch["empty.vmdk"], []);
        File.WriteAllBytes(_scratch["junk.vhdx"], [.. Enumerable.Range(0, 100_000).Select(i => (byte)(i * 31))]);
        File.WriteAllText(_scratch["orphan.vmdk"], "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 2048 FLAT \"gone-flat.vmdk\" 0\n");
        JsonElement report = Launcher.Scan("--rules", Rules(), _scratch.Folder);
        Assert.Equal(["marker v1/home/anna/bad.bin", "marker v2/home/anna/bad.bin"], report.Findings().Order());
        Assert.Equal(3, report.Gaps().Select(g => g.GetProperty("path").GetString()).Distinct().Count());
        Assert.All(report.Gaps(), g => Assert.NotEmpty(g.GetProperty("detail").GetString()!));
    }

    [Fact]
    public void What_the_account_may_not_read_is_a_gap_each_and_the_rest_is_scanned()
    {
        byte[] image = Hostile.HostileScan.Fat($"printf '{Hostile.HostileScan.Mark}' > a.txt; mcopy -i image a.txt ::A.TXT");
        foreach (string name in (string[])["open", "base", "closed/inside"])
        {
            Directory.CreateDirectory(Path.GetDirectoryName(_scratch[$"ds/{name}"])!);
            File.WriteAllBytes(_scratch[$"ds/{name}.raw"], image);
        }

        File.WriteAllText(_scratch["mark.yar"], $"rule Marked {{ strings: $a = \"{Hostile.HostileScan.Mark}\" condition: $a }}");
        Tool.Shell("qemu-img create -q -f qcow2 -b base.raw -F raw ds/over.qcow2; chmod 755 . ds; chmod 644 ds/over.qcow2 ds/open.raw mark.yar; chmod 000 ds/base.raw; chmod 700 ds/closed", _scratch.Folder);
        (int status, string output, string error) = Hypervisors.Program.RunAsNobody("scan", "--format", "json", "--state", "none", "--rules", _scratch["mark.yar"], _scratch["ds"]);
        Assert.True(status == 1, error);
        JsonElement report = JsonDocument.Parse(output).RootElement;
        Assert.Equal("Marked v1/A.TXT", Assert.Single(report.Findings()));
        Assert.All(report.Gaps(), g => Assert.Equal("transport", g.GetProperty("fault").GetString()));
        Assert.All(report.Gaps(), g => Assert.Contains("is denied", g.GetProperty("detail").GetString(), StringComparison.Ordinal));
        Assert.Equal(
            [_scratch["ds/base.raw"], _scratch["ds/closed"], _scratch["ds/over.qcow2"]], report.Gaps().Select(g => g.GetProperty("path").GetString()).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void A_broken_rule_is_left_out_and_named_unless_rules_are_strict()
    {
        string disk = Marked();
        string rules = Rules(MarkerRule + "\nrule broken { condition: $nothing }\n");
        JsonElement report = Launcher.Scan("--rules", rules, disk);
        Assert.Equal(2, report.Findings().Count);
        JsonElement fault = Assert.Single(report.GetProperty("ruleFaults").EnumerateArray());
        Assert.Equal(rules, fault.GetProperty("file").GetString());
        Assert.Equal(2, fault.GetProperty("line").GetInt32());

        (int status, _, string error) = Launcher.Run("scan", "--state", "none", "--strict-rules", "--rules", rules, disk);
        Assert.Equal(2, status);
        Assert.Contains("broken", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("SHA256", "")]
    [InlineData("SHA1", "")]
    [InlineData("MD5", "4M")]
    public void A_listed_hash_is_found_in_whole_files_and_in_windows(string algorithm, string memory)
    {
        string content = new('q', memory.Length > 0 ? 6 << 20 : 1000);
        string disk = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["known.bin"] = content, ["other.bin"] = content + "." });
        byte[] hash = CryptographicOperations.HashData(new HashAlgorithmName(algorithm), Encoding.ASCII.GetBytes(content));
        File.WriteAllText(_scratch["list.csv"], $"hash,name,severity\n{Convert.ToHexString(hash)},Known.Bad,critical\nzzz,no hash,low\n");
        JsonElement report = Launcher.Scan(["--engine", "hash", "--hashes", _scratch["list.csv"], .. memory.Length > 0 ? (string[])["--memory", memory] : [], disk]);
        Assert.Equal(["Known.Bad v1/known.bin", "Known.Bad v2/known.bin"], report.Findings().Order());
        Assert.Equal("critical", report.GetProperty("targets")[0].GetProperty("findings")[0].GetProperty("severity").GetString());
        Assert.Equal(3, Assert.Single(report.GetProperty("ruleFaults").EnumerateArray()).GetProperty("line").GetInt32());
        Assert.Equal("hash", Assert.Single(report.GetProperty("engines").EnumerateArray()).GetProperty("name").GetString());
    }

    [Fact]
    public void Ndjson_gives_each_event_as_it_happens()
    {
        (int status, string output, _) = Launcher.Run("scan", "--state", "none", "--format", "ndjson", "--rules", Rules(), Marked());
        Assert.Equal(1, status);
        string[] events = [.. output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement.GetProperty("event").GetString()!)];
        Assert.Equal("target", events[0]);
        Assert.Equal("summary", events[^1]);
        Assert.Equal(2, events.Count(e => e == "volume"));
        Assert.Equal(2, events.Count(e => e == "finding"));
    }

    [Fact]
    public void Nothing_found_and_everything_read_is_clean()
    {
        JsonElement report = Launcher.Scan("--rules", Rules("rule never { strings: $a = \"MARKER-none\" condition: $a }"), Marked());
        Assert.Equal("clean", report.GetProperty("verdict").GetString());
    }

    [Theory]
    [InlineData("scan")]
    [InlineData("scan", "/no/such/image")]
    [InlineData("scan", "--format", "yaml", "samples")]
    [InlineData("scan", "--engine", "magic", "samples")]
    [InlineData("scan", "--memory", "lots", "samples")]
    [InlineData("scan", "--rules", "/no/such/rules", "samples")]
    [InlineData("scan", "/dev/zero")]
    [InlineData("conquer")]
    [InlineData("cat", "samples/web01.vmdk", "v1/no/such/file")]
    [InlineData("cat", "samples/web01.vmdk", "v9/x")]
    [InlineData("ls", "samples/web01.vmdk", "v1/nowhere")]
    [InlineData("read", "samples/web01.vmdk", "--offset", "1T")]
    public void What_cannot_be_carried_out_ends_with_status_2_and_a_message(params string[] arguments)
    {
        (int status, string output, string error) = Launcher.Run(arguments);
        Assert.Equal(2, status);
        Assert.NotEmpty(error + output);
        Assert.DoesNotContain("   at Vmsweep", error, StringComparison.Ordinal);
    }
}
