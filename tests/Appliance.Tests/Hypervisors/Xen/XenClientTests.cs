using System.Text.Json.Nodes;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Xen;
using Vmsweep.Rigs.Xen;

namespace Vmsweep.Appliance.Tests.Hypervisors.Xen;

/// <summary>What a pool does to a client: it forgets, refuses, lies, hangs, sends on and goes away.</summary>
[Collection(XenCollection.Name)]
[Trait("Category", "Slow")]
public sealed class XenClientTests(XenFixture xen)
{
    private const string Short = ", \"timeoutSeconds\": 1";
    private const string LogIn = "session.login_with_password";

    [Fact]
    public void A_wrong_password_is_tried_once()
    {
        XenRig rig = xen.Fresh();
        using XenConnector connector = xen.Connector(secret: "wrong");
        for (int i = 0; i < 3; i++)
        {
            Assert.Contains("does not let the account \"scanner\" in", Assert.Throws<ConnectorException>(() => connector.List()).Message, StringComparison.Ordinal);
        }

        Assert.Equal(1, rig.Calls(LogIn));
    }

    [Fact]
    public void A_session_that_is_gone_is_begun_anew_and_ended_at_the_end()
    {
        XenRig rig = xen.Fresh();
        using (XenConnector connector = xen.Connector())
        {
            Assert.Single(connector.List());
            rig.Expire();
            Assert.Single(connector.List());
            Assert.Equal(2, rig.Calls(LogIn));
            rig.Arm("VDI.get_all_records", "error:SESSION_INVALID");
            Assert.Single(connector.List());
            Assert.Equal(3, rig.Calls(LogIn));
        }

        // The last one; those that the pool had forgotten were nobody's to end.
        Assert.Equal(1, rig.Calls("session.logout"));
    }

    [Fact]
    public void Nothing_is_sent_to_a_server_with_another_certificate()
    {
        XenRig rig = xen.Fresh();
        using XenConnector other = xen.Connector($", \"certificate\": \"sha256:{new string('A', 64)}\"");
        string refused = Assert.Throws<ConnectorException>(() => other.Check()).Message;
        Assert.Contains(rig.Fingerprint, refused, StringComparison.Ordinal);
        Assert.Contains("not the pinned one", refused, StringComparison.Ordinal);
        using XenConnector unknown = xen.Connector(", \"ca\": \"/etc/hostname\"");
        Assert.Contains("signed by nobody that is trusted", Assert.Throws<ConnectorException>(() => unknown.Check()).Message, StringComparison.Ordinal);
        Assert.Empty(rig.Called);
        using XenConnector signed = xen.Connector($", \"ca\": \"{rig.CaFile}\"");
        Assert.Contains("XCP-ng 8.3.0, pool \"lab pool\", master xen-1", signed.Check(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("status:503", 3, null)]
    [InlineData("close", 2, null)]
    [InlineData("status:500", 2, null)]
    [InlineData("status:401", 1, null)]
    [InlineData("lie", 1, null)]
    [InlineData("hang", 1, null)]
    [InlineData("hang", 9, "does not answer")]
    [InlineData("status:404", 1, "404")]
    [InlineData("status:416", 1, "416")]
    [InlineData("status:302", 1, "302")]
    [InlineData("garbage", 1, "no JSON")]
    [InlineData("deep", 1, "nested deeper")]
    [InlineData("list", 1, "something else")]
    [InlineData("wrongid", 1, "something else")]
    [InlineData("endless", 1, "more than")]
    [InlineData("error:RBAC_PERMISSION_DENIED", 1, "RBAC_PERMISSION_DENIED")]
    public void A_pool_that_fails_is_asked_again_or_told_of(string action, int times, string? why)
    {
        XenRig rig = xen.Fresh();
        using XenConnector connector = xen.Connector(ShortFor(action));
        connector.Check();
        rig.Arm("pool.get_all_records", action, times);
        Exception? failed = Record.Exception(connector.Check);
        if (why is null)
        {
            Assert.Null(failed);
        }
        else
        {
            Assert.True(failed is IOException or InvalidDataException, failed?.ToString());
            Assert.Contains(why, failed!.Message, StringComparison.Ordinal);
        }

        rig.Reset(xen.Raw);
        using XenConnector again = xen.Connector();
        again.Check();
    }

    [Fact]
    public void A_host_that_is_not_there_is_told_of()
    {
        using XenConnector connector = xen.Connector(Short, address: "127.0.0.1:1");
        Assert.Contains("127.0.0.1:1", Assert.Throws<ConnectorException>(connector.Check).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_master_is_followed_where_the_operator_allows_it_and_nowhere_else()
    {
        XenRig member = xen.Fresh();
        using var master = new XenRig("127.0.0.2", member.Port);
        master.Reset(xen.Raw);
        member.Master = "127.0.0.2";
        try
        {
            using XenConnector strict = xen.Connector();
            Assert.Contains("in \"hosts\"", Assert.Throws<ConnectorException>(() => strict.List()).Message, StringComparison.Ordinal);
            using XenConnector other = xen.Connector($", \"hosts\": {{ \"127.0.0.3\": \"{master.Fingerprint}\" }}");
            Assert.Contains("in \"hosts\"", Assert.Throws<ConnectorException>(() => other.List()).Message, StringComparison.Ordinal);
            using XenConnector wrong = xen.Connector($", \"hosts\": {{ \"127.0.0.2\": \"{member.Fingerprint}\" }}");
            Assert.Contains("not the pinned one", Assert.Throws<ConnectorException>(() => wrong.List()).Message, StringComparison.Ordinal);
            Assert.Empty(master.Called);
            using XenConnector pinned = xen.Connector($", \"hosts\": {{ \"127.0.0.2\": \"{master.Fingerprint}\" }}");
            Assert.Single(pinned.List());
            using XenConnector signed = xen.Connector($", \"certificate\": \"{member.Fingerprint}\", \"ca\": \"{master.CaFile}\", \"hosts\": {{ \"127.0.0.2\": \"\" }}");
            Assert.Single(signed.List());

            // The other becomes the master in the middle.
            member.Master = null;
            master.Master = "127.0.0.1";
            Assert.Single(signed.List());

            // Two members that name each other.
            member.Master = "127.0.0.2";
            Assert.Contains("HOST_IS_SLAVE", Assert.Throws<ConnectorException>(() => signed.List()).Message, StringComparison.Ordinal);
        }
        finally
        {
            member.Master = null;
        }
    }

    [Fact]
    public void Hostile_names_are_data()
    {
        string[] names = ["../../etc/passwd", "<b>&\"]]>", "%2f%25\u202eexe", "\u001b[31mred\u0007"];
        XenRig rig = xen.Fresh("Halted");
        foreach (string name in names)
        {
            rig.AddVm(name, "Halted", xen.Raw);
        }

        rig.Set("SR", XenRig.Repository, "name_label", names[^1]);
        (int status, string output, string error) = Program.Run(["inventory", "lab", "--config", xen.Configuration()]);
        Assert.True(status == 0, error);
        Assert.DoesNotContain('\u001b', output);
        using XenConnector connector = xen.Connector();
        IReadOnlyList<InventoryVm> vms = connector.List();
        Assert.Equal(names.Append(XenRig.Machine).Order(StringComparer.Ordinal), vms.Select(v => v.Name));
        Assert.All(vms, v => Assert.Equal($"[{names[^1]}] {rig.Disks(v.Name)[0]}", Assert.Single(v.Disks).Source));
    }

    [Fact]
    public void Objects_that_are_none_are_empty()
    {
        XenRig rig = xen.Fresh();
        foreach (string field in (string[])["tags", "other_config", "VBDs", "power_state", "resident_on", "guest_metrics", "snapshots"])
        {
            foreach (JsonNode? value in (JsonNode?[])[null, 7, "x", new JsonArray(1, "a", new JsonObject()), new JsonObject { ["a"] = 1 }])
            {
                rig.Reset(xen.Raw);
                rig.Set("VM", XenRig.Machine, field, value);
                using XenConnector connector = xen.Connector();
                Assert.Equal(XenRig.Machine, Assert.Single(connector.List()).Name);
            }
        }
    }

    [Fact]
    public void An_inventory_has_what_people_file_VMs_by()
    {
        XenRig rig = xen.Fresh();
        rig.Set("VM", XenRig.Machine, "tags", new JsonArray("prod <&>", "web"));
        rig.Set("VM", XenRig.Machine, "other_config", new JsonObject { ["folder"] = "/site/rack 1", ["x"] = "y" });
        rig.Snapshot(XenRig.Machine, "before the update");
        rig.AddVm("off", "Halted");
        rig.AddVm("asleep", "Suspended");
        rig.AddVm("waiting", "Paused");
        using XenConnector connector = xen.Connector();
        IReadOnlyList<InventoryVm> vms = connector.List();
        Assert.Equal(["asleep suspended", "off off", "waiting paused", "web 1 running"], vms.Select(v => $"{v.Name} {v.Power}"));
        InventoryVm web = vms[^1];
        Assert.Equal(("lab pool/site/rack 1", "xen-1", "Debian GNU/Linux 12"), (web.Folder, web.Host, web.GuestOs));
        Assert.Equal(["prod <&>", "web"], web.Tags);
        Assert.Equal(("lab pool", ""), (vms[1].Folder, vms[1].Host));
        InventoryDisk disk = Assert.Single(web.Disks);
        Assert.Equal(("xvda", $"[{XenRig.Repository}] {rig.Disks(XenRig.Machine)[0]}"), (disk.Name, disk.Source));
    }

    /// <summary>Only for what hangs: on a busy machine any answer may take a second, and would be asked for once more.</summary>
    private static string ShortFor(string action) => action == "hang" ? Short : "";
}
