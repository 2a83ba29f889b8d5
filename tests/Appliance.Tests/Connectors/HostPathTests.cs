using Vmsweep.Appliance.Connectors.HyperV;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Connectors;

/// <summary>Paths of Windows hosts, and where they lead here.</summary>
public sealed class HostPathTests
{
    [Theory]
    [InlineData(@"C:\VMs\a.vhdx", @"C:\VMs\a.vhdx")]
    [InlineData(@"c:/VMs/a.vhdx", @"C:\VMs\a.vhdx")]
    [InlineData(@"\\?\C:\VMs\a.vhdx", @"C:\VMs\a.vhdx")]
    [InlineData(@"\\server\share\a.vhdx", @"\\server\share\a.vhdx")]
    [InlineData(@"\\?\UNC\server\share\a.vhdx", @"\\server\share\a.vhdx")]
    [InlineData(@"\\?\Volume{01234567-89ab-cdef-0123-456789abcdef}\a.vhdx", @"\\?\Volume{01234567-89ab-cdef-0123-456789abcdef}\a.vhdx")]
    [InlineData("D:", @"D:\")]
    [InlineData(@"D:\", @"D:\")]
    [InlineData(@"C:\a\..\b.vhdx", null)]
    [InlineData(@"C:\a\.\b.vhdx", null)]
    [InlineData(@"C:\a\\b.vhdx", null)]
    [InlineData(@"C:\a\b.vhdx:stream", null)]
    [InlineData(@"C:\a.\b.vhdx", null)]
    [InlineData(@"C:\a \b.vhdx", null)]
    [InlineData(@"C:\a?\b.vhdx", null)]
    [InlineData("C:\\a\0b.vhdx", null)]
    [InlineData(@"C:a.vhdx", null)]
    [InlineData(@"a.vhdx", null)]
    [InlineData(@"..\a.vhdx", null)]
    [InlineData(@"/etc/passwd", null)]
    [InlineData(@"\\server", null)]
    [InlineData(@"\\..\share\a", null)]
    [InlineData(@"\\?\Volume{x}\a", null)]
    [InlineData(@"\\.\PhysicalDrive0", null)]
    [InlineData("", null)]
    public void Only_whole_and_plain_paths_are_any(string path, string? same) => Assert.Equal(same, HostPath.Parse(path)?.ToString());

    [Fact]
    public void The_longest_mapping_and_a_nodes_own_share_come_first()
    {
        var paths = new MappedPaths(new Dictionary<string, string> { [@"C:\ClusterStorage"] = "/csv", [@"c:\clusterstorage\Volume2"] = "/v2", [@"\\HV1\D$\VMs"] = "/hv1", ["D:"] = "/d" });
        Assert.Equal("/csv Volume1/a.vhdx", Find(@"C:\ClusterStorage\Volume1\a.vhdx", "HV1"));
        Assert.Equal("/v2 a.vhdx", Find(@"C:\ClusterStorage\volume2\a.vhdx", "HV1"));
        Assert.Equal("/hv1 a.vhdx", Find(@"D:\VMs\a.vhdx", "hv1"));
        Assert.Equal("/d VMs/a.vhdx", Find(@"D:\VMs\a.vhdx", "HV2"));
        Assert.Equal("", Find(@"C:\ClusterStorageX\a.vhdx", "HV1"));

        string Find(string path, string host) => paths.Find(HostPath.Parse(path)!, host) is { } found ? $"{found.Folder} {string.Join('/', found.Names)}" : "";
    }

    [Fact]
    public void Case_is_Windows_and_links_are_not_followed()
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch["VMs"]);
        File.WriteAllText(scratch["VMs/A.vhdx"], "a");
        File.WriteAllText(scratch["outside"], "secret");
        File.CreateSymbolicLink(scratch["VMs/link.vhdx"], scratch["outside"]);
        Directory.CreateSymbolicLink(scratch["away"], "/etc");
        File.WriteAllText(scratch["VMs/B.vhdx"], "");
        File.WriteAllText(scratch["VMs/b.VHDX"], "");
        var paths = new MappedPaths(new Dictionary<string, string> { [@"D:\"] = scratch.Folder, ["E:"] = "/nowhere" });
        Assert.Equal(scratch["VMs/A.vhdx"], Open(@"D:\vms\a.VHDX").Path);
        Assert.Equal(Fault.Refused, Open(@"D:\VMs\link.vhdx").Fault);
        Assert.Equal(Fault.Refused, Open(@"D:\away\passwd").Fault);
        Assert.Equal(Fault.Refused, Open(@"D:\VMs").Fault);
        Assert.Equal(Fault.Refused, Open(@"D:\").Fault);
        Assert.Equal(Fault.MissingParent, Open(@"D:\VMs\b.vhdx").Fault);
        Assert.Equal(Fault.Transport, Open(@"E:\a.vhdx").Fault);
        (string? none, Fault fault, string why) = Open(@"F:\a.vhdx");
        Assert.Equal((null, Fault.Unsupported), (none, fault));
        Assert.Contains(@"F:\a.vhdx", why, StringComparison.Ordinal);
        Assert.Contains("\"paths\"", why, StringComparison.Ordinal);

        (string? Path, Fault Fault, string Why) Open(string path) => paths.Open(HostPath.Parse(path)!, "HV1");
    }
}
