using System.Runtime.InteropServices;
using Vmsweep.Appliance.Connectors.Datastore;

namespace Vmsweep.Appliance.Connectors.Views;

/// <summary>
/// The folder of one view, where the hypervisor's process makes its socket. Belongs to that process's account alone; the socket is then given to this
/// account, because a worker has no right to anybody else's.
/// </summary>
internal static partial class ViewFolder
{
    /// <summary>A Unix socket's path has at most 107 bytes.</summary>
    private const int MostPath = 107;

    private const UnixFileMode Own = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    public static string SocketIn(string views, string key) => Path.Combine(views, key, "nbd");

    /// <param name="account">Whose process will make the socket; null: this account's.</param>
    /// <exception cref="ConnectorException">It cannot be made.</exception>
    public static void Make(string views, string key, (uint User, uint Group)? account)
    {
        string socket = SocketIn(views, key);
        if (System.Text.Encoding.UTF8.GetByteCount(socket) > MostPath)
        {
            throw new ConnectorException($"{socket}: longer than a socket's path may be; configure a shorter \"views\"");
        }

        try
        {
            // Others may pass through, and see nothing.
            Directory.CreateDirectory(views, Own | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute);
            string folder = Path.GetDirectoryName(socket)!;
            Directory.CreateDirectory(folder, Own);
            if (account is { } other)
            {
                Give(folder, other.User, other.Group);
            }
        }
        catch (Exception e) when (e is IOException and not ConnectorException or UnauthorizedAccessException)
        {
            throw new ConnectorException($"no folder for the view's socket: {e.Message}", e);
        }
    }

    /// <summary>Makes a folder that nobody but an account may enter.</summary>
    /// <param name="account">Null: this account's.</param>
    /// <exception cref="ConnectorException">It cannot be made.</exception>
    public static void MakeFor(string folder, (uint User, uint Group)? account)
    {
        try
        {
            Directory.CreateDirectory(folder, Own);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ConnectorException(e.Message, e);
        }

        if (account is { } other)
        {
            Give(folder, other.User, other.Group);
        }
    }

    /// <summary>Takes the socket, or the file, over once it is there.</summary>
    public static void TakeOver(string socket)
    {
        if (Environment.IsPrivilegedProcess)
        {
            Give(socket, 0, 0);
            File.SetUnixFileMode(socket, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }
    }

    /// <summary>Removes the folder of a key, and in it only what a view makes there.</summary>
    public static void Remove(string views, string key)
    {
        string socket = SocketIn(views, key);
        string folder = Path.GetDirectoryName(socket)!;
        if (HostFile.KindOf(folder) == HostFileKind.Folder)
        {
            File.Delete(socket);
            Directory.Delete(folder);
        }
    }

    private static void Give(string path, uint user, uint group)
    {
        if (LChown(path, user, group) != 0)
        {
            throw new ConnectorException($"{path} cannot be given to account {user}: {Marshal.GetLastPInvokeErrorMessage()}; views of VMs of another account need root");
        }
    }

    [LibraryImport("libc", EntryPoint = "lchown", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int LChown(string path, uint user, uint group);
}
