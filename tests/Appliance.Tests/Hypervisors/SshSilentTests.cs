using System.Net;
using System.Net.Sockets;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>A host that takes connections by ssh and says nothing.</summary>
[Trait("Category", "Slow")]
public sealed class SshSilentTests
{
    [Fact]
    public void A_host_that_says_nothing_is_given_up()
    {
        using var scratch = new Scratch();
        Tool.Run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", scratch["key"]);
        using var silent = new TcpListener(IPAddress.Loopback, 0);
        silent.Start();
        string key = string.Join(' ', File.ReadAllText(scratch["key.pub"]).Split(' ').Take(2));
        File.WriteAllText(scratch["far.json"], $$"""
            { "connectors": { "far": { "address": "libvirt+ssh://root@127.0.0.1:{{((IPEndPoint)silent.LocalEndpoint).Port}}/system", "identity": "{{scratch["key"]}}", "hostKey": "{{key}}" } } }
            """);
        (int status, _, string error) = Program.Run("inventory", "far", "--config", scratch["far.json"]);
        Assert.Equal(2, status);
        Assert.Contains("no connection by ssh", error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
    }
}
