using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Vmsweep.Golden;

namespace Vmsweep.Rigs.HyperV;

/// <summary>
/// Apache before a host, which lets nobody through whom Kerberos or NTLM does not prove: MIT's key distribution centre and GSSAPI, and gss-ntlmssp, none of
/// them ours. Its answers are those of the stand-in behind it.
/// </summary>
public sealed class NegotiateRig : IDisposable
{
    public const string Realm = "VMSWEEP.TEST";
    public const string Domain = "LAB";

    private readonly Scratch _scratch = new();
    private readonly List<Daemon> _daemons = [];

    /// <param name="plainPort">Of the host behind.</param>
    public NegotiateRig(HyperVRig host, int plainPort)
    {
        int kdc = FreePort(), https = FreePort();
        Address = string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{https}");
        foreach (string program in (string[])["/usr/lib/apache2/modules/mod_auth_gssapi.so", "/usr/lib/x86_64-linux-gnu/gssntlmssp/gssntlmssp.so"])
        {
            Tool.Find(program);
        }

        File.WriteAllText(Kerberos, $$"""
            [libdefaults]
              default_realm = {{Realm}}
              dns_lookup_kdc = false
              dns_canonicalize_hostname = false
              rdns = false
            [realms]
              {{Realm}} = {
                kdc = 127.0.0.1:{{kdc}}
              }
            [domain_realm]
              127.0.0.1 = {{Realm}}
            """);
        File.WriteAllText(_scratch["kdc.conf"], $$"""
            [realms]
              {{Realm}} = {
                database_name = {{_scratch["principal"]}}
                key_stash_file = {{_scratch["stash"]}}
                acl_file = {{_scratch["acl"]}}
                kdc_ports = {{kdc}}
                kdc_tcp_ports = {{kdc}}
              }
            """);
        File.WriteAllText(_scratch["users"], $"{Domain}:{HyperVRig.Account}:{HyperVRig.Password}\n");
        string environment = $"export KRB5_CONFIG='{Kerberos}' KRB5_KDC_PROFILE='{_scratch["kdc.conf"]}' KRB5RCACHENAME=none: NTLM_USER_FILE='{_scratch["users"]}'";
        Tool.Find("kdb5_util");
        Tool.Find("kadmin.local");
        Tool.Shell(
            $"""
            export PATH=$PATH:/usr/sbin
            {environment}
            kdb5_util -r {Realm} create -s -P master >/dev/null
            kadmin.local -r {Realm} addprinc -pw '{HyperVRig.Password}' {HyperVRig.Account} >/dev/null 2>&1
            kadmin.local -r {Realm} addprinc -randkey HTTP/127.0.0.1 >/dev/null 2>&1
            kadmin.local -r {Realm} ktadd -k keytab HTTP/127.0.0.1 >/dev/null
            """,
            _scratch.Folder);
        File.WriteAllText(_scratch["httpd.conf"], string.Create(CultureInfo.InvariantCulture, $"""
            ServerRoot {_scratch.Folder}
            ServerName 127.0.0.1
            PidFile {_scratch["httpd.pid"]}
            DefaultRuntimeDir {_scratch.Folder}
            ErrorLog {_scratch["error.log"]}
            LogLevel error
            {Modules("mpm_event", "authn_core", "authz_core", "authz_user", "auth_gssapi", "socache_shmcb", "ssl", "proxy", "proxy_http")}
            Listen 127.0.0.1:{https}
            SSLEngine on
            SSLCertificateFile {host.CaFile}
            SSLCertificateKeyFile {Path.Combine(host.Folder, "key.pem")}
            <Location "/wsman">
              AuthType GSSAPI
              AuthName WSMAN
              GssapiCredStore keytab:{_scratch["keytab"]}
              GssapiAcceptorName HTTP@127.0.0.1
              GssapiAllowedMech krb5
              GssapiAllowedMech ntlmssp
              GssapiConnectionBound On
              Require valid-user
              ProxyPass "http://127.0.0.1:{plainPort}/wsman"
            </Location>

            """));
        _daemons.Add(Daemon.Start("bash", () => Listens(kdc), ["-c", $"{environment}; exec {Tool.Find("krb5kdc")} -n -r {Realm}"]));
        _daemons.Add(Daemon.Start("bash", () => Listens(https), ["-c", $"{environment}; exec {Tool.Find("apache2")} -DFOREGROUND -f '{_scratch["httpd.conf"]}'"]));
    }

    public string Address { get; }

    /// <summary>What a client's Kerberos is told where its centre is.</summary>
    public string Kerberos => _scratch["krb5.conf"];

    public string ErrorLog => File.Exists(_scratch["error.log"]) ? File.ReadAllText(_scratch["error.log"]) : "";

    public void Dispose()
    {
        _daemons.ForEach(d => d.Dispose());
        _scratch.Dispose();
    }

    private static string Modules(params string[] names) => string.Join('\n', names.Select(n => $"LoadModule {n}_module /usr/lib/apache2/modules/mod_{n}.so"));

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private static bool Listens(int port)
    {
        try
        {
            using var client = new TcpClient();
            client.Connect(IPAddress.Loopback, port);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
