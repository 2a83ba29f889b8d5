using System.Text;
using System.Text.Json;
using Vmsweep.Golden;
using Vmsweep.Rigs.HyperV;

namespace Vmsweep.Appliance.Tests.Hypervisors.HyperV;

/// <summary>Accounts proven to other people's servers: Kerberos to MIT's GSSAPI, NTLM to gss-ntlmssp.</summary>
[Trait("Category", "Slow")]
public sealed class NegotiateTests
{
    [Fact]
    public void Kerberos_and_NTLM_let_the_right_account_in()
    {
        using var host = new HyperVRig((_, _, _, _, _) => { });
        host.Add("dc1", "HOST1");
        using var front = new NegotiateRig(host, host.PlainPort("HOST1"));
        using var scratch = new Scratch();

        // What a client's machine knows of Kerberos decides: without a centre NTLM is left.
        AssertIn(In(scratch, host, front, HyperVRig.Account, HyperVRig.Password, $"KRB5_CONFIG={front.Kerberos}"));
        AssertIn(In(scratch, host, front, $@"{NegotiateRig.Domain}\\{HyperVRig.Account}", HyperVRig.Password, "KRB5_CONFIG=/dev/null"));

        // Where no library for NTLM is installed, that is what is said.
        Assert.Contains("gss-ntlmssp", In(scratch, host, front, $@"{NegotiateRig.Domain}\\{HyperVRig.Account}", HyperVRig.Password, "KRB5_CONFIG=/dev/null", "GSS_MECH_CONFIG=/dev/null"), StringComparison.Ordinal);
        Assert.Contains("in (it offers", In(scratch, host, front, $@"{NegotiateRig.Domain}\\{HyperVRig.Account}", "wrong", "KRB5_CONFIG=/dev/null"), StringComparison.Ordinal);
        Assert.Contains("in (it offers", In(scratch, host, front, HyperVRig.Account, "wrong", $"KRB5_CONFIG={front.Kerberos}"), StringComparison.Ordinal);
    }

    private static void AssertIn(string seen) => Assert.True(seen == "dc1", seen);

    /// <summary>The VM that the account sees, or what the program says.</summary>
    private static string In(Scratch scratch, HyperVRig host, NegotiateRig front, string account, string password, params string[] environment)
    {
        File.WriteAllText(scratch["secret"], password);
        File.SetUnixFileMode(scratch["secret"], UnixFileMode.UserRead | UnixFileMode.UserWrite);
        File.WriteAllText(scratch["c.json"], $$"""{ "connectors": { "lab": { "address": "hyperv://{{front.Address}}", "account": "{{account}}", "secret": { "file": "{{scratch["secret"]}}" }, "certificate": "{{host.Fingerprint}}" } } }""");
        (int status, byte[] output, string error) = Tool.Try("env", null, [.. environment, "KRB5CCNAME=MEMORY:", Program.Executable, "inventory", "lab", "--format", "json", "--config", scratch["c.json"]]);
        return status == 0 ? JsonDocument.Parse(Encoding.UTF8.GetString(output)).RootElement.GetProperty("vms")[0].GetProperty("name").GetString()! : error + front.ErrorLog;
    }
}
