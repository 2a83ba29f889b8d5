namespace Vmsweep.DiskReaders.Blocks;

/// <summary>The one check of a range against what it must lie in.</summary>
public static class Bounds
{
    /// <exception cref="DiskFormatException"><see cref="Fault.Truncated"/>: the range does not lie within <paramref name="length"/> bytes.</exception>
    public static void Check(long offset, long count, long length, string structure)
    {
        if (offset < 0 || count < 0 || offset > length || count > length - offset)
        {
            throw new DiskFormatException(Fault.Truncated, structure, offset, $"{count} bytes wanted, the source has {length}");
        }
    }
}
