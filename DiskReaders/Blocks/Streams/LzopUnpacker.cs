using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks.Compression;

namespace Vmsweep.DiskReaders.Blocks.Streams;

/// <summary>
/// A file of the lzop program: blocks that stand alone. Big-endian. Layout as the program's conf.h and its manual name the fields.
/// </summary>
internal sealed class LzopUnpacker : IStreamUnpacker
{
    public const string Structure = "lzop";

    /// <summary>The program's own limit; it writes 256 KiB.</summary>
    private const uint MostBlockBytes = 64 << 20;

    private const int SmallBlockBytes = 256 << 10;

    // Flags of the header: which sums stand with a block, and what follows the header.
    private const uint AdlerOfPlain = 0x1;
    private const uint AdlerOfPacked = 0x2;
    private const uint ExtraField = 0x40;
    private const uint CrcOfPlain = 0x100;
    private const uint CrcOfPacked = 0x200;
    private const uint IsMultipart = 0x400;
    private const uint HasFilter = 0x800;

    private static readonly byte[] Magic = [0x89, (byte)'L', (byte)'Z', (byte)'O', 0, 0x0D, 0x0A, 0x1A, 0x0A];

    private readonly ScanBudget _budget;
    private readonly PackedBytes _bytes;
    private RentedBuffer _plain;
    private RentedBuffer _packed;
    private int _made;
    private uint _flags;
    private bool _isInMember;

    /// <param name="packed">The lzop file; not disposed with this.</param>
    /// <param name="budget">Memory.</param>
    public LzopUnpacker(IBlockSource packed, ScanBudget budget)
    {
        _budget = budget;
        _bytes = new PackedBytes(packed, budget, Structure);
        _plain = budget.Rent(SmallBlockBytes);
        _packed = budget.Rent(SmallBlockBytes);
    }

    public long OutputOffset { get; private set; }

    public ReadOnlySpan<byte> Chunk => _plain.Span[.._made];

    public long StateBytes => 32;

    public bool TryNext()
    {
        _made = 0;
        while (true)
        {
            if (!_isInMember)
            {
                if (_bytes.IsAtEnd && OutputOffset > 0)
                {
                    return false;
                }

                Header();
                _isInMember = true;
            }

            uint plain = _bytes.U32Be();
            if (plain != 0)
            {
                Block(plain);
                return true;
            }

            _isInMember = false;
        }
    }

    public IUnpackState Save(ScanBudget budget) => new State(OutputOffset, _bytes.Position, _flags, _isInMember);

    public void Restore(IUnpackState? state)
    {
        var kept = (State?)state;
        _bytes.GoTo(kept?.InputPosition ?? 0);
        OutputOffset = kept?.OutputOffset ?? 0;
        _flags = kept?.Flags ?? 0;
        _isInMember = kept?.IsInMember ?? false;
        _made = 0;
    }

    public void Dispose()
    {
        _bytes.Dispose();
        _plain.Dispose();
        _packed.Dispose();
    }

    private void Header()
    {
        Span<byte> magic = stackalloc byte[9];
        _bytes.Fill(magic);
        if (!magic.SequenceEqual(Magic))
        {
            throw _bytes.Corrupt("bad magic");
        }

        int version = _bytes.U16Be();
        bool isLong = version >= 0x0940;
        _bytes.Skip(isLong ? 4 : 2);
        byte method = _bytes.U8();
        if (method is < 1 or > 3)
        {
            throw new DiskFormatException(Fault.Unsupported, Structure, _bytes.Position, $"method {method}");
        }

        _bytes.Skip(isLong ? 1 : 0);
        _flags = _bytes.U32Be();
        if ((_flags & (HasFilter | IsMultipart)) != 0)
        {
            throw new DiskFormatException(Fault.Unsupported, Structure, _bytes.Position, "filters and files in several parts are not read");
        }

        _bytes.Skip(isLong ? 12 : 8);
        _bytes.Skip(_bytes.U8());
        _bytes.Skip(4);
        if ((_flags & ExtraField) != 0)
        {
            _bytes.Skip(_bytes.U32Be());
            _bytes.Skip(4);
        }
    }

    private void Block(uint plainBytes)
    {
        uint packedBytes = _bytes.U32Be();
        if (plainBytes > MostBlockBytes || packedBytes > plainBytes || packedBytes == 0)
        {
            throw _bytes.Corrupt($"a block of {packedBytes} packed bytes for {plainBytes}");
        }

        uint? adler = (_flags & AdlerOfPlain) != 0 ? _bytes.U32Be() : null;
        uint? crc = (_flags & CrcOfPlain) != 0 ? _bytes.U32Be() : null;
        if (packedBytes < plainBytes)
        {
            _bytes.Skip(((_flags & AdlerOfPacked) != 0 ? 4 : 0) + ((_flags & CrcOfPacked) != 0 ? 4 : 0));
        }

        Span<byte> plain = Room(ref _plain, (int)plainBytes);
        if (packedBytes == plainBytes)
        {
            _bytes.Fill(plain);
        }
        else
        {
            Span<byte> packed = Room(ref _packed, (int)packedBytes);
            _bytes.Fill(packed);
            if (Lzo.Unpack(packed, plain) != plain.Length)
            {
                throw _bytes.Corrupt("malformed LZO data");
            }
        }

        if ((adler is { } a && a != Adler32(plain)) || (crc is { } c && c != Crc32.Of(plain)))
        {
            throw _bytes.Corrupt("the checksum of a block differs");
        }

        _made = plain.Length;
        OutputOffset += _made;
    }

    private Span<byte> Room(ref RentedBuffer buffer, int bytes)
    {
        if (buffer.Length < bytes)
        {
            // The new one first: when memory is refused the old one is still there to be disposed.
            RentedBuffer larger = _budget.Rent(bytes);
            buffer.Dispose();
            buffer = larger;
        }

        return buffer.Span[..bytes];
    }

    // RFC 1950, section 8.2. 5552 is the most bytes that cannot overflow.
    private static uint Adler32(ReadOnlySpan<byte> bytes)
    {
        uint a = 1, b = 0;
        while (!bytes.IsEmpty)
        {
            ReadOnlySpan<byte> part = bytes[..Math.Min(bytes.Length, 5552)];
            unchecked
            {
                foreach (byte value in part)
                {
                    a += value;
                    b += a;
                }
            }

            a %= 65521;
            b %= 65521;
            bytes = bytes[part.Length..];
        }

        return (b << 16) | a;
    }

    private sealed record State(long OutputOffset, long InputPosition, uint Flags, bool IsInMember) : IUnpackState
    {
        public void Dispose()
        {
        }
    }
}
