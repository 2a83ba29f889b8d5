using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.HyperV;
using Vmsweep.Rigs.HyperV;

namespace Vmsweep.Appliance.Tests.Hypervisors.HyperV;

/// <summary>What a host does to a client: it forgets, refuses, lies, hangs and goes away.</summary>
[Collection(HyperVCollection.Name)]
[Trait("Category", "Slow")]
public sealed class HyperVClientTests(HyperVFixture hyperV)
{
    private const string Short = ", \"timeoutSeconds\": 1";

    [Fact]
    public void A_wrong_password_is_tried_once()
    {
        hyperV.Fresh();
        using HyperVConnector connector = hyperV.Connector(secret: "wrong");
        for (int i = 0; i < 3; i++)
        {
            Assert.Contains("does not let the account \"scanner\" in", Assert.Throws<ConnectorException>(() => connector.List()).Message, StringComparison.Ordinal);
        }

        Assert.Equal(1, hyperV.Rig.Calls["401"]);
    }

    [Fact]
    public void Nothing_is_sent_to_a_host_with_another_certificate_or_without_TLS()
    {
        hyperV.Fresh();
        using HyperVConnector other = hyperV.Connector($", \"certificate\": \"sha256:{new string('A', 64)}\"");
        Assert.Contains("not the pinned one", Assert.Throws<ConnectorException>(() => other.Check()).Message, StringComparison.Ordinal);
        using HyperVConnector unknown = hyperV.Connector(", \"ca\": \"/etc/hostname\"");
        Assert.Contains("signed by nobody that is trusted", Assert.Throws<ConnectorException>(() => unknown.Check()).Message, StringComparison.Ordinal);
        foreach (string plain in (string[])["hyperv://hv1.example.org:5985", "hyperv+http://hv1.example.org"])
        {
            Assert.Contains("plain HTTP", Assert.Throws<ConnectorException>(() => hyperV.Connector($", \"address\": \"{plain}\"")).Message, StringComparison.Ordinal);
        }

        Assert.Empty(hyperV.Rig.Calls);
        using HyperVConnector signed = hyperV.Connector($", \"ca\": \"{hyperV.Rig.CaFile}\"");
        Assert.Contains("cluster of 2", signed.Check(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("status:503", 3, null)]
    [InlineData("status:401", 1, null)]
    [InlineData("status:500", 2, null)]
    [InlineData("close", 2, null)]
    [InlineData("short", 1, null)]
    [InlineData("fault:QuotaLimit", 2, null)]
    [InlineData("fault:InvalidEnumerationContext", 2, null)]
    [InlineData("hang", 1, null)]
    [InlineData("hang", 9, "does not answer")]
    [InlineData("status:404", 1, "404")]
    [InlineData("status:416", 1, "416")]
    [InlineData("status:302", 1, "302")]
    [InlineData("garbage", 1, "no XML")]
    [InlineData("bomb", 1, "no XML")]
    [InlineData("external", 1, "no XML")]
    [InlineData("deep", 1, "nested deeper")]
    [InlineData("endless", 1, "more than")]
    [InlineData("fault:AccessDenied", 1, "AccessDenied")]
    public void A_host_that_fails_is_asked_again_or_told_of(string action, int times, string? why)
    {
        hyperV.Fresh();
        using HyperVConnector connector = hyperV.Connector(ShortFor(action));
        connector.Check();
        hyperV.Rig.Arm("Enumerate", action, times);
        Exception? failed = Record.Exception(() => connector.Cluster.Host("HV1").All("Msvm_ComputerSystem"));
        if (why is null)
        {
            Assert.Null(failed);
        }
        else
        {
            Assert.IsAssignableFrom<IOException>(failed);
            Assert.Contains(why, failed!.Message, StringComparison.Ordinal);
        }

        hyperV.Rig.Reset();
        Assert.Equal(2, connector.Cluster.Host("HV1").All("Msvm_ComputerSystem").Count);
    }

    [Fact]
    public void An_inventory_comes_in_pages_and_again_from_the_beginning_where_one_is_lost()
    {
        hyperV.Fresh();
        for (int i = 0; i < 300; i++)
        {
            hyperV.Rig.Add($"m{i:000}", i % 2 == 0 ? "HV1" : "HV2");
        }

        hyperV.Rig.PageItems = 20;
        hyperV.Rig.Arm("Pull", "close", skip: 5);
        using HyperVConnector connector = hyperV.Connector();
        IReadOnlyList<InventoryVm> vms = connector.List();
        Assert.Equal(301, vms.Select(v => v.Id).Distinct().Count());
        Assert.Equal(150, vms.Count(v => v.Host == "HV2"));
        Assert.True(hyperV.Rig.Calls["Pull"] > 20);
    }

    [Fact]
    public void A_host_that_is_not_there_is_told_of()
    {
        hyperV.Fresh();
        using var connector = new HyperVConnector("gone", hyperV.Connector(Short).Settings with { Address = new Uri("hyperv://127.0.0.1:1"), Nodes = new Dictionary<string, string>() }, TimeProvider.System);
        Assert.Contains("127.0.0.1:1", Assert.Throws<ConnectorException>(() => connector.Check()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void VMs_of_a_node_that_cannot_be_asked_are_told_of_and_are_not_taken_for_scanned()
    {
        hyperV.Fresh();
        hyperV.Rig.Add("far", "HV2");
        hyperV.Rig.Down.Add("HV2");
        using HyperVConnector connector = hyperV.Connector();
        InventoryVm far = connector.List().Single(v => v.Name == "far");
        Assert.Equal(("unknown", "HV2"), (far.Power, far.Host));
        Assert.Contains("it was listed on HV2", Assert.Throws<ConnectorException>(() => hyperV.Open(connector, "far")).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("<b>&\"]]>")]
    [InlineData("../../etc/passwd")]
    [InlineData("\u001b[31mred\u0007")]
    [InlineData("%2f%25\u202eexe")]
    public void Hostile_names_are_data(string name)
    {
        HyperVMachine machine = hyperV.Fresh("3");
        machine.Name = name;
        machine.Notes = name;
        using HyperVConnector connector = hyperV.Connector();
        Assert.Contains(connector.List(), v => v.Name == name.Replace('\u001b', '\uFFFD').Replace('\u0007', '\uFFFD'));
        if (name.Contains('\u001b', StringComparison.Ordinal))
        {
            (int status, string output, string error) = Program.Run(["inventory", "lab", "--config", hyperV.Configuration()]);
            Assert.True(status == 0, error);
            Assert.DoesNotContain('\u001b', output);
        }

        Assert.True(connector.Act(connector.List().Single(v => v.Id == machine.Id), VmAct.Annotate, name).IsDone);
        Assert.Contains("[vmsweep ", machine.Notes, StringComparison.Ordinal);
    }

    /// <summary>Only for what hangs: on a busy machine any answer may take a second, and would be asked for once more.</summary>
    private static string ShortFor(string action) => action == "hang" ? Short : "";
}
