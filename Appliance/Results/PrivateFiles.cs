namespace Vmsweep.Appliance.Results;

/// <summary>Files and folders that only this account may read and write.</summary>
internal static class PrivateFiles
{
    private const UnixFileMode Others = UnixFileMode.GroupWrite | UnixFileMode.OtherWrite;

#pragma warning disable CA1416 // The sandbox is Linux's, and so is this program.
    public static void CreateFolder(string path) => Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);

    /// <exception cref="IOException">It is there already.</exception>
    public static FileStream Create(string path) => new(
        path, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite });

    /// <summary>True when no other account may write it.</summary>
    public static bool IsPrivate(string path) => (File.GetUnixFileMode(path) & Others) == 0;
#pragma warning restore CA1416
}
