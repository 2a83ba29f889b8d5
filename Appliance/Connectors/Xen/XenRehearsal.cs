using System.Globalization;
using System.Net.Sockets;

namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>
/// Everything that a scan does up to the point where it would change something: for an operator who wants to know whether his pool, account and network will
/// do, without any VM being touched.
/// </summary>
internal sealed class XenRehearsal(XenConnector connector)
{
    private const int NbdPort = 10809;

    private readonly List<ConnectorCheck> _checks = [];

    public IReadOnlyList<ConnectorCheck> Run()
    {
        if (!Try("log in", connector.Check, "see the message; \"address\", \"account\", \"secret\", \"certificate\" and \"hosts\" in the configuration"))
        {
            return _checks;
        }

        IReadOnlyList<InventoryVm> vms = [];
        Try("inventory", () => $"{(vms = connector.List()).Count} VMs, {vms.Count(v => v.Power == "running")} of them running", "the account needs a role of the pool, such as VM Power Admin");
        Try("role", Role, "give the account's subject the role VM Power Admin: xe subject-role-add role-name=vm-power-admin uuid=SUBJECT");
        Try("disks", Way, "xe network-param-add uuid=NETWORK param-name=purpose param-key=nbd, for a network that this machine reaches; or \"spool\" in the configuration");
        return _checks;
    }

    private string Role()
    {
        string session = connector.Session.Reference();
        if (connector.Session.Ask("session.get_is_local_superuser", session).ValueKind == System.Text.Json.JsonValueKind.True)
        {
            return "root, who may do everything; an account of the pool with the role VM Power Admin would do";
        }

        System.Text.Json.JsonElement told = connector.Session.Ask("session.get_rbac_permissions", session);
        HashSet<string> has = told.ValueKind == System.Text.Json.JsonValueKind.Array ? [.. told.EnumerateArray().Select(p => XapiRecord.TextOf(p).ToLowerInvariant())] : [];
        string[] missing = [.. XapiMethods.Needed.Where(n => has.Count > 0 && !has.Contains(n.Permission)).Select(n => $"{n.Permission} ({n.Why})")];
        return missing.Length > 0 ? throw new ConnectorException($"the account may not: {string.Join(", ", missing)}")
            : has.Count > 0 ? "it may do what a scan does" : "the pool tells of no permissions: it has no roles";
    }

    private string Way()
    {
        string spool = connector.Settings.Spool is { } folder ? $"exports into {folder}" : "";
        string[] networks = [.. connector.Session.Table("network").Values.Where(n => n.Texts("purpose").Contains("nbd")).Select(n => n.Text("name_label"))];
        if (networks.Length == 0)
        {
            return spool.Length > 0 ? $"no network is for NBD; {spool}" : throw new ConnectorException("no network of the pool is for NBD, and there is no \"spool\" for exports");
        }

        string host = connector.Session.Http.Address.Host;
        try
        {
            Greets(host);
            return $"NBD, networks: {string.Join(", ", networks)}";
        }
        catch (IOException e) when (spool.Length > 0)
        {
            return $"{e.Message}; {spool}";
        }
    }

    /// <summary>Its greeting is all that a server says before a disk would be attached.</summary>
    private void Greets(string host)
    {
        string at = string.Create(CultureInfo.InvariantCulture, $"{host}:{NbdPort}");
        try
        {
            using var socket = new TcpClient();
            using var late = new CancellationTokenSource(connector.Settings.Silence);
            socket.ConnectAsync(host, NbdPort, late.Token).AsTask().GetAwaiter().GetResult();
            socket.ReceiveTimeout = (int)connector.Settings.Silence.TotalMilliseconds;
            byte[] greeting = new byte[8];
            socket.GetStream().ReadExactly(greeting);
            if (!greeting.AsSpan().SequenceEqual("NBDMAGIC"u8))
            {
                throw new IOException($"{at} is no NBD server");
            }
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException)
        {
            throw new IOException($"{at}: cannot connect: {e.Message}", e);
        }
    }

    private bool Try(string what, Func<string> check, string mend)
    {
        try
        {
            _checks.Add(new ConnectorCheck(what, true, check(), ""));
            return true;
        }
        catch (Exception e) when (e is IOException or InvalidDataException)
        {
            _checks.Add(new ConnectorCheck(what, false, e.Message, mend));
            return false;
        }
    }
}
