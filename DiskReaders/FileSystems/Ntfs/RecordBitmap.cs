using System.Numerics;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>
/// The <c>$BITMAP</c> of the <c>$MFT</c>: one bit for each record, set when it is in use. Tells an empty slot from a lost record.
/// </summary>
internal sealed class RecordBitmap : IDisposable
{
    /// <summary>Beyond 64 million records the bitmap does without.</summary>
    private const int MaxBytes = 8 << 20;

    private readonly RentedBuffer? _bits;

    /// <summary>A bitmap that cannot be read is reported and answers "not known".</summary>
    public RecordBitmap(NtfsVolume volume, MasterFileTable table)
    {
        try
        {
            _bits = Read(volume, table);
        }
        catch (DiskFormatException e)
        {
            // The bitmap only sharpens what is said of damaged records: they are gaps without it.
            volume.Context.Gaps.Add(new CoverageGap(e, "$MFT:$BITMAP", 0));
        }
    }

    /// <summary>Null when not known.</summary>
    public bool? IsUsed(long number) =>
        _bits is null || number / 8 >= _bits.Length ? null : (_bits.Span[(int)(number / 8)] >> (int)(number % 8) & 1) != 0;

    public long CountUsed(long first, long count)
    {
        if (_bits is null)
        {
            return 0;
        }

        long used = 0;
        long end = Math.Min(first + count, (long)_bits.Length * 8);
        for (long at = first; at < end;)
        {
            if (at % 8 == 0 && end - at >= 8)
            {
                used += BitOperations.PopCount(_bits.Span[(int)(at / 8)]);
                at += 8;
            }
            else
            {
                used += IsUsed(at) == true ? 1 : 0;
                at++;
            }
        }

        return used;
    }

    public void Dispose() => _bits?.Dispose();

    private static RentedBuffer? Read(NtfsVolume volume, MasterFileTable table)
    {
        using RentedBuffer record = volume.Context.Budget.Rent(volume.RecordBytes);
        if (table.Load(0, record.Span) != RecordState.InUse)
        {
            return null;
        }

        using var assembler = new FileAssembler(volume, table) { WithBitmap = true };
        assembler.Assemble(record.Span, 0);
        AssembledStream? bitmap = assembler.File.Find(AttributeType.Bitmap, default);
        if (bitmap is null || bitmap.FileSize > MaxBytes)
        {
            return null;
        }

        using IBlockSource source = NtfsContent.Open(volume, table, NtfsContent.LayoutOf(bitmap), 0);
        RentedBuffer bits = volume.Context.Budget.Rent((int)bitmap.FileSize);
        try
        {
            source.Read(0, bits.Span);
        }
        catch
        {
            bits.Dispose();
            throw;
        }

        return bits;
    }
}
