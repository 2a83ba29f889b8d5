using Vmsweep.Appliance.Connectors.HyperV.Wmi;

namespace Vmsweep.Appliance.Tests.Hypervisors.HyperV;

/// <summary>Objects within a host's answer are XML within XML, and as hostile.</summary>
public sealed class EmbeddedInstanceTests
{
    [Theory]
    [InlineData("<?xml version=\"1.0\"?><!DOCTYPE b [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]><INSTANCE><PROPERTY NAME=\"Path\"><VALUE>&b;</VALUE></PROPERTY></INSTANCE>")]
    [InlineData("<?xml version=\"1.0\"?><!DOCTYPE b [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><INSTANCE><PROPERTY NAME=\"Path\"><VALUE>&x;</VALUE></PROPERTY></INSTANCE>")]
    [InlineData("<INSTANCE><PROPERTY NAME=\"Path\">")]
    [InlineData("")]
    [InlineData("deep")]
    public void What_is_no_plain_XML_is_refused(string text) =>
        Assert.Throws<InvalidDataException>(() => EmbeddedInstance.Read(text == "deep" ? string.Concat(Enumerable.Repeat("<a>", 100_000)) : text));

    [Theory]
    [InlineData("<b>&\"]]>")]
    [InlineData("../../etc/passwd")]
    [InlineData("%2f\u202eexe")]
    public void Values_are_data_both_ways(string value) =>
        Assert.Equal(value, EmbeddedInstance.Read(EmbeddedInstance.Write("Msvm_VirtualSystemSettingData", ("ElementName", "string", value)))["elementname"]);
}
