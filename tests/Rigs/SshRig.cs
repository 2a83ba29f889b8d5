using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Vmsweep.Golden;

namespace Vmsweep.Rigs;

/// <summary>An OpenSSH server on loopback with keys of its own, for this account.</summary>
public sealed class SshRig : IDisposable
{
    private readonly Scratch _scratch = new();
    private Daemon _server;

    /// <param name="path">Where its sessions find programs; null for where they are by default.</param>
    public SshRig(string? path = null)
    {
        Tool.Find("ssh");
        Tool.Find("ssh-keygen");
        Port = FreePort();
        Tool.Shell(
            $"""
            mkdir -p /run/sshd
            ssh-keygen -q -t ed25519 -N '' -f host
            ssh-keygen -q -t ed25519 -N '' -f client
            ssh-keygen -q -t ed25519 -N '' -f stranger
            cp client.pub authorized
            printf '%s\n' 'ListenAddress 127.0.0.1' 'Port {Port.ToString(CultureInfo.InvariantCulture)}' "HostKey $PWD/host" "AuthorizedKeysFile $PWD/authorized" 'StrictModes no' 'UsePAM no' 'PasswordAuthentication no' 'PermitRootLogin prohibit-password' 'PidFile none' 'LogLevel VERBOSE' '{(path is null ? "" : "SetEnv PATH=" + path)}' > sshd.conf
            """,
            _scratch.Folder);
        _server = Start();
    }

    public int Port { get; }

    public string Identity => _scratch["client"];

    /// <summary>A key that the server does not know.</summary>
    public string Stranger => _scratch["stranger"];

    /// <summary>The server's key, as <c>ssh-keyscan</c> shows it.</summary>
    public string HostKey => string.Join(' ', File.ReadAllText(_scratch["host.pub"]).Split(' ').Take(2));

    public string Said => _server.Said;

    /// <summary>As a crash of the host: the server is gone, every connection to it, and what these had begun.</summary>
    public void Kill() => _server.Kill();

    /// <summary>The host is back, at the same place and with the same key.</summary>
    public void Restart()
    {
        _server.Dispose();
        _server = Start();
    }

    public void Dispose()
    {
        _server.Dispose();
        _scratch.Dispose();
    }

    /// <summary>It starts itself again for each client, and wants to know by which path.</summary>
    private Daemon Start() => Daemon.Start(Tool.Find("sshd"), Answers, "-D", "-e", "-f", _scratch["sshd.conf"]);

    private bool Answers()
    {
        try
        {
            using var client = new TcpClient("127.0.0.1", Port);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
