using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vmsweep.Signatures.Bundles;

/// <summary>Writing that outlasts the loss of power: a file's bytes and its name each need their own flush.</summary>
internal static partial class DurableFiles
{
    private const int ReadOnly = 0;
    private const int NonBlocking = 0x800;
    private const int CloseOnExec = 0x80000;

    // Their values differ between x86 and ARM.
    private static readonly int Directory = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x4000 : 0x10000;
    private static readonly int NoFollow = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x8000 : 0x20000;

    /// <summary>Puts bytes in place of a file. After a loss of power it holds the old bytes or the new ones.</summary>
    public static void Replace(string path, ReadOnlySpan<byte> bytes)
    {
        string folder = Path.GetDirectoryName(path)!;
        string fresh = path + ".new";
        using (var file = new FileStream(fresh, FileMode.Create, FileAccess.Write, FileShare.None))
        {
            file.Write(bytes);
            file.Flush(flushToDisk: true);
        }

        File.Move(fresh, path, overwrite: true);
        FlushFolder(folder);
    }

    /// <summary>Renames a file or folder, for good.</summary>
    public static void Move(string from, string to)
    {
        System.IO.Directory.Move(from, to);
        FlushFolder(Path.GetDirectoryName(to)!);
        FlushFolder(Path.GetDirectoryName(from)!);
    }

    /// <summary>Gives a file a second name, on file systems that can.</summary>
    public static bool TryLink(string path, string to) => Link(path, to) == 0;

    /// <summary>The names that stand in a folder, for good.</summary>
    public static void FlushFolder(string folder)
    {
        int file = Open(folder, ReadOnly | Directory | CloseOnExec);
        if (file < 0)
        {
            throw new IOException($"{folder}: {Marshal.GetLastPInvokeErrorMessage()}");
        }

        using var handle = new SafeFileHandle(file, ownsHandle: true);
        if (Sync(file) != 0)
        {
            throw new IOException($"{folder}: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    /// <summary>A folder and all below it.</summary>
    public static void FlushFolders(string root)
    {
        foreach (string folder in System.IO.Directory.EnumerateDirectories(root, "*", SearchOption.AllDirectories))
        {
            FlushFolder(folder);
        }

        FlushFolder(root);
    }

    /// <summary>Opens a file that somebody else put there: no link is followed, and a FIFO makes nobody wait.</summary>
    /// <exception cref="BundleException">A link, or nothing that can be read from start to end.</exception>
    public static FileStream OpenForeign(string path)
    {
        int file = Open(path, ReadOnly | NoFollow | NonBlocking | CloseOnExec);
        if (file < 0)
        {
            string why = new FileInfo(path).LinkTarget is not null ? "a link, which is not followed" : Marshal.GetLastPInvokeErrorMessage();
            throw new BundleException(path, why);
        }

        var handle = new SafeFileHandle(file, ownsHandle: true);
        try
        {
            var stream = new FileStream(handle, FileAccess.Read, 64 << 10);
            if (stream.CanSeek && (File.GetAttributes(handle) & FileAttributes.Directory) == 0)
            {
                return stream;
            }

            stream.Dispose();
        }
        catch (Exception e) when (e is IOException or ArgumentException or UnauthorizedAccessException)
        {
            handle.Dispose();
        }

        throw new BundleException(path, "not a regular file");
    }

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "link", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Link(string path, string to);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Sync(int file);
}
