using System.Globalization;
using System.Text;
using System.Text.Json;
using Vmsweep.Appliance.Cli;
using Vmsweep.DiskReaders.Tests.GuestMemory;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.EndToEnd;

/// <summary>Scans of guest memory through the launcher, in the sandbox.</summary>
public sealed class MemoryScanTests : IDisposable
{
    private const string Rules =
        """
        rule planted { meta: severity = "high" strings: $a = "vmsweep-planted-4711-vmsweep" condition: $a }
        rule across { strings: $a = "first-half/second-half" condition: $a }
        """;

    private readonly Scratch _scratch = new();

    public MemoryScanTests() => File.WriteAllText(_scratch["rules.yar"], Rules);

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void Disk_and_memory_of_a_suspended_VM_stand_in_one_report()
    {
        WriteVm();
        JsonElement report = Scan(_scratch["web.vmx"]);
        JsonElement target = Assert.Single(report.GetProperty("targets").EnumerateArray());
        Assert.Equal("suspended", target.GetProperty("vm").GetProperty("power").GetString());
        Assert.Equal(["planted memory/0x180064", "planted v1/bad.txt", "planted v2/bad.txt"], report.Findings().Order(StringComparer.Ordinal));
        Assert.Empty(report.Gaps());

        JsonElement finding = target.GetProperty("findings").EnumerateArray().Single(f => f.GetProperty("path").GetString() == "memory/0x180064");
        Assert.Equal(0x180064, finding.GetProperty("matches")[0].GetProperty("offset").GetInt64());
        JsonElement place = finding.GetProperty("memory");
        Assert.Equal(
            ("0x180064", "0x7f1234567064", "init", 1),
            (place.GetProperty("physicalAddress").GetString(), place.GetProperty("virtualAddress").GetString(), place.GetProperty("process").GetString(), place.GetProperty("pid").GetInt32()));
        Assert.Equal("evil", place.GetProperty("alsoIn")[0].GetProperty("process").GetString());

        JsonElement memory = target.GetProperty("memory");
        Assert.Equal("vmware/vmem", memory.GetProperty("format").GetString());
        Assert.Equal("linux", memory.GetProperty("system").GetProperty("kind").GetString());
        Assert.Equal(SyntheticGuest.Size, memory.GetProperty("bytes").GetProperty("seen").GetInt64());
        Assert.Equal(SyntheticGuest.Size, memory.GetProperty("bytes").GetProperty("read").GetInt64());
        JsonElement totals = report.GetProperty("totals");
        Assert.Equal(totals.GetProperty("bytesSeen").GetInt64(), totals.GetProperty("bytesRead").GetInt64());
    }

    [Fact]
    public void Memory_that_is_left_out_is_named_and_is_no_gap_of_a_VM()
    {
        WriteVm();
        JsonElement report = Scan("--memory-scan", "no", _scratch["web.vmx"]);
        Assert.Equal(["planted v1/bad.txt", "planted v2/bad.txt"], report.Findings().Order(StringComparer.Ordinal));
        Assert.Empty(report.Gaps());
        Assert.False(report.GetProperty("targets")[0].GetProperty("memory").GetProperty("isScanned").GetBoolean());

        // Of a target that is nothing but memory it leaves nothing.
        JsonElement alone = Scan("--memory-scan", "no", _scratch["web.vmem"]);
        Assert.Equal("incomplete", alone.GetProperty("verdict").GetString());
    }

    [Theory]
    [InlineData("", 3, true)]
    [InlineData(", \"memoryScan\": \"no\"", 2, false)]
    public void A_sweep_scans_it_unless_it_is_left_out_and_says_so(string memory, int findings, bool isScanned)
    {
        WriteVm();
        File.WriteAllText(_scratch["c.json"], $$"""
            { "sweeps": { "nightly": { "what": { "folders": ["{{_scratch.Folder}}"] }, "signatures": { "rules": ["{{_scratch["rules.yar"]}}"], "engines": ["yara"] }{{memory}} } } }
            """);
        string[] options = ["--config", _scratch["c.json"], "--state", _scratch["state"]];
        (int status, string output, string error) = Launcher.Run(["sweep", "run", "nightly", "--format", "json", "--no-progress", .. options]);
        Assert.True(status == 1, error);
        JsonElement vm = Assert.Single(JsonDocument.Parse(output).RootElement.GetProperty("vms").EnumerateArray());
        Assert.Equal((findings, 0, "suspended"), (vm.GetProperty("findings").GetInt32(), vm.GetProperty("gaps").GetInt32(), vm.GetProperty("power").GetString()));
        Assert.Equal(isScanned, vm.GetProperty("memory").GetProperty("isScanned").GetBoolean());
        string size = Sizes.Show(SyntheticGuest.Size);
        Assert.Contains(isScanned ? $"{size} of {size}" : "left out", Launcher.Run("sweep", "show", "nightly", "--format", "csv", "--state", _scratch["state"]).Output, StringComparison.Ordinal);
        Assert.Contains(isScanned ? "memory of 1 VMs scanned" : "of 1 left out", Launcher.Run("sweep", "show", "nightly", "--state", _scratch["state"]).Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Runs_that_lie_side_by_side_in_the_file_are_no_neighbours()
    {
        byte[] memory = VmwareWriter.Memory();
        "first-half/second-half"u8.CopyTo(memory.AsSpan((6 * 4096) - 11));
        File.WriteAllBytes(_scratch["a.vmss"], VmwareWriter.Sample().ToArray());
        File.WriteAllBytes(_scratch["a.vmem"], memory);
        JsonElement report = Scan(_scratch["a.vmss"]);
        Assert.Empty(report.Findings());
        Assert.Equal("clean", report.GetProperty("verdict").GetString());

        // In one run they are: this is what the rule is for.
        File.Delete(_scratch["a.vmss"]);
        Assert.Equal(["across memory/0x5ff5"], Scan(_scratch["a.vmem"]).Findings());
    }

    [Fact]
    public void What_no_system_is_found_for_is_said_to_be_unknown()
    {
        byte[] memory = new byte[1 << 20];
        Encoding.ASCII.GetBytes(MemoryGuest.Planted).CopyTo(memory, 5000);
        File.WriteAllBytes(_scratch["a.vmem"], memory);
        JsonElement place = Scan(_scratch["a.vmem"]).GetProperty("targets")[0].GetProperty("findings")[0].GetProperty("memory");
        Assert.Equal(("0x1388", "unknown", "unknown"), (place.GetProperty("physicalAddress").GetString(), place.GetProperty("virtualAddress").GetString(), place.GetProperty("process").GetString()));
        Assert.False(place.TryGetProperty("pid", out _));
    }

    [Fact]
    public void Memory_that_is_cut_off_or_unread_is_never_clean()
    {
        File.WriteAllBytes(_scratch["cut.vmss"], VmwareWriter.Sample().ToArray());
        File.WriteAllBytes(_scratch["cut.vmem"], VmwareWriter.Memory()[..^4096]);
        File.WriteAllBytes(_scratch["cut.save"], QemuStreamWriter.Sample()[..^2000]);
        File.WriteAllBytes(_scratch["machine.sav"], [.. "\x7FVirtualBox SavedState V2.0\n"u8, .. new byte[100]]);
        File.WriteAllBytes(_scratch["old.vsv"], new byte[100]);
        File.WriteAllBytes(_scratch["new.vmrs"], new byte[100]);
        foreach ((string name, string fault) in ((string, string)[])[("cut.vmss", "truncated"), ("cut.save", "truncated"), ("machine.sav", "unsupported"), ("old.vsv", "unsupported"), ("new.vmrs", "unsupported")])
        {
            JsonElement report = Scan(_scratch[name]);
            Assert.Equal("incomplete", report.GetProperty("verdict").GetString());
            Assert.Equal(fault, report.Gaps()[0].GetProperty("fault").GetString());
        }
    }

    [Fact]
    public void Info_tells_what_the_memory_is()
    {
        File.WriteAllBytes(_scratch["a.vmem"], SyntheticGuest.Windows());
        (int status, string output, string error) = Launcher.Run("info", _scratch["a.vmem"]);
        Assert.True(status == 0, error);
        Assert.Contains("vmware/vmem, 2.0 MiB", output, StringComparison.Ordinal);
        Assert.Contains("system Windows NT 10.0.19045, 2 processes", output, StringComparison.Ordinal);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void A_text_in_the_memory_of_a_real_guest_is_found_where_its_core_has_it()
    {
        MemoryGuest guest = MemoryGuest.Instance;
        File.Copy(guest.Core, _scratch["guest.core"]);
        JsonElement finding = Finding(Scan(_scratch["guest.core"]));
        JsonElement place = finding.GetProperty("memory");
        Assert.Equal(("holder", guest.HolderPid), (place.GetProperty("process").GetString(), place.GetProperty("pid").GetInt32()));
        Assert.StartsWith("0x", place.GetProperty("virtualAddress").GetString(), StringComparison.Ordinal);
        long physical = finding.GetProperty("matches")[0].GetProperty("offset").GetInt64();
        Assert.Contains(physical, PhysicalIn(guest.Core));
        Assert.Equal($"0x{physical:x}", place.GetProperty("physicalAddress").GetString());

        foreach (string path in (string[])[guest.Stream, guest.PackedStream("gzip")])
        {
            File.Copy(path, _scratch["guest.save"], overwrite: true);
            JsonElement same = Finding(Scan(_scratch["guest.save"]));
            Assert.Equal(physical, same.GetProperty("matches")[0].GetProperty("offset").GetInt64());
            Assert.Equal(place.GetProperty("virtualAddress").GetString(), same.GetProperty("memory").GetProperty("virtualAddress").GetString());
        }

        static JsonElement Finding(JsonElement report) => report.GetProperty("targets")[0].GetProperty("findings").EnumerateArray().First(f => f.GetProperty("memory").GetProperty("process").GetString() == "holder");
    }

    /// <summary>The physical addresses that binutils and grep tell of the text in an ELF core.</summary>
    private static List<long> PhysicalIn(string core)
    {
        // LOAD, and in hexadecimal: offset, virtual address, physical address, bytes in the file.
        Tool.Find("readelf");
        List<(long Offset, long Physical, long Bytes)> loads =
        [
            .. Tool.Shell($"readelf -lW {core}").Split('\n').Select(l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries)).Where(f => f is ["LOAD", ..])
                .Select(f => (Convert.ToInt64(f[1], 16), Convert.ToInt64(f[3], 16), Convert.ToInt64(f[4], 16))),
        ];
        long[] found = [.. Tool.Shell($"LC_ALL=C grep -abo {MemoryGuest.Planted} {core}").Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => long.Parse(l.Split(':')[0], CultureInfo.InvariantCulture))];
        return [.. found.SelectMany(at => loads.Where(l => at >= l.Offset && at < l.Offset + l.Bytes).Select(l => at - l.Offset + l.Physical))];
    }

    private JsonElement Scan(params string[] arguments) => Launcher.Scan(["--rules", _scratch["rules.yar"], .. arguments]);

    /// <summary>A suspended VM with a disk and memory, each with the text.</summary>
    private void WriteVm()
    {
        string raw = TestDisks.Raw(_scratch, new Dictionary<string, string> { ["bad.txt"] = "xx " + MemoryGuest.Planted });
        TestDisks.Convert(_scratch, raw, "web.vmdk", "vmdk");
        File.Delete(raw);
        byte[] memory = SyntheticGuest.Linux(4);
        Encoding.ASCII.GetBytes(MemoryGuest.Planted).CopyTo(memory, SyntheticGuest.SecretPage + 100);
        File.WriteAllBytes(_scratch["web.vmem"], memory);
        File.WriteAllBytes(_scratch["web.vmss"], new VmwareWriter().Group("memory").Tag("regionsCount", [], VmwareWriter.U32(0)).ToArray());
        File.WriteAllText(_scratch["web.vmx"], """
            config.version = "8"
            displayName = "web"
            checkpoint.vmState = "web.vmss"
            scsi0:0.present = "TRUE"
            scsi0:0.fileName = "web.vmdk"
            """);
    }
}
