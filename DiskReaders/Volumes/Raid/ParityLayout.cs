using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Raid;

/// <summary>
/// Which member of a row holds parity and which holds data. RAID4 and 5: md(4) and mdadm(8), "--layout". RAID6: the same with Q
/// after P; the three of SNIA "Common RAID DDF Specification" 2.0, section 4.2 (their RAID6 qualifiers), which count Q's
/// coefficients by member; and those with the suffix -6, a RAID5 of all members but the last, which holds Q.
/// </summary>
internal sealed class ParityLayout
{
    public const int LeftAsymmetric = 0;
    public const int RightAsymmetric = 1;
    public const int LeftSymmetric = 2;
    public const int RightSymmetric = 3;
    public const int ParityFirst = 4;
    public const int ParityLast = 5;
    public const int DdfZeroRestart = 8;
    public const int DdfNRestart = 9;
    public const int DdfNContinue = 10;

    /// <summary>Added to one of the first five: Q always on the last member. With parity-last it would be parity-last itself.</summary>
    public const int QLast = 16;

    private readonly int _disks, _kind;
    private readonly bool _hasQ, _isQLast;

    public ParityLayout(RaidGeometry geometry)
    {
        _disks = geometry.Disks;
        _hasQ = geometry.Level == RaidLevel.Raid6;
        _isQLast = _hasQ && geometry.Layout is >= QLast and <= QLast + ParityFirst;
        _kind = geometry.Level == RaidLevel.Raid4 ? ParityLast : _isQLast ? geometry.Layout - QLast : geometry.Layout;

        bool isKnown = _kind is (>= LeftAsymmetric and <= ParityLast) || (_hasQ && IsDdf);
        if (!isKnown)
        {
            throw new DiskFormatException(Fault.Unsupported, "RAID geometry", -1, $"parity layout {geometry.Layout}");
        }

        DataDisks = _disks - (_hasQ ? 2 : 1);
    }

    public int DataDisks { get; }

    private bool IsDdf => _kind is >= DdfZeroRestart and <= DdfNContinue;

    /// <summary>The member with P in a row.</summary>
    public int P(long row)
    {
        int ring = _isQLast ? _disks - 1 : _disks;
        return _kind switch
        {
            LeftAsymmetric or LeftSymmetric or DdfNContinue => ring - 1 - (int)(row % ring),
            RightAsymmetric or RightSymmetric or DdfZeroRestart => (int)(row % ring),
            DdfNRestart => ring - 1 - (int)((row + 1) % ring),
            ParityFirst => 0,
            _ => DataDisks,
        };
    }

    /// <summary>The member with Q in a row; -1 without one.</summary>
    public int Q(int p) =>
        !_hasQ ? -1
        : _isQLast ? _disks - 1
        : _kind == DdfNContinue ? (p + _disks - 1) % _disks
        : (p + 1) % _disks;

    /// <summary>The member with the row's data chunk of an index.</summary>
    public int Data(int p, int index)
    {
        int ring = _isQLast ? _disks - 1 : _disks;
        switch (_kind)
        {
            case LeftSymmetric or RightSymmetric:
                return (p + (_hasQ && !_isQLast ? 2 : 1) + index) % ring;
            case DdfNContinue:
                return (p + 1 + index) % ring;
            default:
                // In member order, leaving out P and Q; Q goes round to member 0 when P is on the last.
                int q = Q(p);
                int device = index;
                foreach (int parity in (ReadOnlySpan<int>)[Math.Min(p, q), Math.Max(p, q)])
                {
                    device += parity >= 0 && device >= parity ? 1 : 0;
                }

                return device;
        }
    }

    /// <summary>The power of the generator that goes with a data member in Q.</summary>
    public int Coefficient(int p, int q, int device)
    {
        if (IsDdf)
        {
            return device;
        }

        // Counted from the member after Q, round to it, leaving out P.
        int place = (device - q - 1 + _disks) % _disks;
        return place - ((p - q - 1 + _disks) % _disks < place ? 1 : 0);
    }
}
