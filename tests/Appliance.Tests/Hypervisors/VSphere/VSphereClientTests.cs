using System.Security.Cryptography;
using System.Text.Json;
using Microsoft.Extensions.Time.Testing;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Https;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Rigs;

namespace Vmsweep.Appliance.Tests.Hypervisors.VSphere;

/// <summary>What a server does to a client: it forgets, refuses, lies, hangs and goes away.</summary>
[Collection(VSphereCollection.Name)]
[Trait("Category", "Slow")]
public sealed class VSphereClientTests(VSphereFixture vsphere)
{
    private const string Short = ", \"timeoutSeconds\": 1";

    private int Calls(string method) => vsphere.Rig.Control("log").GetProperty("calls").TryGetProperty(method, out JsonElement count) ? count.GetInt32() : 0;

    [Fact]
    public void A_wrong_password_is_tried_once()
    {
        vsphere.Fresh();
        using VSphereConnector connector = vsphere.Connector(secret: "wrong");
        for (int i = 0; i < 3; i++)
        {
            Assert.Contains("does not let the account \"scanner\" in", Assert.Throws<ConnectorException>(() => connector.List()).Message, StringComparison.Ordinal);
        }

        Assert.Equal(1, Calls("Login"));
    }

    [Fact]
    public void A_session_that_is_gone_is_begun_anew_in_the_middle_of_pages()
    {
        VSphereRig rig = vsphere.Fresh();
        rig.Control("pages", ("objects", "1"));
        using VSphereConnector connector = vsphere.Connector();
        int all = connector.List().Count;
        Assert.True(Calls("ContinueRetrievePropertiesEx") > 3);
        rig.Control("expire");
        Assert.Equal(all, connector.List().Count);
        Assert.Equal(2, Calls("Login"));
        rig.Arm("soap", "fault:NotAuthenticated", "ContinueRetrievePropertiesEx", skip: 2);
        Assert.Equal(all, connector.List().Count);
        Assert.Equal(3, Calls("Login"));
        rig.Arm("soap", "close", "ContinueRetrievePropertiesEx", skip: 2);
        Assert.Equal(all, connector.List().Count);
        rig.Control("pages", ("objects", "0"));
    }

    [Fact]
    public void A_session_that_nothing_is_asked_of_is_kept_alive()
    {
        VSphereRig rig = vsphere.Fresh();
        var time = new FakeTimeProvider();
        using (VSphereConnector connector = vsphere.Connector(time: time))
        {
            connector.Check();
            int asked = Calls("CurrentTime");

            // Servers forget a session of which nothing was heard for thirty minutes.
            for (int minutes = 5; minutes <= 30; minutes += 5)
            {
                time.Advance(TimeSpan.FromMinutes(5));
                Assert.Equal(asked + (minutes / 5), Calls("CurrentTime"));
            }

            rig.Control("expire");
            time.Advance(TimeSpan.FromMinutes(5));
            Assert.Equal(2, Calls("Login"));
        }

        int ended = Calls("CurrentTime");
        time.Advance(TimeSpan.FromMinutes(30));
        Assert.Equal(ended, Calls("CurrentTime"));
    }

    [Fact]
    public void Nothing_is_sent_to_a_server_with_another_certificate()
    {
        VSphereRig rig = vsphere.Fresh();
        using VSphereConnector other = vsphere.Connector($", \"certificate\": \"sha256:{new string('A', 64)}\"");
        string refused = Assert.Throws<ConnectorException>(() => other.Check()).Message;
        Assert.Contains(rig.Fingerprint, refused, StringComparison.Ordinal);
        Assert.Contains("not the pinned one", refused, StringComparison.Ordinal);
        using VSphereConnector unknown = vsphere.Connector(", \"ca\": \"/etc/hostname\"");
        Assert.Contains("signed by nobody that is trusted", Assert.Throws<ConnectorException>(() => unknown.Check()).Message, StringComparison.Ordinal);
        Assert.Empty(rig.Control("log").GetProperty("calls").EnumerateObject());
        using VSphereConnector signed = vsphere.Connector($", \"ca\": \"{rig.CaFile}\"");
        Assert.Contains("6.5", signed.Check(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("status:503", 3, null)]
    [InlineData("close", 2, null)]
    [InlineData("status:500", 2, null)]
    [InlineData("status:401", 1, null)]
    [InlineData("hang", 1, null)]
    [InlineData("hang", 9, "does not answer")]
    [InlineData("status:404", 1, "404")]
    [InlineData("status:302", 1, "302")]
    [InlineData("garbage", 1, "no XML")]
    [InlineData("bomb", 1, "no XML")]
    [InlineData("external", 1, "no XML")]
    [InlineData("deep", 1, "nested deeper")]
    [InlineData("endless", 1, "more than")]
    [InlineData("fault:NoPermission", 1, "NoPermission")]
    public void A_server_that_fails_is_asked_again_or_told_of(string action, int times, string? why)
    {
        VSphereRig rig = vsphere.Fresh();
        using VSphereConnector connector = vsphere.Connector(ShortFor(action));
        connector.Check();
        long before = GC.GetTotalMemory(forceFullCollection: true);
        rig.Arm("soap", action, "CurrentTime", times);
        Exception? failed = Record.Exception(() => connector.Check());
        if (why is null)
        {
            Assert.Null(failed);
        }
        else
        {
            Assert.IsAssignableFrom<IOException>(failed);
            Assert.Contains(why, failed!.Message, StringComparison.Ordinal);
        }

        failed = null;

        // Other tests of this process have memory of their own meanwhile: what one of them holds goes again.
        Assert.True(SpinWait.SpinUntil(() => GC.GetTotalMemory(forceFullCollection: true) - before < 64 << 20, TimeSpan.FromMinutes(2)), "memory is still held");
        rig.Reset();
        connector.Check();
    }

    [Fact]
    public void A_host_that_is_not_there_is_told_of()
    {
        using VSphereConnector connector = new("gone", vsphere.Connector(Short).Settings with { Address = new Uri("vsphere://127.0.0.1:1") }, TimeProvider.System);
        Assert.Contains("127.0.0.1:1", Assert.Throws<ConnectorException>(() => connector.Check()).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("<b>&\"]]>")]
    [InlineData("../../etc/passwd")]
    [InlineData("\u001b[31mred\u0007")]
    [InlineData("%2f%25\u202eexe")]
    public void Hostile_names_are_data(string name)
    {
        VSphereRig rig = vsphere.Fresh("poweredOff");
        rig.Vm(VSphereRig.Machine, ("rename", name));
        try
        {
            (int status, string output, string error) = Program.Run(["inventory", "lab", "--config", vsphere.Configuration()]);
            Assert.True(status == 0, error);
            Assert.DoesNotContain('\u001b', output);
            using VSphereConnector connector = vsphere.Connector();
            Assert.Contains(connector.List(), v => v.Name == name.Replace('\u001b', '\uFFFD').Replace('\u0007', '\uFFFD'));
        }
        finally
        {
            rig.Control("vm", ("name", name), ("rename", VSphereRig.Machine));
        }
    }

    [Fact]
    public void Allocated_areas_are_whole_however_little_an_answer_covers()
    {
        VSphereRig rig = vsphere.Fresh("poweredOff");
        using VSphereConnector connector = vsphere.Connector();
        InventoryVm vm = connector.List().Single(v => v.Name == VSphereRig.Machine);
        MoRef reference = connector.Locate(vm.Id, "")!.Value;
        DiskFacts disk = VmFacts.Read(connector.Properties, reference).Disks[0];
        byte[] raw = File.ReadAllBytes(vsphere.Raw);
        Assert.Equal(raw.Length, disk.CapacityBytes);
        var expected = new List<(long, long)>();
        const int block = 64 << 10;
        for (int at = 0; at < raw.Length; at += block)
        {
            if (raw.AsSpan(at, Math.Min(block, raw.Length - at)).ContainsAnyExcept((byte)0))
            {
                expected.Add((at, block));
            }
        }

        foreach (string cap in (string[])["0", "5242880"])
        {
            rig.Control("areas", ("bytes", cap));
            IReadOnlyList<(long Start, long Length)> areas = connector.Tasks.QueryChangedDiskAreas(reference, null, disk.Key, disk.CapacityBytes, "*");
            Assert.Equal(expected, areas.SelectMany(a => Enumerable.Range(0, (int)(a.Length / block)).Select(i => (a.Start + (i * (long)block), (long)block))));
        }

        Assert.Throws<VimFaultException>(() => connector.Tasks.QueryChangedDiskAreas(reference, null, disk.Key, disk.CapacityBytes, "52 de/1"));
    }

    /// <summary>Faults that pass, and faults that stay.</summary>
    [Theory]
    [InlineData("status:401", true)]
    [InlineData("status:404", false)]
    [InlineData("status:416", false)]
    [InlineData("status:500", true)]
    [InlineData("status:503", true)]
    [InlineData("short", true)]
    [InlineData("less", true)]
    [InlineData("wrong", true)]
    [InlineData("lie", true)]
    [InlineData("whole", true)]
    [InlineData("close", true)]
    [InlineData("hang", true)]
    public void A_range_is_what_was_asked_for_or_an_error(string action, bool passes)
    {
        VSphereRig rig = vsphere.Fresh("poweredOff");
        using VSphereConnector connector = vsphere.Connector(ShortFor(action));
        connector.Check();
        var ranges = new RangeFetch(connector.Session, "F0/DC0");
        Assert.True(DatastorePath.TryParse($"[LocalDS_0] {VSphereFixture.Disk.Replace(".vmdk", "-flat.vmdk", StringComparison.Ordinal)}", out DatastorePath path));
        long length = ranges.Length(path, CancellationToken.None);
        byte[] bytes = new byte[3 << 20];
        rig.Arm("folder", action);
        Exception? failed = Record.Exception(() => ranges.Get(path, 1 << 20, [bytes], length, CancellationToken.None));
        if (passes)
        {
            Assert.Null(failed);
            Assert.True(bytes.AsSpan().SequenceEqual(File.ReadAllBytes(vsphere.Raw).AsSpan(1 << 20, bytes.Length)));
        }
        else
        {
            Assert.IsAssignableFrom<IOException>(failed);
        }

        if (action is "short" or "wrong")
        {
            rig.Reset();
            rig.Arm("folder", action, times: 100);
            Assert.IsAssignableFrom<IOException>(Record.Exception(() => ranges.Get(path, 1 << 20, [bytes], length, CancellationToken.None)));
        }

        rig.Reset();
    }

    [Fact]
    public async Task Readers_wait_together_for_a_host_without_room_and_get_every_byte()
    {
        // A host of its own: to one that refused others before, fewer come at once for a while, and they would not meet.
        using var host = new VSphereFixture();
        VSphereRig rig = host.Fresh("poweredOff");
        rig.Control("limit", ("requests", "1"));

        // So slow that readers meet.
        rig.Arm("folder", "delay:100", times: 1000);
        using VSphereConnector connector = host.Connector();
        using var folder = new FolderReader(new RangeFetch(connector.Session, "F0/DC0"));
        Assert.True(DatastorePath.TryParse($"[LocalDS_0] {VSphereFixture.Disk.Replace(".vmdk", "-flat.vmdk", StringComparison.Ordinal)}", out DatastorePath path));
        using IBlockSource file = folder.Open(path);
        byte[] raw = File.ReadAllBytes(host.Raw), read = new byte[raw.Length];
        Assert.Equal(raw.Length, file.Length);
        var random = new Random(3);
        (int From, int Length)[] parts = [.. Enumerable.Range(0, raw.Length / 65536).Select(i => (i * 65536, 65536))];
        random.Shuffle(parts);

        // Threads of its own: a pool that is busy with other tests would give them one after another, and they would never meet.
        const int Readers = 12;
        using var start = new Barrier(Readers);
        Task[] readers = [.. Enumerable.Range(0, Readers).Select(reader => Task.Factory.StartNew(
            () =>
            {
                start.SignalAndWait();
                foreach ((int from, int length) in parts.Where((_, i) => i % Readers == reader))
                {
                    file.Read(from, read.AsSpan(from, length));
                }
            },
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default))];
        await Task.WhenAll(readers);
        Assert.Equal(SHA256.HashData(raw), SHA256.HashData(read));
        JsonElement log = rig.Control("log");
        Assert.True(log.GetProperty("refused").GetInt32() > 0, "the limit was never met");
        Assert.InRange(log.GetProperty("most").GetInt32(), 1, HostGate.MostReaders);

        // In order: large ranges, each asked for once.
        rig.Reset();
        using var again = new FolderReader(new RangeFetch(connector.Session, "F0/DC0"));
        using IBlockSource second = again.Open(path);
        for (int at = 0; at < raw.Length; at += 256 << 10)
        {
            int count = Math.Min(256 << 10, raw.Length - at);
            second.Read(at, read.AsSpan(at, count));
        }

        Assert.Equal(SHA256.HashData(raw), SHA256.HashData(read));
        log = rig.Control("log");
        Assert.Equal(raw.Length + 1, log.GetProperty("bytes").GetInt64());
        Assert.InRange(log.GetProperty("folder").GetInt32(), 1, 20);
    }

    /// <summary>Only for what hangs: on a busy machine any answer may take a second, and would be asked for once more.</summary>
    private static string ShortFor(string action) => action == "hang" ? Short : "";
}
