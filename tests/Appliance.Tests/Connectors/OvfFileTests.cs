using System.Text;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Connectors;

public sealed class OvfFileTests
{
    [Theory]
    [InlineData("")]
    [InlineData("just text")]
    [InlineData("<a/>")]
    [InlineData("<Envelope>")]
    [InlineData("<!DOCTYPE a [<!ENTITY b \"cc\">]><Envelope>&b;</Envelope>")]
    [InlineData("<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><Envelope/>")]
    [InlineData("<Envelope><VirtualSystem><Name><b/></Name></VirtualSystem></Envelope>")]
    public void What_is_no_descriptor_is_refused(string text) => Assert.Throws<InvalidDataException>(() => Parse(text));

    [Fact]
    public void Elements_in_elements_without_end_are_refused()
    {
        string text = "<Envelope>" + string.Concat(Enumerable.Repeat("<a>", 300_000));
        Assert.Throws<InvalidDataException>(() => Parse(text));
    }

    [Fact]
    public void A_million_files_are_refused() =>
        Assert.Throws<InvalidDataException>(() => Parse("<Envelope>" + string.Concat(Enumerable.Repeat("<File href=\"a\"/>", 100_000)) + "</Envelope>"));

    [Fact]
    public void Files_disks_and_systems_are_read_whatever_their_namespaces_are()
    {
        OvfFile ovf = Parse("""
            <?xml version="1.0"?>
            <ovf:Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/2" xmlns:rasd="r" xmlns:vmw="v" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
              <ovf:References><ovf:File ovf:href="a.vmdk" ovf:id="f1" ovf:compression="gzip" ovf:chunkSize="7516192768"/><ovf:File ovf:href="b.iso" ovf:id="f2"/></ovf:References>
              <ovf:DiskSection><ovf:Info>x</ovf:Info><ovf:Disk ovf:diskId="d1" ovf:fileRef="f1" ovf:capacity="1" ovf:parentRef="d0" ovf:format="vmdk.html#streamOptimized"/></ovf:DiskSection>
              <ovf:VirtualSystemCollection ovf:id="all"><ovf:Name>all of it</ovf:Name>
                <ovf:VirtualSystem ovf:id="vm1"><ovf:Info>i</ovf:Info><ovf:Name> web &amp; mail </ovf:Name>
                  <ovf:OperatingSystemSection ovf:id="36"><ovf:Info/><ovf:Description>Linux 6</ovf:Description></ovf:OperatingSystemSection>
                  <ovf:VirtualHardwareSection><ovf:System><Name>inner</Name></ovf:System><ovf:Item><rasd:HostResource>ovf:/disk/d1</rasd:HostResource><rasd:HostResource>ovf:/file/f2</rasd:HostResource></ovf:Item></ovf:VirtualHardwareSection>
                </ovf:VirtualSystem>
                <ovf:VirtualSystem ovf:id="vm2"><ovf:OperatingSystemSection ovf:id="1" vmw:osType="otherGuest"/></ovf:VirtualSystem>
              </ovf:VirtualSystemCollection>
              <Content ovf:id="old" xsi:type="ovf:VirtualSystem_Type"><Name>third</Name></Content>
            </ovf:Envelope>
            """);
        Assert.Equal([new OvfReference("f1", "a.vmdk", "gzip", 7516192768), new OvfReference("f2", "b.iso", "", 0)], ovf.Files);
        Assert.Equal([new OvfDisk("d1", "f1", "d0", "vmdk.html#streamOptimized", "")], ovf.Disks);
        Assert.Equal([("vm1", "web & mail", "Linux 6"), ("vm2", "", "otherGuest"), ("old", "third", "")], ovf.Systems.Select(s => (s.Id, s.Name, s.GuestOs)));
        Assert.Equal(["ovf:/disk/d1", "ovf:/file/f2"], ovf.Systems[0].Resources);
    }

    [Fact]
    public void A_manifest_is_read_as_every_program_writes_it()
    {
        List<int> unread = [];
        List<ManifestLine> lines = ManifestFile.Parse("SHA1(a.ovf)= da39a3ee5e6b4b0d3255bfef95601890afd80709\r\nSHA256 (b (1).vmdk) = E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855\n\nSHA512(c)= 00\nMD5(d)= 00\n"u8, unread.Add);
        Assert.Equal([("SHA1", "a.ovf", 1), ("SHA256", "b (1).vmdk", 2)], lines.Select(l => (l.Algorithm, l.Name, l.Line)));
        Assert.StartsWith("e3b0", lines[1].Digest, StringComparison.Ordinal);
        Assert.Equal([4, 5], unread);
    }

    [Fact]
    public void Mutated_descriptors_are_read_or_refused()
    {
        byte[] text = Encoding.UTF8.GetBytes(OvfText.Of([("f1", "disk1.vmdk", "")], [("d1", "f1")], ("vm", ["ovf:/disk/d1"])));
        Mutations.Check(text, Read, []);
    }

    private static void Read(byte[] bytes, ReadContext context)
    {
        try
        {
            OvfFile ovf = OvfFile.Parse(bytes, "test.ovf");
            new OvfPackage("test.ovf", ovf, new TarPolicy("x.ova", []), () => []).Vms("x");
            ManifestFile.Parse(bytes, _ => { });
        }
        catch (InvalidDataException)
        {
            // What the finder makes a gap of.
        }
    }

    private static OvfFile Parse(string text) => OvfFile.Parse(Encoding.UTF8.GetBytes(text), "test.ovf");
}
