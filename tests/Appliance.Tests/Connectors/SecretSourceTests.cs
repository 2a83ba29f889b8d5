using System.Text;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Connectors;

/// <summary>Where secrets come from. No other test looks at systemd's variable, which is this process's.</summary>
public sealed class SecretSourceTests : IDisposable
{
    private const string Folder = "CREDENTIALS_DIRECTORY";

    private readonly Scratch _scratch = new();

    public void Dispose()
    {
        Environment.SetEnvironmentVariable(Folder, null);
        _scratch.Dispose();
    }

    [Fact]
    public void A_credential_is_read_where_systemd_hands_it_over()
    {
        SecretSource secret = Parse("\"credential\": \"lab\"");
        Environment.SetEnvironmentVariable(Folder, null);
        Assert.Contains("LoadCredential=lab:", Assert.Throws<ConnectorException>(secret.Read).Message, StringComparison.Ordinal);

        Environment.SetEnvironmentVariable(Folder, _scratch.Folder);
        Assert.Contains(_scratch["lab"], Assert.Throws<ConnectorException>(secret.Read).Message, StringComparison.Ordinal);

        // systemd's own rights count, which let its service read and nobody else: 0440 below a folder of that account.
        File.WriteAllText(_scratch["lab"], "s3cret \u00FC\n");
        File.SetUnixFileMode(_scratch["lab"], UnixFileMode.UserRead | UnixFileMode.GroupRead);
        Assert.Equal("s3cret \u00FC", secret.Read());

        File.Delete(_scratch["lab"]);
        File.WriteAllBytes(_scratch["lab"], new byte[100_000]);
        Assert.Contains("too long", Assert.Throws<ConnectorException>(secret.Read).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_that_others_may_read_is_refused_with_the_command_that_mends_it()
    {
        SecretSource secret = Parse($"\"file\": \"{_scratch["s"]}\"");
        File.WriteAllText(_scratch["s"], "s3cret\r\n");
        File.SetUnixFileMode(_scratch["s"], UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead);
        Assert.Contains($"chmod 600 {_scratch["s"]}", Assert.Throws<ConnectorException>(secret.Read).Message, StringComparison.Ordinal);
        File.SetUnixFileMode(_scratch["s"], UnixFileMode.UserRead);
        Assert.Equal("s3cret", secret.Read());
    }

    [Theory]
    [InlineData("../lab")]
    [InlineData("/etc/shadow")]
    public void A_credential_s_name_leads_nowhere_else(string name) =>
        Assert.Contains("no /", Assert.Throws<ConfigurationException>(() => Parse($"\"credential\": \"{name}\"")).Message, StringComparison.Ordinal);

    private static SecretSource Parse(string member) => ApplianceConfiguration.Parse(
        "v.json", Encoding.UTF8.GetBytes($$"""{ "connectors": { "lab": { "address": "xapi://h", "secret": { {{member}} } } } }""")).Connectors["lab"].Secret!;
}
