namespace Vmsweep.DiskReaders.Blocks;

/// <summary>Fills a block of an <see cref="UnpackedCache"/>.</summary>
internal interface IBlockLoader
{
    /// <summary>Fills <paramref name="block"/> as far as there is content, or throws.</summary>
    /// <returns>Bytes made.</returns>
    int Load(long key, Span<byte> block);
}

/// <summary>
/// Keeps the blocks last used that unpack to a size known only afterwards and belong to nobody alone, such as packed metadata or ends of
/// many files packed together. The keys are spread over parts with a lock each, so that threads can unpack at the same time.
/// </summary>
internal sealed class UnpackedCache : IDisposable
{
    private const int Parts = 4;

    private readonly ScanBudget _budget;
    private readonly int _blockBytes;
    private readonly int _blocksOfPart;
    private readonly IBlockLoader _loader;
    private readonly List<Block>[] _parts = [[], [], [], []];
    private bool _disposed;

    public UnpackedCache(ScanBudget budget, int blockBytes, int blocks, IBlockLoader loader)
    {
        _budget = budget;
        _blockBytes = blockBytes;
        _blocksOfPart = Math.Max(1, blocks / Parts);
        _loader = loader;
    }

    /// <summary>Copies what a block has from <paramref name="within"/> on.</summary>
    /// <returns>Bytes copied: fewer than wanted when the block ends before.</returns>
    public int Read(long key, int within, Span<byte> destination)
    {
        List<Block> part = _parts[(int)((ulong)key % Parts)];
        lock (part)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            Block block = Find(part, key);
            int count = Math.Clamp(block.Made - within, 0, destination.Length);
            block.Buffer.Span.Slice(within, count).CopyTo(destination);
            return count;
        }
    }

    public void Dispose()
    {
        foreach (List<Block> part in _parts)
        {
            lock (part)
            {
                _disposed = true;
                part.ForEach(b => b.Buffer.Dispose());
                part.Clear();
            }
        }
    }

    private Block Find(List<Block> part, long key)
    {
        for (int i = part.Count - 1; i >= 0; i--)
        {
            if (part[i].Key == key)
            {
                Block found = part[i];
                if (i != part.Count - 1)
                {
                    part.RemoveAt(i);
                    part.Add(found);
                }

                return found;
            }
        }

        RentedBuffer buffer;
        if (part.Count >= _blocksOfPart)
        {
            buffer = part[0].Buffer;
            part.RemoveAt(0);
        }
        else
        {
            buffer = _budget.Rent(_blockBytes);
        }

        try
        {
            var made = new Block(key, _loader.Load(key, buffer.Span), buffer);
            part.Add(made);
            return made;
        }
        catch
        {
            buffer.Dispose();
            throw;
        }
    }

    private readonly record struct Block(long Key, int Made, RentedBuffer Buffer);
}
