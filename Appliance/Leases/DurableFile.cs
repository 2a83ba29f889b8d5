using System.Runtime.InteropServices;

namespace Vmsweep.Appliance.Leases;

/// <summary>Writes that are on the disk before anything else is done, whatever ends this process or machine then.</summary>
internal static partial class DurableFile
{
    private const int ReadOnlyFolder = 0x10000 | 0x80000; // O_DIRECTORY | O_CLOEXEC of x86-64
    private const int ReadOnlyFolderArm = 0x4000 | 0x80000;

    /// <summary>Replaces a file as a whole: a reader sees the old content or the new one.</summary>
    /// <exception cref="IOException">It is not known to be on the disk.</exception>
    public static void Write(string path, ReadOnlySpan<byte> content)
    {
        string fresh = path + ".new";
        using (var stream = new FileStream(fresh, new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write, Share = FileShare.ReadWrite, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite }))
        {
            stream.Write(content);
            stream.Flush(flushToDisk: true);
        }

        File.Move(fresh, path, overwrite: true);
        SyncFolder(Path.GetDirectoryName(path)!);
    }

    /// <exception cref="IOException">It is not known to be gone for good.</exception>
    public static void Delete(string path)
    {
        File.Delete(path);
        SyncFolder(Path.GetDirectoryName(path)!);
    }

    private static void SyncFolder(string folder)
    {
        int handle = Open(folder, RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? ReadOnlyFolderArm : ReadOnlyFolder);
        if (handle < 0)
        {
            throw new IOException($"{folder}: {Marshal.GetLastPInvokeErrorMessage()}");
        }

        int status = FSync(handle);
        string why = Marshal.GetLastPInvokeErrorMessage();
        _ = Close(handle);
        if (status != 0)
        {
            throw new IOException($"{folder}: {why}");
        }
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int FSync(int handle);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int handle);
}
