using System.Globalization;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Ssh;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Nbd;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Libvirt;

/// <summary>Files of another host, each served by a process there that lives no longer than its connection.</summary>
/// <param name="folder">Of the view there: sockets, and the numbers of the processes.</param>
internal sealed class ServedFiles(SshHost ssh, string folder) : IDisposable
{
    public const string Program = "qemu-nbd";

    /// <summary>Each is a process and a connection.</summary>
    private const int MostFiles = 64;

    private static readonly TimeSpan MostWait = TimeSpan.FromSeconds(30);

    private readonly Dictionary<string, PlannedFile> _served = [];
    private readonly Dictionary<string, HostFileKind> _kinds = [];

    /// <summary>Serves a file of the host, whose path nobody but its hypervisor or the policy chose.</summary>
    /// <exception cref="IOException">It is no regular file, or cannot be served.</exception>
    public PlannedFile Open(string path)
    {
        if (_served.TryGetValue(path, out PlannedFile? known))
        {
            return known;
        }

        if (_served.Count >= MostFiles)
        {
            throw new ConnectorException($"{path}: more than {MostFiles} files of one VM");
        }

        if (!ssh.TryRun($"test -f {SshHost.Quoted(path)}", out _, out _))
        {
            throw new ConnectorException($"{path}: no regular file on that host");
        }

        string number = _served.Count.ToString(CultureInfo.InvariantCulture), socket = $"{folder}/{number}.s";

        // The format is said: nothing is looked for in the bytes. No lock is taken, for the VM may be started at any time.
        string image = $"driver=raw,read-only=on,file.driver=file,file.locking=off,file.filename={path.Replace(",", ",,", StringComparison.Ordinal)}";
        string local = ssh.Serve(socket, [Program, "--read-only", "--persistent", "--shared=0", $"--socket={socket}", $"--pid-file={folder}/{number}.pid", "--export-name=file", "--image-opts", image]);
        using NbdSource source = NbdSource.Open(NbdTransport.Unix(local), "file", new ScanBudget(8 << 20), timeout: MostWait);
        var planned = new PlannedFile(0, path, local) { Export = new PlannedExport("file", source.Length) };
        _served.Add(path, planned);
        return planned;
    }

    /// <summary>What a path of the host leads to, links not followed.</summary>
    public HostFileKind KindOf(string path)
    {
        if (!_kinds.TryGetValue(path, out HostFileKind kind))
        {
            string at = SshHost.Quoted(path);
            kind = ssh.Run($"if test -L {at}; then echo link; elif test -f {at}; then echo file; elif test -d {at}; then echo folder; elif test -e {at}; then echo other; else echo missing; fi") switch
            {
                "file" => HostFileKind.Regular,
                "folder" => HostFileKind.Folder,
                "link" => HostFileKind.Link,
                "missing" => HostFileKind.Missing,
                _ => HostFileKind.Other,
            };
            _kinds.Add(path, kind);
        }

        return kind;
    }

    /// <summary>Which file a path is, and when it was last written to; empty where there is none.</summary>
    public string StateOf(string path) => ssh.TryRun($"stat -L -c '%d:%i %s %.9Y' {SshHost.Quoted(path)}", out string state, out _) ? state : "";

    public void Dispose()
    {
        foreach (PlannedFile served in _served.Values)
        {
            ssh.End(served.Path);
        }
    }

    /// <summary>Ends the processes that serve in a folder, however their connections ended, and removes it.</summary>
    public static void Remove(SshHost ssh, string folder)
    {
        string at = SshHost.Quoted(folder);

        // A number may be another process by now: only one that was started with this folder's socket is ours.
        ssh.Run(
            $"if test -d {at} && ! test -L {at}; then cd {at} || exit 1; for f in *.pid; do if test -f \"$f\"; then p=$(cat \"$f\"); "
            + $"n=0; while tr '\\0' ' ' < /proc/\"$p\"/cmdline 2>/dev/null | grep -qF -- {SshHost.Quoted("--socket=" + folder + "/")} && test $n -lt 50; "
            + "do kill \"$p\"; n=$((n+1)); sleep 0.1; done; fi; done; "
            + $"rm -f ./*.pid ./*.s && cd / && rmdir {at}; fi");
    }
}
