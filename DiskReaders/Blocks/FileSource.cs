using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vmsweep.DiskReaders.Blocks;

/// <summary>A file or block device of the appliance, opened by a name that the appliance chose, never by one found in an image.</summary>
public sealed partial class FileSource : IBlockSource, IFileBacked
{
    private const int Enxio = 6;
    private const int SeekEnd = 2;
    private const int SeekData = 3;
    private const int SeekHole = 4;

    private readonly SafeFileHandle _handle;
    private volatile Region? _lastRegion;
    private volatile Region? _regionBefore;

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

    /// <summary>When the file was last written to.</summary>
    public DateTimeOffset Modified => new(File.GetLastWriteTimeUtc(_handle), TimeSpan.Zero);

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
        Region region = RegionOf(offset);
        long length = Math.Min(count, region.End - offset);
        return region.IsData ? new StoredExtent(ExtentKind.Data, length, FileId, offset) : new StoredExtent(ExtentKind.Hole, length);
    }

    public FileRange? InFile(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "file");
        Region region = RegionOf(offset);
        return region.IsData ? new FileRange(_handle, offset, Math.Min(count, region.End - offset)) : null;
    }

    public void Dispose() => _handle.Dispose();

    private Region RegionOf(long offset)
    {
        Region? last = _lastRegion;
        if (last is not null && offset >= last.Start && offset < last.End)
        {
            return last;
        }

        // Two, for formats that keep their tables twice and look at both in turn.
        Region? before = _regionBefore;
        Region region = before is not null && offset >= before.Start && offset < before.End ? before : RegionAt(offset);
        _regionBefore = last;
        _lastRegion = region;
        return region;
    }

    private Region RegionAt(long offset)
    {
        long data = LSeek(_handle, offset, SeekData);
        if (data < 0)
        {
            // ENXIO: no data up to the end. Any other refusal: the file system keeps no holes.
            return new Region(offset, Length, Marshal.GetLastPInvokeError() != Enxio);
        }

        if (data > offset)
        {
            return new Region(offset, Math.Min(data, Length), false);
        }

        long hole = LSeek(_handle, offset, SeekHole);
        return new Region(offset, hole > offset ? Math.Min(hole, Length) : Length, true);
    }

    // Callers go through a file in order and ask for little at a time: the region last found saves most system calls.
    private sealed record Region(long Start, long End, bool IsData);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    private static partial long LSeek(SafeFileHandle handle, long offset, int whence);
}
