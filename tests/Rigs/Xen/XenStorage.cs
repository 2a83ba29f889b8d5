using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Vmsweep.Golden;

namespace Vmsweep.Rigs.Xen;

/// <summary>Disks of a pool: raw files, served with TLS by qemu-nbd, by nbdkit, or by nbdkit behind a front that knows as little of NBD as XenServer's own.</summary>
internal sealed class XenStorage(string folder, string pki) : IDisposable
{
    private const int BlockBytes = 64 << 10;

    private readonly Dictionary<string, (int Port, Daemon Daemon)> _served = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string[]> _tracks = new(StringComparer.Ordinal);

    public string PathOf(string uuid) => Path.Combine(folder, uuid + ".raw");

    public void Copy(string from, string to) => Tool.Run("cp", "--sparse=always", PathOf(from), PathOf(to));

    /// <summary>What its blocks hold now, for later comparisons: it outlasts the data.</summary>
    public void Track(string uuid)
    {
        byte[] all = File.ReadAllBytes(PathOf(uuid));
        _tracks[uuid] = [.. all.Chunk(BlockBytes).Select(b => Convert.ToHexString(SHA256.HashData(b)))];
    }

    public string Changed(string from, string to)
    {
        if (!_tracks.TryGetValue(from, out string[]? before) || !_tracks.TryGetValue(to, out string[]? after))
        {
            throw new XenFault("SR_BACKEND_FAILURE_460", "", "Failed to calculate changed blocks for given VDIs.", "Source and target VDI are unrelated");
        }

        byte[] bits = new byte[(after.Length + 7) / 8];
        for (int i = 0; i < after.Length; i++)
        {
            bits[i / 8] |= (byte)(i < before.Length && before[i] == after[i] ? 0 : 0x80 >> (i % 8));
        }

        return Convert.ToBase64String(bits);
    }

    /// <param name="name">What the export is called; a client that asks for another gets nothing.</param>
    /// <param name="way"><c>qemu-nbd</c>, <c>nbdkit</c> or <c>front</c>.</param>
    public int Serve(string uuid, string name, string way, Func<string, bool> isKnown)
    {
        string key = $"{uuid} {name}";
        if (_served.TryGetValue(key, out (int Port, Daemon Daemon) known) && !known.Daemon.HasExited)
        {
            return known.Port;
        }

        if (way == "front")
        {
            string socket = Path.Combine(folder, Guid.NewGuid().ToString("N")[..8]);
            var kit = Daemon.Start("nbdkit", () => File.Exists(socket) && Daemon.Listens(socket), ["-f", "-r", "-U", socket, "--exit-with-parent", "file", PathOf(uuid)]);
            var front = new NbdFront(socket, pki, isKnown);
            _fronts.Add(front);
            _served[key] = (front.Port, kit);
            return front.Port;
        }

        int port = FreePort();
        string at = port.ToString(CultureInfo.InvariantCulture);
        string[] arguments = way == "qemu-nbd"
            ? ["--object", $"tls-creds-x509,id=t,endpoint=server,dir={pki},verify-peer=no", "--tls-creds", "t", "-t", "-r", "-f", "raw", "-e", "8", "-b", "127.0.0.1", "-p", at, "-x", name, PathOf(uuid)]
            : ["-f", "-r", "-i", "127.0.0.1", "-p", at, "--tls=require", $"--tls-certificates={pki}", "--exit-with-parent", "--filter=exportname", "file", PathOf(uuid), "exportname-strict=true", $"exportname={name}"];
        _served[key] = (port, Daemon.Start(way, () => Answers(port), arguments));
        return port;
    }

    private readonly List<NbdFront> _fronts = [];

    /// <summary>True while a client is connected to a server of it.</summary>
    public bool IsRead(string uuid)
    {
        int[] ports = [.. _served.Where(s => s.Key.StartsWith(uuid + " ", StringComparison.Ordinal)).Select(s => s.Value.Port)];
        string[] lines = ports.Length > 0 ? File.ReadAllLines("/proc/net/tcp") : [];
        return ports.Any(p => lines.Any(l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries) is [_, var local, _, "01", ..] && local.EndsWith($":{p:X4}", StringComparison.Ordinal)));
    }

    /// <summary>Servers of a disk end, as when its host goes away.</summary>
    public void Stop(string uuid)
    {
        foreach ((string key, (int port, Daemon daemon)) in _served.Where(s => s.Key.StartsWith(uuid + " ", StringComparison.Ordinal)).ToArray())
        {
            daemon.Dispose();
            foreach (NbdFront front in _fronts.Where(f => f.Port == port).ToArray())
            {
                front.Dispose();
                _fronts.Remove(front);
            }

            _served.Remove(key);
        }
    }

    public void Remove(string uuid, bool withTrack)
    {
        Stop(uuid);
        File.Delete(PathOf(uuid));
        if (withTrack)
        {
            _tracks.Remove(uuid);
        }
    }

    public void Dispose()
    {
        foreach (string uuid in _served.Keys.Select(k => k.Split(' ')[0]).ToArray())
        {
            Stop(uuid);
        }
    }

    private static bool Answers(int port)
    {
        try
        {
            using var client = new TcpClient("127.0.0.1", port);
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
