using System.Globalization;
using Vmsweep.Appliance.Connectors.Views;

namespace Vmsweep.Appliance.Connectors.Ssh;

/// <summary>Files of another host.</summary>
internal sealed class SshFiles(SshHost host) : IHostFiles
{
    public bool AreHere => false;

    public bool Exists(string path) => host.TryRun($"test -e {SshHost.Quoted(path)}", out _, out _);

    public void Delete(string path) => host.Run($"if test -f {SshHost.Quoted(path)} && ! test -L {SshHost.Quoted(path)}; then rm -f {SshHost.Quoted(path)}; fi");

    public long FreeBytes(string folder) => long.TryParse(host.Run($"df -B1 --output=avail {SshHost.Quoted(folder)} | tail -n 1"), NumberStyles.AllowLeadingWhite, CultureInfo.InvariantCulture, out long free)
        ? free
        : throw new ConnectorException($"how much is free in {folder} is not told");

    public void MakeView(string views, string key, (uint User, uint Group)? account)
    {
        string folder = SshHost.Quoted(Path.GetDirectoryName(ViewFolder.SocketIn(views, key))!);
        string owner = account is { } other ? string.Create(CultureInfo.InvariantCulture, $" && chown {other.User}:{other.Group} {folder}") : "";
        host.Run($"umask 077 && {{ test -d {SshHost.Quoted(views)} || mkdir -m 711 -p {SshHost.Quoted(views)}; }} && mkdir {folder}{owner}");
    }

    public void RemoveView(string views, string key)
    {
        string socket = ViewFolder.SocketIn(views, key);
        string folder = SshHost.Quoted(Path.GetDirectoryName(socket)!);
        host.Run($"if test -d {folder} && ! test -L {folder}; then rm -f {SshHost.Quoted(socket)} && rmdir {folder}; fi");
    }

    public string Reach(string socket) => host.Forward(socket);

    public void Leave(string reached) => host.End(reached);
}
