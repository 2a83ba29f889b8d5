using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.BitLocker;

/// <summary>
/// What the guest reads where ("Virtual sector(s)"): the volume's first sectors from where BitLocker keeps them, zeros in the place of
/// its own structures, everything else in its place, decrypted as far as it is encrypted.
/// </summary>
internal sealed class BitLockerMap : IExtentMap
{
    /// <summary>Sources of the <see cref="MappedSource"/>: decrypted, as stored, and the boot sector as Windows Vista shows it.</summary>
    public const int Decrypted = 0;
    public const int Stored = 1;
    public const int VistaBootSector = 2;

    /// <summary>Of a range that lies elsewhere: decrypted or as stored, whichever holds for where it lies.</summary>
    public const int AsThere = -1;

    private readonly List<Special> _specials = [];
    private readonly long _encryptedBytes;
    private readonly EncryptOnWrite? _eow;

    /// <param name="length">Of the volume.</param>
    /// <param name="encryptedBytes">What lies behind is not encrypted.</param>
    /// <param name="eow">Tells for each block, where the volume is encrypted as it is written.</param>
    public BitLockerMap(long length, long encryptedBytes, EncryptOnWrite? eow)
    {
        Length = length;
        _encryptedBytes = encryptedBytes;
        _eow = eow;
    }

    public long Length { get; }

    /// <summary>Puts a range over what is there. The first one put holds.</summary>
    public void Put(long start, long length, ExtentKind kind, long location = 0, int source = 0)
    {
        long end = Math.Min(Length, start + length);
        int i = 0;
        for (; i < _specials.Count && start < end; i++)
        {
            Special other = _specials[i];
            if (other.End <= start)
            {
                continue;
            }

            if (start < other.Start)
            {
                long pieceEnd = Math.Min(end, other.Start);
                _specials.Insert(i, new Special(start, pieceEnd, kind, location, source));
                i++;
                location += pieceEnd - start;
                start = pieceEnd;
            }

            long covered = Math.Min(end, other.End) - start;
            if (covered > 0)
            {
                start += covered;
                location += covered;
            }
        }

        if (start < end)
        {
            _specials.Insert(i, new Special(start, end, kind, location, source));
        }
    }

    public Extent Map(long offset, long count)
    {
        foreach (Special special in _specials)
        {
            if (offset < special.Start)
            {
                return InPlace(offset, Math.Min(count, special.Start - offset));
            }

            if (offset < special.End)
            {
                count = Math.Min(count, special.End - offset);
                long location = special.Location + (offset - special.Start);
                return special.Source == AsThere ? InPlace(location, count) : new Extent(special.Kind, count, location, special.Source);
            }
        }

        return InPlace(offset, count);
    }

    private Extent InPlace(long offset, long count)
    {
        if (offset >= _encryptedBytes)
        {
            return new Extent(ExtentKind.Data, count, offset, Stored);
        }

        count = Math.Min(count, _encryptedBytes - offset);
        return _eow is not null && !_eow.IsEncrypted(offset, count, out count)
            ? new Extent(ExtentKind.Data, count, offset, Stored)
            : new Extent(ExtentKind.Data, count, offset, Decrypted);
    }

    private sealed record Special(long Start, long End, ExtentKind Kind, long Location, int Source);
}
