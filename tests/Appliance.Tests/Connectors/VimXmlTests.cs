using System.Text;
using System.Xml.Linq;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.VSphere;

namespace Vmsweep.Appliance.Tests.Connectors;

/// <summary>Messages of a server that is hostile, and names that lead elsewhere.</summary>
public sealed class VimXmlTests
{
    [Theory]
    [InlineData("")]
    [InlineData("\0\x01 no XML")]
    [InlineData("<a/>")]
    [InlineData("<Envelope/>")]
    [InlineData("<Envelope><Body/></Envelope>")]
    [InlineData("<Envelope><Body><a></Body></Envelope>")]
    [InlineData("<!DOCTYPE a><Envelope><Body><a/></Body></Envelope>")]
    [InlineData("<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><Envelope><Body><a>&x;</a></Body></Envelope>")]
    [InlineData("<Envelope><Body><a>&undeclared;</a></Body></Envelope>")]
    public void What_is_no_message_is_refused(string text) =>
        Assert.Throws<InvalidDataException>(() => VimXml.Answer(Encoding.UTF8.GetBytes(text)));

    [Fact]
    public void Depth_and_size_are_bounded()
    {
        Assert.Throws<InvalidDataException>(() => VimXml.Answer(Encoding.UTF8.GetBytes("<Envelope><Body>" + string.Concat(Enumerable.Repeat("<a>", 100_000)))));
        Assert.Throws<InvalidDataException>(() => VimXml.Answer(Encoding.UTF8.GetBytes("<Envelope><Body>" + string.Concat(Enumerable.Repeat("<a/>", 3_000_000)) + "</Body></Envelope>")));
    }

    /// <summary>Whatever is changed in a real answer, it gives data or is refused.</summary>
    [Fact]
    [Trait("Category", "Slow")]
    public void A_mutated_answer_gives_data_or_is_refused()
    {
        byte[] answer = Encoding.UTF8.GetBytes(
            """<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><s:Body><RetrievePropertiesExResponse xmlns="urn:vim25"><returnval><token>1</token><objects><obj type="VirtualMachine">vm-1</obj><propSet><name>config.hardware.device</name><val xsi:type="ArrayOfVirtualDevice"><VirtualDevice xsi:type="ParaVirtualSCSIController"><key>1000</key><busNumber>0</busNumber></VirtualDevice><VirtualDevice xsi:type="VirtualDisk"><key>2000</key><backing xsi:type="VirtualDiskFlatVer2BackingInfo"><fileName>[ds] a/a-000001.vmdk</fileName><datastore type="Datastore">ds-1</datastore><diskMode>persistent</diskMode><parent><fileName>[ds] a/a.vmdk</fileName></parent></backing><controllerKey>1000</controllerKey><unitNumber>0</unitNumber><capacityInKB>1024</capacityInKB></VirtualDevice></val></propSet><propSet><name>snapshot</name><val xsi:type="VirtualMachineSnapshotInfo"><rootSnapshotList><snapshot type="VirtualMachineSnapshot">s-1</snapshot><name>one</name><createTime>2026-01-01T00:00:00Z</createTime><childSnapshotList><snapshot type="VirtualMachineSnapshot">s-2</snapshot><name>two</name></childSnapshotList></rootSnapshotList></val></propSet></objects></returnval></RetrievePropertiesExResponse></s:Body></s:Envelope>""");
        var random = new Random(7);
        int read = 0;
        for (int i = 0; i < 20_000; i++)
        {
            byte[] mutated = [.. answer];
            for (int n = random.Next(1, 4); n > 0; n--)
            {
                mutated[random.Next(mutated.Length)] = random.Next(3) == 0 ? (byte)random.Next(256) : answer[random.Next(answer.Length)];
            }

            try
            {
                foreach (XElement found in VimXml.Answer(mutated).Element("returnval")?.Elements("objects") ?? [])
                {
                    var vm = new VimObject(found);
                    foreach (DiskFacts disk in VmFacts.DisksOf(vm["config.hardware.device"]))
                    {
                        Assert.True(disk.CapacityBytes >= 0);
                        read += DatastorePath.TryParse(disk.File, out DatastorePath path) && !path.Path.Contains("..", StringComparison.Ordinal) ? 1 : 0;
                    }
                }
            }
            catch (InvalidDataException)
            {
                // Refused.
            }
        }

        Assert.True(read > 1000, $"only {read} were read");
    }

    [Fact]
    public void What_cannot_be_said_in_XML_is_an_error_for_the_operator() =>
        Assert.Throws<ConnectorException>(() => VimXml.Request("Login", new MoRef("SessionManager", "s"), [new XElement("password", "a\x01b")]));

    [Theory]
    [InlineData("", "does not tell of its devices")]
    [InlineData("<propSet><name>runtime.connectionState</name><val>inaccessible</val></propSet>", "it is inaccessible")]
    [InlineData("<propSet><name>config.hardware.device</name><val/></propSet>", null)]
    public void A_VM_that_is_not_told_of_is_none_without_disks(string properties, string? why)
    {
        var vm = new VmFacts(new VimObject(XElement.Parse($"<objects><obj type='VirtualMachine'>vm-1</obj><propSet><name>runtime.powerState</name><val>poweredOff</val></propSet>{properties}</objects>")));
        Exception? refused = Record.Exception(() => VmCare.Check(vm, new ConnectorSettings("lab", new Uri("vsphere://h"))));
        Assert.Equal(why is null, refused is null);
        Assert.Contains(why ?? "", refused?.Message ?? "", StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("[ds] vm/a.vmdk", "ds", "vm/a.vmdk")]
    [InlineData("[a b (1)] x#+%20é/ y.vmdk", "a b (1)", "x#+%20é/ y.vmdk")]
    [InlineData("[ds] ", null, null)]
    [InlineData("[] a", null, null)]
    [InlineData("[ds", null, null)]
    [InlineData("ds/a.vmdk", null, null)]
    [InlineData("/etc/passwd", null, null)]
    [InlineData("[ds] /etc/passwd", null, null)]
    [InlineData("[ds] a/../../b", null, null)]
    [InlineData("[ds] a//b", null, null)]
    [InlineData("[ds] a/./b", null, null)]
    [InlineData("[ds] a\nb", null, null)]
    [InlineData("[d\ts] a", null, null)]
    public void Paths_of_datastores(string text, string? datastore, string? below)
    {
        Assert.Equal(datastore is not null, DatastorePath.TryParse(text, out DatastorePath path));
        if (datastore is not null)
        {
            Assert.Equal((datastore, below), (path.Datastore, path.Path));
        }
    }
}
