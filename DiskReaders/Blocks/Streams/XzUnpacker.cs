using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks.Compression;

namespace Vmsweep.DiskReaders.Blocks.Streams;

/// <summary>
/// .xz files, one stream or several in a row, without filters for executables. Specification: "The .xz File Format", version 1.2. LZMA2 begins
/// its range coder anew with each chunk, so that each chunk is a place to go on from, with the dictionary and the model as they are there.
/// </summary>
internal sealed class XzUnpacker : IStreamUnpacker
{
    public const string Structure = "xz";

    /// <summary>What xz -9 uses.</summary>
    public const int MostDictionaryBytes = 64 << 20;

    private const int MostChunkBytes = 2 << 20;
    private const int MostPackedBytes = 64 << 10;
    private const int ModelBytes = 32 << 10;

    /// <summary>Contexts see the position within the dictionary in its lowest four bits, so it may only move by multiples of this.</summary>
    private const int PositionBytes = 16;

    private const ulong Lzma2Id = 0x21;
    private const byte CheckCrc32 = 1;
    private const byte CheckCrc64 = 4;

    private readonly ScanBudget _budget;
    private readonly PackedBytes _bytes;
    private readonly RentedBuffer _packed;
    private readonly BudgetReservation _model;
    private readonly LzmaDecoder _lzma = new();
    private RentedBuffer? _history;
    private int _dictionaryBytes;
    private int _dictionaryAt;
    private int _end;
    private int _made;
    private byte _check;
    private bool _isInStream;
    private bool _isInBlock;
    private bool _needsDictionary;
    private bool _needsProperties;
    private bool _needsState;
    private long _blockAt;
    private uint _crc32;
    private ulong _crc64;
    private bool _isVerified;

    /// <param name="packed">The xz file; not disposed with this.</param>
    /// <param name="budget">Memory.</param>
    public XzUnpacker(IBlockSource packed, ScanBudget budget)
    {
        _budget = budget;
        _bytes = new PackedBytes(packed, budget, Structure);
        _packed = budget.Rent(MostPackedBytes);
        _model = budget.Reserve(ModelBytes);
    }

    public long OutputOffset { get; private set; }

    public ReadOnlySpan<byte> Chunk => _history is null ? default : _history.Span[(_end - _made).._end];

    public long StateBytes => Math.Max(1 << 20, _dictionaryBytes) + ModelBytes;

    public bool TryNext()
    {
        _made = 0;
        while (true)
        {
            if (!_isInBlock && !NextBlock())
            {
                return false;
            }

            int made = Lzma2Chunk();
            if (made > 0)
            {
                _made = made;
                OutputOffset += made;
                return true;
            }
        }
    }

    public IUnpackState? Save(ScanBudget budget)
    {
        // Most files have one block. The history that later chunks may reach back to is what counts.
        int kept = _isInBlock ? _end - _dictionaryAt : 0;
        kept = kept <= _dictionaryBytes + PositionBytes ? kept : _dictionaryBytes + ((kept - _dictionaryBytes) % PositionBytes);
        RentedBuffer? history = null;
        try
        {
            history = kept > 0 ? budget.Rent(kept) : null;
            var state = new State(OutputOffset, _bytes.Position, history, budget.Reserve(ModelBytes))
            {
                Check = _check,
                IsInStream = _isInStream,
                IsInBlock = _isInBlock,
                DictionaryBytes = _dictionaryBytes,
                NeedsDictionary = _needsDictionary,
                NeedsProperties = _needsProperties,
                NeedsState = _needsState,
                BlockAt = _blockAt,
            };
            if (history is not null)
            {
                _history!.Span[(_end - kept).._end].CopyTo(history.Span);
            }

            state.Model.CopyFrom(_lzma);
            return state;
        }
        catch (DiskFormatException e) when (e.Fault == Fault.Limit)
        {
            // Going on from further back costs time only.
            history?.Dispose();
            return null;
        }
    }

    public void Restore(IUnpackState? state)
    {
        var kept = (State?)state;
        _bytes.GoTo(kept?.InputPosition ?? 0);
        OutputOffset = kept?.OutputOffset ?? 0;
        _isInStream = kept?.IsInStream ?? false;
        _isInBlock = kept?.IsInBlock ?? false;
        _isVerified = false;
        _made = 0;
        _end = _dictionaryAt = 0;
        if (kept is null)
        {
            return;
        }

        _check = kept.Check;
        (_needsDictionary, _needsProperties, _needsState, _blockAt) = (kept.NeedsDictionary, kept.NeedsProperties, kept.NeedsState, kept.BlockAt);
        _lzma.CopyFrom(kept.Model);
        Room(kept.DictionaryBytes);
        if (kept.History is { } history)
        {
            history.Span.CopyTo(_history!.Span);
            _end = history.Length;
        }
    }

    public void Dispose()
    {
        _bytes.Dispose();
        _packed.Dispose();
        _model.Dispose();
        _history?.Dispose();
    }

    private bool NextBlock()
    {
        while (true)
        {
            if (!_isInStream)
            {
                // Streams may be padded with zeros in fours.
                if (OutputOffset > 0)
                {
                    while (!_bytes.IsAtEnd && _bytes.Position % 4 == 0 && PeekIsZero())
                    {
                        _bytes.Skip(3);
                    }

                    if (_bytes.IsAtEnd)
                    {
                        return false;
                    }
                }

                StreamHeader();
            }

            if (BlockHeader())
            {
                return true;
            }

            Index();
            _isInStream = false;
        }
    }

    private bool PeekIsZero()
    {
        long at = _bytes.Position;
        if (_bytes.U8() == 0)
        {
            return true;
        }

        _bytes.GoTo(at);
        return false;
    }

    private void StreamHeader()
    {
        Span<byte> header = stackalloc byte[12];
        _bytes.Fill(header);
        if (!header.StartsWith<byte>([0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0]) || header[6] != 0 || header[7] > 15
            || Crc32.Of(header.Slice(6, 2)) != BinaryPrimitives.ReadUInt32LittleEndian(header[8..]))
        {
            throw _bytes.Corrupt("bad stream header");
        }

        _check = header[7];
        _isInStream = true;
    }

    /// <summary>False where the index begins instead.</summary>
    private bool BlockHeader()
    {
        byte size = _bytes.U8();
        if (size == 0)
        {
            return false;
        }

        Span<byte> header = stackalloc byte[1024];
        header = header[..((size + 1) * 4)];
        header[0] = size;
        _bytes.Fill(header[1..]);
        if (Crc32.Of(header[..^4]) != BinaryPrimitives.ReadUInt32LittleEndian(header[^4..]))
        {
            throw _bytes.Corrupt("bad CRC32 of a block header");
        }

        byte flags = header[1];
        int at = 2;
        ReadOnlySpan<byte> fields = header[..^4];
        bool isSound = ((flags & 0x40) == 0 || Number(fields, ref at, out _)) & ((flags & 0x80) == 0 || Number(fields, ref at, out _));
        if ((flags & 0x3F) != 0)
        {
            throw new DiskFormatException(Fault.Unsupported, Structure, _bytes.Position, "filters before LZMA2");
        }

        if (!isSound || !Number(fields, ref at, out ulong id) || id != Lzma2Id || !Number(fields, ref at, out ulong propertyBytes) || propertyBytes != 1 || at >= fields.Length || fields[at] > 40)
        {
            throw _bytes.Corrupt("malformed block header");
        }

        int bits = fields[at];
        long dictionary = bits == 40 ? uint.MaxValue : (2L | (bits & 1)) << ((bits / 2) + 11);
        if (dictionary > MostDictionaryBytes)
        {
            throw new DiskFormatException(Fault.Limit, Structure, _bytes.Position, $"a dictionary of {dictionary} bytes");
        }

        _end = _dictionaryAt = 0;
        Room((int)dictionary);
        _isInBlock = true;
        _needsDictionary = _needsProperties = _needsState = true;
        _blockAt = _bytes.Position;
        _crc32 = 0;
        _crc64 = ulong.MaxValue;
        _isVerified = true;
        return true;
    }

    private void Room(int dictionaryBytes)
    {
        _dictionaryBytes = dictionaryBytes;
        int wanted = dictionaryBytes + MostChunkBytes + (4 * PositionBytes);
        if (_history is null || _history.Length < wanted)
        {
            _history?.Dispose();
            _history = null;
            _history = _budget.Rent(wanted);
        }
    }

    /// <summary>Bytes made; 0 at the block's end, and for a chunk that has nothing.</summary>
    private int Lzma2Chunk()
    {
        byte control = _bytes.U8();
        if (control == 0)
        {
            EndBlock();
            return 0;
        }

        if (control is 1 or >= 0xE0)
        {
            _needsDictionary = false;
            _dictionaryAt = _end;
        }
        else if (_needsDictionary || control is > 2 and < 0x80)
        {
            throw _bytes.Corrupt("malformed LZMA2 chunk");
        }

        int bytes = _bytes.U16Be() + 1 + (control >= 0x80 ? (control & 0x1F) << 16 : 0);
        int packed = control < 0x80 ? bytes : _bytes.U16Be() + 1;
        if (control >= 0xC0)
        {
            if (!_lzma.SetProperties(_bytes.U8()))
            {
                throw _bytes.Corrupt("bad LZMA properties");
            }

            _needsProperties = _needsState = false;
        }
        else if (control >= 0xA0)
        {
            _lzma.Reset();
            _needsState = false;
        }

        Slide(bytes);
        Span<byte> history = _history!.Span;
        int end = _end + bytes;
        if (control < 0x80)
        {
            _bytes.Fill(history[_end..end]);
            _needsState = true;
        }
        else
        {
            Span<byte> from = _packed.Span[..packed];
            _bytes.Fill(from);
            var coder = new RangeDecoder(from);
            int made = _end;
            if (_needsProperties || _needsState || !_lzma.Unpack(ref coder, history, _dictionaryAt, ref made, end, isPart: false) || made != end || coder.Consumed != packed)
            {
                throw _bytes.Corrupt("malformed LZMA2 chunk");
            }
        }

        ReadOnlySpan<byte> plain = history[_end..end];
        _crc32 = _check == CheckCrc32 && _isVerified ? Crc32.Append(_crc32, plain) : _crc32;
        _crc64 = _check == CheckCrc64 && _isVerified ? Crc64.Append(_crc64, plain) : _crc64;
        _end = end;
        return bytes;
    }

    /// <summary>Makes room behind the end. What lies further back than the dictionary goes.</summary>
    private void Slide(int bytes)
    {
        if (_end + bytes <= _history!.Length)
        {
            return;
        }

        int dropped = Math.Max(0, _end - _dictionaryBytes - PositionBytes);
        dropped -= dropped % PositionBytes;
        _history.Span[dropped.._end].CopyTo(_history.Span);
        _end -= dropped;
        int at = _dictionaryAt - dropped;
        _dictionaryAt = at >= 0 ? at : at & (PositionBytes - 1);
    }

    private void EndBlock()
    {
        _isInBlock = false;
        _bytes.Skip((4 - ((_bytes.Position - _blockAt) & 3)) & 3);
        int checkBytes = _check switch { 0 => 0, <= 3 => 4, <= 6 => 8, <= 9 => 16, <= 12 => 32, _ => 64 };
        Span<byte> check = stackalloc byte[64];
        check = check[..checkBytes];
        _bytes.Fill(check);
        if (_isVerified && ((_check == CheckCrc32 && BinaryPrimitives.ReadUInt32LittleEndian(check) != _crc32)
            || (_check == CheckCrc64 && BinaryPrimitives.ReadUInt64LittleEndian(check) != ~_crc64)))
        {
            throw _bytes.Corrupt("the checksum of a block differs");
        }
    }

    // Its sizes are not needed. Number of records, two numbers each, padding, CRC32; then the footer of 12 bytes.
    private void Index()
    {
        long start = _bytes.Position - 1;
        ulong records = Number();
        for (ulong i = 0; i < records; i++)
        {
            Number();
            Number();
        }

        _bytes.Skip((4 - ((_bytes.Position - start) & 3)) & 3);
        _bytes.Skip(4 + 12);
    }

    private ulong Number()
    {
        ulong value = 0;
        for (int i = 0; i < 9; i++)
        {
            byte b = _bytes.U8();
            value |= (ulong)(b & 0x7F) << (7 * i);
            if (b < 0x80)
            {
                return value;
            }
        }

        throw _bytes.Corrupt("malformed number");
    }

    private static bool Number(ReadOnlySpan<byte> from, ref int at, out ulong value)
    {
        value = 0;
        for (int i = 0; i < 9 && at < from.Length; i++)
        {
            byte b = from[at++];
            value |= (ulong)(b & 0x7F) << (7 * i);
            if (b < 0x80)
            {
                return true;
            }
        }

        return false;
    }

    private sealed record State(long OutputOffset, long InputPosition, RentedBuffer? History, BudgetReservation Reserved) : IUnpackState
    {
        public LzmaDecoder Model { get; } = new();

        public required byte Check { get; init; }

        public required bool IsInStream { get; init; }

        public required bool IsInBlock { get; init; }

        public required int DictionaryBytes { get; init; }

        public required bool NeedsDictionary { get; init; }

        public required bool NeedsProperties { get; init; }

        public required bool NeedsState { get; init; }

        public required long BlockAt { get; init; }

        public void Dispose()
        {
            History?.Dispose();
            Reserved.Dispose();
        }
    }
}
