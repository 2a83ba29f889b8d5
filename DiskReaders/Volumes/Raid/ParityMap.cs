using System.Globalization;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Raid;

/// <summary>
/// RAID4, 5 and 6. Chunks of sound members are data where they lie; those of others are units that parity rebuilds. A unit lies
/// within one chunk. Formulas: H. Peter Anvin, "The mathematics of RAID-6", section 4.
/// </summary>
internal sealed class ParityMap : IExtentMap, IUnpacker
{
    /// <summary>Rebuilt units kept for reads of parts.</summary>
    public const int CachedUnits = 8;

    private const int LargeUnit = 64 << 10;
    private const int SmallUnit = 4096;

    private readonly RaidGeometry _geometry;
    private readonly ParityLayout _layout;
    private readonly IReadOnlyList<IBlockSource?> _devices;
    private readonly DistrustMap _distrust;
    private readonly ReadContext _context;
    private readonly long _chunk;

    public ParityMap(RaidGeometry geometry, IReadOnlyList<IBlockSource?> devices, DistrustMap distrust, ReadContext context)
    {
        _geometry = geometry;
        _layout = new ParityLayout(geometry);
        _devices = devices;
        _distrust = distrust;
        _context = context;
        _chunk = geometry.ChunkBytes;
        if (geometry.Level == RaidLevel.Raid6 && geometry.Disks > GaloisField.Order)
        {
            throw new DiskFormatException(Fault.Corrupt, "RAID geometry", -1, "bad number of members");
        }

        if (distrust.Missing.Count > geometry.Disks - _layout.DataDisks)
        {
            throw RaidSource.TooFew(distrust.Missing, geometry.Disks);
        }

        UnitBytes = (int)CommonDivisor(_chunk, distrust.IsScattered ? SmallUnit : LargeUnit);
        Length = (geometry.DeviceBytes - (geometry.DeviceBytes % _chunk)) * _layout.DataDisks;
    }

    public long Length { get; }

    public int UnitBytes { get; }

    public Extent Map(long offset, long count)
    {
        (int device, _, long at) = Place(offset);
        long length = Math.Min(count, _chunk - (offset % _chunk));
        return _distrust.IsSound(device, at, ref length)
            ? new Extent(ExtentKind.Data, length, at, device)
            : new Extent(ExtentKind.Packed, length, at);
    }

    public void Unpack(long unitOffset, long location, Span<byte> unit)
    {
        (int device, int p, long at) = Place(unitOffset);
        while (!unit.IsEmpty)
        {
            // Members may be bad in different places: as far as all stay as they are.
            long length = unit.Length;
            for (int i = 0; i < _geometry.Disks; i++)
            {
                _ = _distrust.IsSound(i, at, ref length);
            }

            Span<byte> part = unit[..(int)length];
            if (IsSound(device, at))
            {
                _devices[device]!.Read(at, part);
            }
            else
            {
                Rebuild(device, p, at, part);
            }

            at += length;
            unit = unit[part.Length..];
        }
    }

    private (int Device, int P, long At) Place(long offset)
    {
        long chunk = Math.DivRem(offset, _chunk, out long within);
        long row = Math.DivRem(chunk, _layout.DataDisks, out long index);
        int p = _layout.P(row);
        return (_layout.Data(p, (int)index), p, (row * _chunk) + within);
    }

    private bool IsSound(int device, long at)
    {
        long one = 1;
        return _distrust.IsSound(device, at, ref one);
    }

    private void Rebuild(int wanted, int p, long at, Span<byte> part)
    {
        int q = _layout.Q(p);
        int other = -1;
        for (int i = 0; i < _geometry.Disks; i++)
        {
            if (i != wanted && i != p && i != q && !IsSound(i, at))
            {
                other = other < 0 ? i : throw Lost(at);
            }
        }

        bool hasP = IsSound(p, at);
        bool hasQ = q >= 0 && IsSound(q, at);
        using RentedBuffer read = _context.Budget.Rent(part.Length);
        if (other < 0 && hasP)
        {
            // D_x = P + all other data.
            _devices[p]!.Read(at, part);
            foreach (int device in Sound(p, q, wanted, -1))
            {
                _devices[device]!.Read(at, read.Span);
                GaloisField.Add(part, read.Span);
            }
        }
        else if (other < 0 && hasQ)
        {
            // D_x = (Q + Q_x) * g^-x.
            using RentedBuffer sum = _context.Budget.Rent(part.Length);
            _devices[q]!.Read(at, sum.Span);
            foreach (int device in Sound(p, q, wanted, -1))
            {
                _devices[device]!.Read(at, read.Span);
                GaloisField.AddProduct(sum.Span, read.Span, Factor(device));
            }

            part.Clear();
            GaloisField.AddProduct(part, sum.Span, GaloisField.Inverse(Factor(wanted)));
        }
        else if (hasP && hasQ)
        {
            // D_x = A * (P + P_xy) + B * (Q + Q_xy), A = g^(y-x) / (g^(y-x) + 1), B = g^-x / (g^(y-x) + 1).
            using RentedBuffer ofP = _context.Budget.Rent(part.Length);
            using RentedBuffer ofQ = _context.Budget.Rent(part.Length);
            _devices[p]!.Read(at, ofP.Span);
            _devices[q]!.Read(at, ofQ.Span);
            foreach (int device in Sound(p, q, wanted, other))
            {
                _devices[device]!.Read(at, read.Span);
                GaloisField.Add(ofP.Span, read.Span);
                GaloisField.AddProduct(ofQ.Span, read.Span, Factor(device));
            }

            byte ratio = GaloisField.Multiply(Factor(other), GaloisField.Inverse(Factor(wanted)));
            byte divisor = GaloisField.Inverse((byte)(ratio ^ 1));
            part.Clear();
            GaloisField.AddProduct(part, ofP.Span, GaloisField.Multiply(ratio, divisor));
            GaloisField.AddProduct(part, ofQ.Span, GaloisField.Multiply(GaloisField.Inverse(Factor(wanted)), divisor));
        }
        else
        {
            throw Lost(at);
        }

        byte Factor(int device) => GaloisField.Power(_layout.Coefficient(p, q, device));
    }

    /// <summary>Data members other than those to be found.</summary>
    private IEnumerable<int> Sound(int p, int q, int wanted, int other) =>
        Enumerable.Range(0, _geometry.Disks).Where(i => i != p && i != q && i != wanted && i != other);

    private DiskFormatException Lost(long at)
    {
        IEnumerable<int> bad = Enumerable.Range(0, _geometry.Disks).Where(i => !IsSound(i, at));
        return new DiskFormatException(
            Fault.Corrupt, "RAID members", at, string.Create(CultureInfo.InvariantCulture, $"these members do not hold the row soundly, more than parity makes up for: {string.Join(", ", bad)}"));
    }

    private static long CommonDivisor(long a, long b)
    {
        while (b != 0)
        {
            (a, b) = (b, a % b);
        }

        return a;
    }
}
