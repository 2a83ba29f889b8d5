using Microsoft.Win32.SafeHandles;

namespace Vmsweep.DiskReaders.Blocks;

/// <summary>
/// A source whose bytes stand somewhere in a file exactly as they are read: who copies them may leave that to the kernel and need not bring
/// them into this process. Unlike <see cref="IBlockSource.Locate"/>, which also tells of what is encrypted or packed there.
/// </summary>
public interface IFileBacked
{
    /// <summary>The file that holds the bytes at <paramref name="offset"/>, for 1 to <paramref name="count"/> of them; null where none does as they are.</summary>
    FileRange? InFile(long offset, long count);
}

/// <param name="File">Owned by the source.</param>
public readonly record struct FileRange(SafeFileHandle File, long Offset, long Length);
