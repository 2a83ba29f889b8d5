namespace Vmsweep.DiskReaders.Blocks;

/// <summary>What any source can be asked beyond its own interface.</summary>
public static class BlockSources
{
    /// <summary>How many bytes from <paramref name="offset"/> are not stored (read as zeros), at most <paramref name="most"/>; 0 when the first is stored.</summary>
    public static long HoleLength(this IBlockSource source, long offset, long most)
    {
        long end = source.Length - offset < most ? source.Length : offset + most;
        long at = offset;
        while (at < end)
        {
            StoredExtent extent = source.Locate(at, end - at);
            if (extent.IsStored)
            {
                break;
            }

            at += extent.Length;
        }

        return at - offset;
    }
}
