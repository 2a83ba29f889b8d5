using System.Diagnostics;

namespace Vmsweep.DiskReaders.Blocks;

/// <summary>Stored bytes behind a <see cref="IReadGate"/>. Not <see cref="IFileBacked"/>: bytes that the kernel copies by itself would pass no gate.</summary>
internal sealed class PacedSource(IBlockSource inner, int fileId, IReadGate gate) : IBlockSource
{
    /// <summary>What is asked for at once: a long read would take all of a second's share, and its time would say little about the storage.</summary>
    private const int PieceBytes = 1 << 20;

    public IBlockSource Inner => inner;

    public long Length => inner.Length;

    public void Read(long offset, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            Span<byte> piece = destination[..Math.Min(destination.Length, PieceBytes)];
            gate.Enter(fileId, piece.Length);
            long started = Stopwatch.GetTimestamp();
            inner.Read(offset, piece);
            gate.Leave(fileId, piece.Length, Stopwatch.GetElapsedTime(started));
            offset += piece.Length;
            destination = destination[piece.Length..];
        }
    }

    public StoredExtent Locate(long offset, long count) => inner.Locate(offset, count);

    public void Dispose() => inner.Dispose();
}
