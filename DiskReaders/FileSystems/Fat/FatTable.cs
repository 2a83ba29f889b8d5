using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Fat;

/// <summary>
/// The file allocation table. Spec: Microsoft FAT 1.03, "FAT Data Structure"; entries of 12, 16 or 32 (28 used) bits,
/// little-endian. Held in memory up to a limit, paged beyond it.
/// </summary>
internal sealed class FatTable : IClusterTable, IDisposable
{
    public const string Structure = "FAT";

    /// <summary>A larger table is paged; this one covers 512 GiB in clusters of 32 KiB.</summary>
    private const long MostHeldBytes = 64 << 20;

    private const int ChunkBytes = 1 << 20;

    private readonly FatBootSector _boot;
    private readonly RentedBuffer? _held;
    private readonly SliceSource? _slice;
    private readonly PageCache? _paged;

    public FatTable(IBlockSource volume, in FatBootSector boot, ReadContext context)
    {
        _boot = boot;
        int copy = Choose(volume, boot, context);
        long bytes = EntriesBytes(boot);
        if (bytes <= Math.Min(MostHeldBytes, context.Budget.CeilingBytes / 4))
        {
            RentedBuffer held = context.Budget.Rent((int)bytes);
            try
            {
                volume.Read(boot.FatOffset(copy), held.Span);
            }
            catch
            {
                held.Dispose();
                throw;
            }

            _held = held;
        }
        else
        {
            _slice = new SliceSource(volume, boot.FatOffset(copy), bytes, Structure);
            _paged = new PageCache(_slice, context);
        }
    }

    /// <summary>The entry of a cluster: the next cluster, <see cref="IClusterTable.End"/> or <see cref="IClusterTable.Broken"/>.</summary>
    /// <param name="cluster">A valid cluster number.</param>
    public uint Next(uint cluster)
    {
        uint value = Entry(cluster);
        if (_boot.IsCluster(value))
        {
            return value;
        }

        uint endOfChain = _boot.EntryBits switch { 12 => 0xFF8, 16 => 0xFFF8, _ => 0x0FFF_FFF8 };
        return value >= endOfChain ? IClusterTable.End : IClusterTable.Broken;
    }

    /// <summary>ClnShutBitMask of the second entry: FAT16 and FAT32 clear it while they are in use.</summary>
    public bool WasInUse => _boot.EntryBits switch
    {
        16 => (Entry(1) & 0x8000) == 0,
        32 => (Entry(1) & 0x0800_0000) == 0,
        _ => false,
    };

    public void Dispose()
    {
        _held?.Dispose();
        _paged?.Dispose();
        _slice?.Dispose();
    }

    // The bytes that hold entries of real clusters, not the rest of the last sector.
    private static long EntriesBytes(in FatBootSector boot) =>
        Math.Min(boot.FatBytes, (((long)boot.LastCluster + 1) * boot.EntryBits + 7) / 8 + (boot.EntryBits == 12 ? 1 : 0));

    private uint Entry(uint cluster)
    {
        Span<byte> bytes = stackalloc byte[4];
        switch (_boot.EntryBits)
        {
            case 12:
                Fetch(cluster + (cluster / 2), bytes[..2]);
                uint pair = BinaryPrimitives.ReadUInt16LittleEndian(bytes);
                return (cluster & 1) != 0 ? pair >> 4 : pair & 0xFFF;
            case 16:
                Fetch(cluster * 2L, bytes[..2]);
                return BinaryPrimitives.ReadUInt16LittleEndian(bytes);
            default:
                Fetch(cluster * 4L, bytes);
                return BinaryPrimitives.ReadUInt32LittleEndian(bytes) & 0x0FFF_FFFF;
        }
    }

    private void Fetch(long at, Span<byte> destination)
    {
        if (_held is not null)
        {
            _held.Span.Slice((int)at, destination.Length).CopyTo(destination);
        }
        else
        {
            _paged!.Read(at, destination);
        }
    }

    // BPB_ExtFlags: without mirroring one copy is active; with it all are equal, and the first sound one counts.
    private static int Choose(IBlockSource volume, in FatBootSector boot, ReadContext context)
    {
        const int NotMirrored = 0x80;
        int active = boot.ExtFlags & 0x0F;
        if ((boot.ExtFlags & NotMirrored) != 0 && active < boot.NumFATs)
        {
            return active;
        }

        int differs = -1;
        for (int copy = 1; copy < boot.NumFATs && differs < 0; copy++)
        {
            differs = AreEqual(volume, boot, 0, copy, context) ? -1 : copy;
        }

        if (differs < 0)
        {
            return 0;
        }

        int chosen = 0;
        while (chosen < boot.NumFATs && !IsSound(volume, boot, chosen, context))
        {
            chosen++;
        }

        chosen = chosen == boot.NumFATs ? 0 : chosen;
        context.Gaps.Add(new CoverageGap(
            Fault.Corrupt, "", Structure, boot.FatOffset(differs), 0, $"copies 1 and {differs + 1} differ; copy {chosen + 1} is read"));
        return chosen;
    }

    private static bool AreEqual(IBlockSource volume, in FatBootSector boot, int one, int other, ReadContext context)
    {
        long bytes = EntriesBytes(boot);
        int chunk = (int)Math.Min(ChunkBytes, bytes);
        using RentedBuffer first = context.Budget.Rent(chunk);
        using RentedBuffer second = context.Budget.Rent(chunk);
        for (long at = 0; at < bytes; at += chunk)
        {
            context.ThrowIfCancelled();
            int count = (int)Math.Min(chunk, bytes - at);
            try
            {
                volume.Read(boot.FatOffset(one) + at, first.Span[..count]);
                volume.Read(boot.FatOffset(other) + at, second.Span[..count]);
            }
            catch (DiskFormatException)
            {
                return false;
            }

            if (!first.Span[..count].SequenceEqual(second.Span[..count]))
            {
                return false;
            }
        }

        return true;
    }

    // Sound: readable, the media byte in the first entry, and no entry that names an impossible cluster.
    private static bool IsSound(IBlockSource volume, in FatBootSector boot, int copy, ReadContext context)
    {
        long bytes = EntriesBytes(boot);

        // Whole entries in each chunk whatever their size.
        int chunk = (int)Math.Min(ChunkBytes / 12 * 12, bytes);
        using RentedBuffer buffer = context.Budget.Rent(chunk);
        for (long at = 0; at < bytes; at += chunk)
        {
            context.ThrowIfCancelled();
            Span<byte> part = buffer.Span[..(int)Math.Min(chunk, bytes - at)];
            try
            {
                volume.Read(boot.FatOffset(copy) + at, part);
            }
            catch (DiskFormatException)
            {
                return false;
            }

            if ((at == 0 && part[0] != boot.Media) || !EntriesAreSound(part, at == 0, boot))
            {
                return false;
            }
        }

        return true;
    }

    private static bool EntriesAreSound(ReadOnlySpan<byte> part, bool isStart, in FatBootSector boot)
    {
        int entries = part.Length * 8 / boot.EntryBits;
        uint reserved = boot.EntryBits switch { 12 => 0xFF0, 16 => 0xFFF0, _ => 0x0FFF_FFF0 };
        for (int i = isStart ? 2 : 0; i < entries; i++)
        {
            uint value = boot.EntryBits switch
            {
                12 => Entry12(part, i),
                16 => BinaryPrimitives.ReadUInt16LittleEndian(part[(2 * i)..]),
                _ => BinaryPrimitives.ReadUInt32LittleEndian(part[(4 * i)..]) & 0x0FFF_FFFF,
            };
            if (value == 1 || (value > boot.LastCluster && value < reserved))
            {
                return false;
            }
        }

        return true;
    }

    private static uint Entry12(ReadOnlySpan<byte> part, int entry)
    {
        uint pair = BinaryPrimitives.ReadUInt16LittleEndian(part[(entry + (entry / 2))..]);
        return (entry & 1) != 0 ? pair >> 4 : pair & 0xFFF;
    }
}
