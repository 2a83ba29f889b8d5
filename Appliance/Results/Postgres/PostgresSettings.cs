using System.Data.Common;
using System.Globalization;
using System.Text.Json;
using Npgsql;
using Vmsweep.Appliance.Connectors.Configuration;

namespace Vmsweep.Appliance.Results.Postgres;

/// <summary>The member <c>database</c> of <c>vmsweep.json</c>: a PostgreSQL server that keeps what the product knows, for one appliance or many.</summary>
/// <param name="Connection">Npgsql's words, without a password.</param>
/// <param name="Secret">The password, read when it is needed; null where the server asks for none.</param>
/// <param name="Node">What this appliance is called among those that share the database.</param>
internal sealed record PostgresSettings(string Connection, SecretSource? Secret, string Node)
{
    private const int MostName = 128;
    private const int LeastDeadSeconds = 2;
    private const int MostDeadSeconds = 3600;

    /// <summary>A server that does not answer so fast is not there.</summary>
    private const int ConnectSeconds = 15;

    /// <summary>For a statement; the longest is one that waits for others that write, or that counts forty million verdicts.</summary>
    private const int StatementSeconds = 300;

    /// <summary>A connection on which nothing is heard for so long is tried, and taken for lost after some tries more.</summary>
    private const int SilenceSeconds = 20;

    /// <summary>A node of which nothing was heard for so long is taken for dead, and others scan what it had.</summary>
    public TimeSpan DeadAfter { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>As messages have it: never with an account or a secret.</summary>
    public string Name
    {
        get
        {
            var words = new NpgsqlConnectionStringBuilder(Connection);
            return string.Create(CultureInfo.InvariantCulture, $"{words.Database ?? words.Username} on {(words.Host!.StartsWith('/') ? words.Host : $"{words.Host}:{words.Port}")}");
        }
    }

    /// <exception cref="ConfigurationException">Something in it is not known or not allowed.</exception>
    public static PostgresSettings Parse(ConfigurationNode node)
    {
        node.Allow("connection", "secret", "node", "deadAfterSeconds");
        string text = node.String("connection") ?? throw node.Wrong("\"database\" has no \"connection\", such as \"Host=db.example;Database=vmsweep;Username=vmsweep\"");
        ConfigurationNode at = node.Members["connection"];
        NpgsqlConnectionStringBuilder words;
        try
        {
            words = new NpgsqlConnectionStringBuilder(text);
        }
        catch (Exception e) when (e is ArgumentException or FormatException or OverflowException or KeyNotFoundException)
        {
            // The message may repeat a value, and a value may be a password.
            throw at.Wrong("this is no connection string, such as \"Host=db.example;Database=vmsweep;Username=vmsweep\"");
        }

        if (words.Password is not null)
        {
            throw at.Wrong("a password must not stand in a connection string; put it into a file and name that as \"secret\"");
        }

        if (string.IsNullOrEmpty(words.Host) || words.Host.Contains(',', StringComparison.Ordinal))
        {
            throw at.Wrong("a connection string names one \"Host\", or the folder of the server's socket");
        }

        int dead = 30;
        if (node.Members.TryGetValue("deadAfterSeconds", out ConfigurationNode? seconds)
            && (!int.TryParse(seconds.Expect(JsonTokenType.Number, "\"deadAfterSeconds\": a number").Text, CultureInfo.InvariantCulture, out dead) || dead is < LeastDeadSeconds or > MostDeadSeconds))
        {
            throw seconds.Wrong($"a whole number from {LeastDeadSeconds} to {MostDeadSeconds} is expected here");
        }

        string name = node.String("node") ?? Environment.MachineName;
        return name.Length is > 0 and <= MostName && !name.Any(char.IsControl)
            ? new PostgresSettings(text, node.Members.TryGetValue("secret", out ConfigurationNode? secret) ? SecretSource.Parse(secret) : null, name) { DeadAfter = TimeSpan.FromSeconds(dead) }
            : throw node.Members["node"].Wrong("a node's name has 1 to 128 characters");
    }

    /// <summary>With the password, and what is not said as it should be.</summary>
    /// <exception cref="IOException">The secret cannot be read.</exception>
    internal string ConnectionString()
    {
        var words = new NpgsqlConnectionStringBuilder(Connection) { Pooling = false, ApplicationName = "vmsweep" };
        HashSet<string> said = [.. new DbConnectionStringBuilder { ConnectionString = Connection }.Keys.Cast<string>().Select(k => k.Replace(" ", "", StringComparison.Ordinal).ToUpperInvariant())];
        if (Secret is not null)
        {
            words.Password = Secret.Read();
        }

        if (!said.Contains("SSLMODE") && !words.Host!.StartsWith('/') && words.Host is not ("localhost" or "127.0.0.1" or "::1"))
        {
            // Findings and names of guests go over the wire.
            words.SslMode = SslMode.VerifyFull;
        }

        Default("TIMEOUT", () => words.Timeout = ConnectSeconds);
        Default("COMMANDTIMEOUT", () => words.CommandTimeout = StatementSeconds);
        Default("MAXAUTOPREPARE", () => words.MaxAutoPrepare = 64);
        if (!words.Host!.StartsWith('/'))
        {
            // A Unix socket has no such options, and its other end is no farther than this machine.
            Default("TCPKEEPALIVE", () => (words.TcpKeepAlive, words.TcpKeepAliveTime, words.TcpKeepAliveInterval) = (true, SilenceSeconds, SilenceSeconds / 4));
        }

        Default("GSSENCRYPTIONMODE", () => words.GssEncryptionMode = GssEncryptionMode.Disable);
        return words.ConnectionString;

        void Default(string word, Action set)
        {
            if (!said.Contains(word))
            {
                set();
            }
        }
    }
}
