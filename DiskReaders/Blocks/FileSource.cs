using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vmsweep.DiskReaders.Blocks;

/// <summary>A file or block device of the appliance, opened by a name that the appliance chose, never by one found in an image.</summary>
public sealed partial class FileSource : IBlockSource
{
    private const int SeekEnd = 2;
    private const int SeekData = 3;
    private const int SeekHole = 4;

    private readonly SafeFileHandle _handle;

    /// <param name="path">The file.</param>
    /// <param name="fileId">How <see cref="StoredExtent.File"/> names it.</param>
    /// <exception cref="IOException">The file cannot be opened.</exception>
    /// <exception cref="UnauthorizedAccessException">The file may not be read.</exception>
    public FileSource(string path, int fileId = 0)
    {
        _handle = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        FileId = fileId;
        Length = RandomAccess.GetLength(_handle);
        if (Length == 0)
        {
            // A block device has no file length; its end does.
            Length = Math.Max(0, LSeek(_handle, 0, SeekEnd));
        }
    }

    public int FileId { get; }

    public long Length { get; }

    public void Read(long offset, Span<byte> destination)
    {
        Bounds.Check(offset, destination.Length, Length, "file");
        while (!destination.IsEmpty)
        {
            int got = RandomAccess.Read(_handle, destination, offset);
            if (got == 0)
            {
                throw new DiskFormatException(Fault.Truncated, "file", offset, "the file became shorter while it was read");
            }

            destination = destination[got..];
            offset += got;
        }
    }

    public StoredExtent Locate(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "file");
        long data = LSeek(_handle, offset, SeekData);
        if (data < 0)
        {
            // ENXIO: no data up to the end. Any other refusal: the file system keeps no holes.
            return Marshal.GetLastPInvokeError() == Enxio
                ? new StoredExtent(ExtentKind.Hole, count)
                : new StoredExtent(ExtentKind.Data, count, FileId, offset);
        }

        if (data > offset)
        {
            return new StoredExtent(ExtentKind.Hole, Math.Min(count, data - offset));
        }

        long hole = LSeek(_handle, offset, SeekHole);
        return new StoredExtent(ExtentKind.Data, hole > offset ? Math.Min(count, hole - offset) : count, FileId, offset);
    }

    public void Dispose() => _handle.Dispose();

    private const int Enxio = 6;

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    private static partial long LSeek(SafeFileHandle handle, long offset, int whence);
}
