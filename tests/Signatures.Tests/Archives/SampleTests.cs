using Vmsweep.Golden;
using Vmsweep.Signatures.Archives;

namespace Vmsweep.Signatures.Tests.Archives;

/// <summary>ClamAV's test files: one small program, packed by programs of their time in dozens of ways. Where it is not found as a member, a gap says so.</summary>
public sealed class SampleTests
{
    private const string Folder = "/usr/share/clamav-testfiles";

    [Theory]
    [InlineData("clam.7z", "clam.exe")]
    [InlineData("clam.bin-be.cpio", "clam.exe")]
    [InlineData("clam.bin-le.cpio", "clam.exe")]
    [InlineData("clam.bz2.zip", "clam.exe")]
    [InlineData("clam.cab", "clam.exe")]
    [InlineData("clam.d64.zip", "clam.exe")]
    [InlineData("clam.chm", "/clam.exe.txt")]
    [InlineData("clam.exe.bz2", "(bzip2)")]
    [InlineData("clam.exe.szdd", "(szdd)")]
    [InlineData("clam.tnef", "clam.exe")]
    [InlineData("clam.exe.mbox.base64", "clam.exe")]
    [InlineData("clam.exe.mbox.uu", "clam.exe")]
    [InlineData("clam.mail", "clam.exe")]
    [InlineData("clam-nsis.exe", @"$INSTDIR\clam.exe")]
    [InlineData("clam.arj", "clam.exe")]
    [InlineData("clam.newc.cpio", "clam.exe")]
    [InlineData("clam.odc.cpio", "clam.exe")]
    [InlineData("clam.ole.doc", "Clam.exe")]
    [InlineData("clam.pdf", "(stream at 5816)")]
    [InlineData("clam.tar.gz", "(gzip) > clam.exe")]
    [InlineData("clam.zip", "clam.exe")]
    public void The_program_is_found(string file, string inside)
    {
        Opened opened = Opened.Of(File.ReadAllBytes(Sample(file)));
        Assert.Equal([inside], opened.Members.Where(m => m.Sha256 == Content.Sha256OfFile(Sample("clam.exe"))).Select(m => m.Inside));
        Assert.Empty(opened.Gaps);
    }

    [Theory]
    [InlineData("clam_IScab_int.exe", "InstallShield cabinet")]
    [InlineData("clam_ISmsi_ext.exe", "InstallShield setup")]
    [InlineData("clam_ISmsi_int.exe", "InstallShield setup")]
    [InlineData("clam.impl.zip", "zip member")]
    public void What_is_known_and_not_opened_is_a_gap(string file, string structure)
    {
        Opened opened = Opened.Of(File.ReadAllBytes(Sample(file)));
        Assert.Equal((ArchiveFault.Unsupported, structure), opened.Gaps.Select(g => (g.Fault, g.Structure)).Distinct().Single());
    }

    [Fact]
    public void A_gap_of_depth_is_said_once()
    {
        Opened opened = Opened.Of(File.ReadAllBytes(Sample("clam_cache_emax.tgz")), new ArchiveLimits { Depth = 5 });
        Assert.Equal("archive depth", Assert.Single(opened.Gaps).Structure);
        Assert.Equal(5, opened.Members.Max(m => m.Inside.Split(" > ").Length));
    }

    private static string Sample(string name) =>
        File.Exists(Path.Combine(Folder, name)) ? Path.Combine(Folder, name) : throw new InvalidOperationException($"{name} is missing; install it with: apt-get install -y clamav-testfiles");
}
