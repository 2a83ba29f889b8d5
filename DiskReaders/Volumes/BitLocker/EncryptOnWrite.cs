using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.BitLocker;

/// <summary>
/// "Encrypt-on-Write (EOW)": of a volume whose used space alone is encrypted, bitmaps tell which blocks are. Each bitmap is for
/// a region of the volume and is kept twice; the record with the higher sequence number holds.
/// </summary>
internal sealed class EncryptOnWrite : IDisposable
{
    private const int DescriptorBytes = 512;
    private const int DescriptorHeaderBytes = 56;
    private const int MapHeaderBytes = 60;
    private const int RecordHeaderBytes = 36;

    /// <summary>Areas are files of the volume, whole clusters of it at least.</summary>
    private const int AreaAlignment = 4096;

    private readonly long _blockBytes;
    private readonly List<Region> _regions = [];
    private readonly List<(long Offset, long Bytes)> _areas = [];

    private EncryptOnWrite(long blockBytes) => _blockBytes = blockBytes;

    /// <summary>Where these structures lie. The guest sees zeros there.</summary>
    public IReadOnlyList<(long Offset, long Bytes)> Areas => _areas;

    /// <summary>True when some block of the volume is not encrypted.</summary>
    public bool HasPlainBlocks { get; private set; }

    /// <summary>Reads descriptor 1, or 2 where that is faulty, and the newest record of each map.</summary>
    /// <exception cref="DiskFormatException">Neither descriptor is sound, or no record of a map is.</exception>
    public static EncryptOnWrite Read(IBlockSource volume, IReadOnlyList<long> descriptors, ReadContext context, Action<DiskFormatException> report)
    {
        DiskFormatException? first = null;
        foreach (long offset in descriptors)
        {
            try
            {
                EncryptOnWrite read = ReadFrom(volume, offset, descriptors, context);
                if (first is not null)
                {
                    report(first);
                }

                return read;
            }
            catch (DiskFormatException e)
            {
                first ??= e;
            }
        }

        throw first!;
    }

    /// <summary>Whether the block at <paramref name="offset"/> is encrypted, and for how many of the next bytes the same holds.</summary>
    public bool IsEncrypted(long offset, long count, out long length)
    {
        length = count;
        foreach (Region region in _regions)
        {
            if (offset < region.Offset)
            {
                length = Math.Min(length, region.Offset - offset);
            }
            else if (offset - region.Offset < region.Bytes)
            {
                long within = offset - region.Offset;
                long most = Math.Min(count, region.Bytes - within);
                int bit = (int)(within / _blockBytes);
                bool isSet = region.IsSet(bit);
                int end = region.EndOfRun(bit, (int)((within + most - 1) / _blockBytes) + 1, isSet);
                length = Math.Min(most, (_blockBytes * end) - within);
                return isSet;
            }
        }

        // A range of no map is of no block that is still to be encrypted.
        return true;
    }

    public void Dispose() => _regions.ForEach(r => r.Bitmap.Dispose());

    private static EncryptOnWrite ReadFrom(IBlockSource volume, long offset, IReadOnlyList<long> descriptors, ReadContext context)
    {
        byte[] sector = ReadAt(volume, offset, DescriptorBytes, "FVE-EOW");
        var v = new LeView(sector, "FVE-EOW", offset);
        v.Require(v.Field(0, 8).SequenceEqual("FVE-EOW\0"u8), 0, "signature");
        v.Require(v.U16(8) == DescriptorHeaderBytes, 8, "header size");
        uint sectorBytes = v.U32(16);
        v.Require(sectorBytes is >= 512 and <= 4096 && BitOperations.IsPow2(sectorBytes), 16, "physical sector size");
        uint blockBytes = v.U32(20);
        v.Require(blockBytes is >= 512 and <= 1 << 30 && BitOperations.IsPow2(blockBytes), 20, "relocation block size");
        uint logBytes = v.U32(24);
        uint maps = v.U32(32);
        v.Require(maps is >= 1 and <= BitLockerLimits.MostBlockMaps && maps * 8 <= sectorBytes - DescriptorHeaderBytes, 32, "number of block map area offsets");
        sector = ReadAt(volume, offset, (int)sectorBytes, "FVE-EOW");
        v = new LeView(sector, "FVE-EOW", offset);
        int used = DescriptorHeaderBytes + (8 * (int)maps);
        v.Require(v.U16(10) == used, 10, "data size");
        CheckSum(sector.AsSpan(0, used), 36, v);
        var made = new EncryptOnWrite(blockBytes);
        try
        {
            foreach (long descriptor in descriptors.Where(d => d != 0).Distinct())
            {
                made._areas.Add((descriptor, AreaAlignment));
            }

            for (int i = 0; i < maps; i++)
            {
                context.ThrowIfCancelled();
                made.AddMap(volume, v.NonNegative64(DescriptorHeaderBytes + (8 * i), "block map area offset"), (int)sectorBytes, logBytes, context);
            }

            return made;
        }
        catch
        {
            made.Dispose();
            throw;
        }
    }

    private void AddMap(IBlockSource volume, long offset, int sectorBytes, uint logBytes, ReadContext context)
    {
        var v = new LeView(ReadAt(volume, offset, sectorBytes, "FVE-EOWBM"), "FVE-EOWBM", offset);
        v.Require(v.Field(0, 10).SequenceEqual("FVE-EOWBM\0"u8), 0, "signature");
        v.Require(v.U16(10) == MapHeaderBytes, 10, "header size");
        CheckSum(v.Bytes, 56, v);
        long regionOffset = v.NonNegative64(20, "volume region offset");
        long regionBytes = v.NonNegative64(28, "volume region size");
        v.Require(regionOffset % 512 == 0 && regionOffset <= volume.Length && regionBytes <= volume.Length - regionOffset, 28, "volume region");
        long log = v.NonNegative64(36, "relocation log area offset");
        uint recordBytes = v.U32(52);
        v.Require(recordBytes is > RecordHeaderBytes and <= BitLockerLimits.MostBlockRecordBytes, 52, "block record size");
        v.Require(_regions.TrueForAll(r => regionOffset >= r.Offset + r.Bytes || r.Offset >= regionOffset + regionBytes), 20, "volume region: two maps cover it");
        _areas.Add((offset, RoundUp(v.U32(12))));
        if (log != 0)
        {
            _areas.Add((log, RoundUp(logBytes)));
        }

        _regions.Add(NewestRecord(volume, offset, [v.U32(44), v.U32(48)], (int)recordBytes, new Region(regionOffset, regionBytes, null!), context));
    }

    private Region NewestRecord(IBlockSource volume, long map, ReadOnlySpan<uint> records, int bytes, Region region, ReadContext context)
    {
        RentedBuffer? newest = null;
        ulong sequence = 0;
        DiskFormatException? fault = null;
        try
        {
            foreach (uint record in records)
            {
                RentedBuffer buffer = context.Budget.Rent(bytes);
                try
                {
                    long at = map + record;
                    Bounds.Check(at, bytes, volume.Length, "FVE-EOWBR");
                    volume.Read(at, buffer.Span);
                    ulong number = CheckRecord(new LeView(buffer.Span, "FVE-EOWBR", at), region.Bytes);
                    if (newest is null || number > sequence)
                    {
                        newest?.Dispose();
                        (newest, buffer, sequence) = (buffer, null!, number);
                    }
                }
                catch (DiskFormatException e) when (fault is null)
                {
                    fault = e;
                }
                finally
                {
                    buffer?.Dispose();
                }
            }

            Region found = region with { Bitmap = newest ?? throw fault! };
            newest = null;
            int blocks = (int)((region.Bytes + _blockBytes - 1) / _blockBytes);
            HasPlainBlocks |= blocks > 0 && (!found.IsSet(0) || found.EndOfRun(0, blocks, true) < blocks);
            return found;
        }
        finally
        {
            newest?.Dispose();
        }
    }

    /// <returns>The sequence number.</returns>
    private ulong CheckRecord(LeView v, long regionBytes)
    {
        v.Require(v.Field(0, 10).SequenceEqual("FVE-EOWBR\0"u8), 0, "signature");
        v.Require(v.U16(10) == RecordHeaderBytes, 10, "header size");
        CheckSum(v.Bytes, 32, v);
        long bits = v.U32(16);
        v.Require(bits <= 8L * (v.Length - RecordHeaderBytes) && bits * _blockBytes >= regionBytes, 16, "number of bits");
        return v.U64(20);
    }

    /// <summary>CRC-32 of the bytes with their own checksum taken as 0.</summary>
    private static void CheckSum(ReadOnlySpan<byte> bytes, int at, LeView v)
    {
        uint crc = Crc32.Append(Crc32.Append(Crc32.Of(bytes[..at]), [0, 0, 0, 0]), bytes[(at + 4)..]);
        v.Require(crc == v.U32(at), at, "checksum");
    }

    private static byte[] ReadAt(IBlockSource volume, long offset, int bytes, string structure)
    {
        Bounds.Check(offset, bytes, volume.Length, structure);
        byte[] sector = new byte[bytes];
        volume.Read(offset, sector);
        return sector;
    }

    private static long RoundUp(uint bytes) => (bytes + (AreaAlignment - 1L)) / AreaAlignment * AreaAlignment;

    private sealed record Region(long Offset, long Bytes, RentedBuffer Bitmap)
    {
        public bool IsSet(int bit) => (Bitmap.Span[RecordHeaderBytes + (bit / 8)] & (1 << (bit % 8))) != 0;

        /// <summary>The first bit from <paramref name="bit"/> on that differs; at most <paramref name="end"/>.</summary>
        public int EndOfRun(int bit, int end, bool isSet)
        {
            ReadOnlySpan<byte> bits = Bitmap.Span[RecordHeaderBytes..];
            byte whole = isSet ? (byte)0xFF : (byte)0;
            while (bit < end)
            {
                if (bit % 8 == 0)
                {
                    int same = bits[(bit / 8)..((end + 7) / 8)].IndexOfAnyExcept(whole);
                    if (same < 0)
                    {
                        return end;
                    }

                    bit += 8 * same;
                }

                if (bit >= end || IsSet(bit) != isSet)
                {
                    break;
                }

                bit++;
            }

            return Math.Min(bit, end);
        }
    }
}
