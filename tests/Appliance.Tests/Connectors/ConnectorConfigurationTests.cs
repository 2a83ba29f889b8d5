using System.Text;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Connectors;

/// <summary><c>vmsweep.json</c>: what is wrong in it is said with file and line.</summary>
public sealed class ConnectorConfigurationTests
{
    [Fact]
    public void Everything_that_can_be_said_is_read()
    {
        ConnectorSettings lab = Parse(
            """
            // comments may stand here
            { "connectors": { "lab": {
                "address": "libvirt:///system?socket=/x/libvirt-sock", "account": "scanner", "secret": { "credential": "lab" },
                "certificate": "sha256:AB:CDef00000000000000000000000000000000000000000000000000000000000", "ca": "/etc/ca.pem",
                "bases": ["/b"], "views": "/run/v", "scratch": "/s", "saves": "/saves", "minimumFree": "10G", "maximumHours": 1.5 } } }
            """.Replace("AB:CDef00000000000000000000000000000000000000000000000000000000000", "AB:CD" + new string('0', 60), StringComparison.Ordinal)).Connectors["lab"];
        Assert.Equal("libvirt:///system?socket=/x/libvirt-sock", lab.Address.ToString());
        Assert.Equal(("scanner", "lab", "ABCD" + new string('0', 60), "/etc/ca.pem"), (lab.Account, lab.Secret!.Credential, lab.PinnedCertificate, lab.CaFile));
        Assert.Equal(("/run/v", "/s", "/saves", 10L << 30, TimeSpan.FromMinutes(90)), (lab.Views, lab.Scratch, lab.Saves, lab.MinimumFreeBytes, lab.MaximumAge));
        Assert.Equal(["/b"], lab.Bases);
        Assert.Empty(Parse("{}").Connectors);
    }

    [Fact]
    public void Hosts_that_may_be_followed_are_pinned_or_signed()
    {
        ConnectorSettings pool = Parse($$"""{ "connectors": { "pool": { "address": "xapi://a", "hosts": { "10.0.0.2": "sha256:{{new string('a', 64)}}", "10.0.0.3": "" } } } }""").Connectors["pool"];
        Assert.Equal(new string('A', 64), pool.Hosts["10.0.0.2"]);
        Assert.Null(pool.Hosts["10.0.0.3"]);
    }

    [Fact]
    public void Nothing_is_attached_to_a_VM_unless_it_is_asked_for()
    {
        Assert.Equal([ReadWay.Files, ReadWay.Ranges, ReadWay.Export], Parse("""{ "connectors": { "lab": { "address": "vsphere://h" } } }""").Connectors["lab"].Ways);
        ConnectorSettings asked = Parse("""{ "connectors": { "lab": { "address": "vsphere://h", "ways": ["files", "hotadd", "ranges"], "appliance": "scanner" } } }""").Connectors["lab"];
        Assert.Equal([ReadWay.Files, ReadWay.HotAdd, ReadWay.Ranges], asked.Ways);
        Assert.Equal("scanner", asked.Appliance);
    }

    [Theory]
    [InlineData(1, "[]", "object")]
    [InlineData(2, "{\n\"connector\": {} }", "unknown key \"connector\"")]
    [InlineData(2, "{ \"connectors\": {\n \"lab\": { \"adress\": \"libvirt:///system\" } } }", "unknown key \"adress\"")]
    [InlineData(1, "{ \"connectors\": { \"lab\": {} } }", "no \"address\"")]
    [InlineData(1, "{ \"connectors\": { \"a/b\": { \"address\": \"libvirt:///system\" } } }", "no name")]
    [InlineData(1, "{ \"connectors\": { \"lab\": { \"address\": \"/etc\" } } }", "no address")]
    [InlineData(1, "{ \"connectors\": { \"lab\": { \"address\": 5 } } }", "text is expected")]
    [InlineData(1, "{ \"connectors\": { \"lab\": { \"address\": \"https://u:secret@h\" } } }", "password")]
    [InlineData(3, "{ \"connectors\": { \"lab\": { \"address\": \"libvirt:///system\",\n\n \"secret\": \"hunter2\" } } }", "object")]
    [InlineData(1, "{ \"connectors\": { \"lab\": { \"address\": \"libvirt:///system\", \"secret\": {} } } }", "either")]
    [InlineData(1, "{ \"connectors\": { \"lab\": { \"address\": \"libvirt:///system\", \"secret\": { \"file\": \"a\" } } } }", "absolute")]
    [InlineData(1, "{ \"connectors\": { \"lab\": { \"address\": \"libvirt:///system\", \"certificate\": \"sha1:00\" } } }", "sha256")]
    [InlineData(1, "{ \"connectors\": { \"lab\": { \"address\": \"libvirt:///system\", \"minimumFree\": \"much\" } } }", "no size")]
    [InlineData(1, "{ \"connectors\": { \"lab\": { \"address\": \"xapi://h\", \"hosts\": [\"h2\"] } } }", "an object of addresses")]
    [InlineData(2, "{ \"connectors\": { \"lab\": { \"address\": \"xapi://h\", \"hosts\": {\n \"h2\": \"sha256:0\" } } } }", "64 hexadecimal")]
    [InlineData(2, "{ \"connectors\": { \"lab\": { \"address\": \"xapi://h\", \"hosts\": {\n \"h2\": true } } } }", "text is expected")]
    [InlineData(2, "{ \"connectors\": { \"lab\": { \"address\": \"vsphere://h\",\n \"ways\": [\"hotadd\", \"san\"] } } }", "\"san\" is no way")]
    [InlineData(1, "{ \"connectors\": { \"lab\": { \"address\": \"vsphere://h\", \"ways\": [\"hotadd\", \"hotadd\"] } } }", "twice")]
    [InlineData(1, "{ \"connectors\": { \"lab\": { \"address\": \"vsphere://h\", \"ways\": [] } } }", "at least one")]
    [InlineData(1, "{ \"connectors\": { \"lab\": { \"address\": \"vsphere://h\", \"ways\": [\"ranges\", \"files\"] } } }", "before \"ranges\"")]
    [InlineData(2, "{ \"connectors\": { \"lab\": { \"address\": \"vsphere://h\",\n \"appliance\": \"scanner\" } } }", "only with \"hotadd\"")]
    [InlineData(1, "{ \"connectors\": { \"lab\": { \"address\": \"libvirt:///system\", \"maximumHours\": -1 } } }", "above 0")]
    [InlineData(1, "{ \"connectors\": { \"lab\": { \"address\": \"libvirt:///system\", \"views\": \"run\" } } }", "absolute")]
    [InlineData(2, "{ \"connectors\": { \"lab\": { \"address\": \"libvirt:///system\" },\n \"lab\": { \"address\": \"libvirt:///system\" } } }", "twice")]
    [InlineData(2, "{ \"connectors\": { \"h\": { \"address\": \"hyperv://h\", \"paths\": {\n \"VMs\": \"/mnt\" } } } }", "no path of Windows")]
    [InlineData(1, "{ \"connectors\": { \"h\": { \"address\": \"hyperv://h\", \"paths\": { \"D:\": \"mnt\" } } } }", "absolute")]
    [InlineData(2, "{ \"connectors\": { \"h\": { \"address\": \"hyperv://h\", \"paths\": { \"D:\": \"/a\",\n \"d:/\": \"/b\" } } } }", "twice")]
    [InlineData(1, "{ \"connectors\": { \"h\": { \"address\": \"hyperv://h\", \"nodes\": { \"HV2\": \"u@h/x\" } } } }", "host:port")]
    [InlineData(1, "{ \"connectors\": { \"h\": { \"address\": \"hyperv://h\", \"authentication\": \"digest\" } } }", "negotiate or basic")]
    [InlineData(2, "{\n nonsense", "no JSON")]
    [InlineData(1, "", "no JSON")]
    public void What_is_wrong_is_named_with_its_line(int line, string json, string why)
    {
        ConfigurationException wrong = Assert.Throws<ConfigurationException>(() => Parse(json));
        Assert.StartsWith($"/etc/v.json:{line}: ", wrong.Message, StringComparison.Ordinal);
        Assert.Contains(why, wrong.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", wrong.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_secret_that_others_may_read_is_refused()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["secret"], "hunter2\n");
        var source = new SecretSource(scratch["secret"], null);
        File.SetUnixFileMode(scratch["secret"], UnixFileMode.UserRead | UnixFileMode.GroupRead);
        Assert.Contains("chmod 600", Assert.Throws<Vmsweep.Appliance.Connectors.ConnectorException>(source.Read).Message, StringComparison.Ordinal);
        File.SetUnixFileMode(scratch["secret"], UnixFileMode.UserRead);
        Assert.Equal("hunter2", source.Read());
        Assert.Throws<Vmsweep.Appliance.Connectors.ConnectorException>(new SecretSource(scratch["none"], null).Read);
    }

    private static ApplianceConfiguration Parse(string json) => ApplianceConfiguration.Parse("/etc/v.json", Encoding.UTF8.GetBytes(json));
}
