using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Xva;

/// <summary>
/// The chunks of one disk. A chunk that the archive leaves out is all zeros; behind the last chunk of an archive that was cut off lies what
/// nobody knows, and reading it is a fault.
/// </summary>
/// <param name="chunks">Disposed with this.</param>
/// <param name="length">The disk's size.</param>
/// <param name="knownBytes">Up to here the archive tells everything.</param>
internal sealed class XvaMap(ChunkTable chunks, long length, long knownBytes) : IExtentMap, IDisposable
{
    /// <summary>Index of the source of bytes that are not there.</summary>
    public const int Missing = 1;

    public long Length => length;

    public Extent Map(long offset, long count)
    {
        if (offset >= knownBytes)
        {
            return new Extent(ExtentKind.Data, count, offset, Missing);
        }

        count = Math.Min(count, knownBytes - offset);
        long number = offset / XvaFormat.ChunkBytes;
        long within = offset % XvaFormat.ChunkBytes;
        int at = chunks.Find(number);
        if (at < chunks.Count && chunks.Number(at) == number)
        {
            return new Extent(ExtentKind.Data, Math.Min(count, XvaFormat.ChunkBytes - within), chunks.Location(at) + within);
        }

        long next = at < chunks.Count ? chunks.Number(at) * (long)XvaFormat.ChunkBytes : long.MaxValue;
        return new Extent(ExtentKind.Zero, Math.Min(count, next - offset));
    }

    public void Dispose() => chunks.Dispose();
}
