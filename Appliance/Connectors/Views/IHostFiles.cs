using Vmsweep.Appliance.Connectors.Datastore;

namespace Vmsweep.Appliance.Connectors.Views;

/// <summary>The few things that a view does to files of the host whose hypervisor serves it: this one, or another.</summary>
internal interface IHostFiles
{
    /// <summary>False: paths are another machine's, and files cannot be read where they lie.</summary>
    bool AreHere { get; }

    bool Exists(string path);

    /// <summary>Deletes a regular file, and nothing else.</summary>
    void Delete(string path);

    long FreeBytes(string folder);

    /// <inheritdoc cref="ViewFolder.Make"/>
    void MakeView(string views, string key, (uint User, uint Group)? account);

    /// <inheritdoc cref="ViewFolder.Remove"/>
    void RemoveView(string views, string key);

    /// <summary>Where a worker of this machine finds the socket of a view, once it is there.</summary>
    string Reach(string socket);

    /// <summary>What <see cref="Reach"/> made is taken away.</summary>
    void Leave(string reached);
}

/// <summary>This machine's.</summary>
internal sealed class LocalFiles : IHostFiles
{
    public static readonly LocalFiles Instance = new();

    public bool AreHere => true;

    public bool Exists(string path) => File.Exists(path);

    public void Delete(string path)
    {
        if (HostFile.KindOf(path) == HostFileKind.Regular)
        {
            File.Delete(path);
        }
    }

    public long FreeBytes(string folder) => new DriveInfo(folder).AvailableFreeSpace;

    public void MakeView(string views, string key, (uint User, uint Group)? account) => ViewFolder.Make(views, key, account);

    public void RemoveView(string views, string key) => ViewFolder.Remove(views, key);

    public string Reach(string socket)
    {
        ViewFolder.TakeOver(socket);
        return socket;
    }

    public void Leave(string reached)
    {
    }
}
