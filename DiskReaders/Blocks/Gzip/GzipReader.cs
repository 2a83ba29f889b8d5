using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.Blocks.Gzip;

/// <summary>
/// Unpacks a gzip file in order, chunk by chunk, and can say between chunks where it stands, to go on from there later. Spec: RFC 1952
/// (members, one behind the other), RFC 1951 (DEFLATE).
/// </summary>
/// <param name="packed">The file. Not disposed with this.</param>
/// <param name="budget">Memory.</param>
/// <param name="onFault">Told of members whose check values differ: their bytes are given all the same.</param>
internal sealed class GzipReader(IBlockSource packed, ScanBudget budget, Action<DiskFormatException> onFault) : IDisposable
{
    private const string Structure = "gzip";
    private const int ChunkBytes = 64 << 10;
    private const int LongestMatch = 258;
    private const int EndOfBlock = 256;
    private const int MostNameBytes = 64 << 10;

    // RFC 1951, section 3.2.5: base and extra bits of length codes 257 to 285 and of distance codes 0 to 29.
    private static readonly ushort[] LengthBase = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];
    private static readonly byte[] LengthExtra = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
    private static readonly ushort[] DistanceBase = [1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577];
    private static readonly byte[] DistanceExtra = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];

    // RFC 1951, section 3.2.7.
    private static readonly byte[] CodeLengthOrder = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

    private readonly BitReader _bits = new(packed, budget);
    private readonly RentedBuffer _output = budget.Rent(InflateState.WindowBytes + ChunkBytes + LongestMatch);
    private readonly HuffmanTable _literals = new(288);
    private readonly HuffmanTable _distances = new(32);
    private readonly HuffmanTable _codeLengths = new(19);
    private readonly byte[] _lengths = new byte[InflateState.LengthBytes];

    // The chunk given last ends here in the output buffer, with the window before it.
    private int _end = InflateState.WindowBytes;
    private int _history;
    private BlockKind _kind;
    private bool _isLastBlock;
    private int _storedLeft;
    private int _literalCodes;
    private int _distanceCodes;
    private bool _isVerified = true;
    private uint _crc;
    private uint _memberBytes;
    private bool _isAnyMember;
    private DiskFormatException? _fault;

    /// <summary>Unpacked bytes given so far, from the beginning of the file.</summary>
    public long OutputOffset { get; private set; }

    /// <summary>The chunk given last; empty before the first and after a jump.</summary>
    public ReadOnlySpan<byte> Chunk => _output.Span[InflateState.WindowBytes.._end];

    /// <summary>The next chunk, valid until the next call; false at the end.</summary>
    /// <exception cref="DiskFormatException">The packed data is faulty. All chunks before were good.</exception>
    public bool TryNext(out ReadOnlySpan<byte> chunk)
    {
        if (_fault is not null)
        {
            throw _fault;
        }

        Span<byte> output = _output.Span;
        output[(_end - InflateState.WindowBytes).._end].CopyTo(output);
        _end = InflateState.WindowBytes;
        try
        {
            bool isMore = true;
            while (isMore && _end < InflateState.WindowBytes + ChunkBytes)
            {
                isMore = Step();
            }
        }
        catch (DiskFormatException e)
        {
            _fault = e;
        }

        chunk = output[InflateState.WindowBytes.._end];
        OutputOffset += chunk.Length;
        if (chunk.IsEmpty && _fault is not null)
        {
            throw _fault;
        }

        return !chunk.IsEmpty;
    }

    /// <summary>Where this stands between two chunks.</summary>
    public InflateState Save(ScanBudget from)
    {
        var state = new InflateState(from)
        {
            OutputOffset = OutputOffset,
            InputBit = _bits.Position,
            Kind = _kind,
            IsLastBlock = _isLastBlock,
            StoredLeft = _storedLeft,
            LiteralCodes = _literalCodes,
            DistanceCodes = _distanceCodes,
            History = _history,
        };
        _output.Span[(_end - InflateState.WindowBytes).._end].CopyTo(state.Window);
        _lengths.CopyTo(state.Lengths);
        return state;
    }

    /// <summary>Goes on from where a reader stood. Check values of the member are not verified: its beginning was not seen.</summary>
    public void Restore(InflateState state)
    {
        _bits.GoTo(state.InputBit);
        OutputOffset = state.OutputOffset;
        _kind = state.Kind;
        _isLastBlock = state.IsLastBlock;
        _storedLeft = state.StoredLeft;
        _history = state.History;
        _isVerified = false;
        _isAnyMember = true;
        _fault = null;
        _end = InflateState.WindowBytes;
        state.Window.CopyTo(_output.Span);
        state.Lengths.CopyTo(_lengths);
        if (_kind == BlockKind.Coded)
        {
            Build(state.LiteralCodes, state.DistanceCodes);
        }
    }

    /// <summary>Begins again.</summary>
    public void Restart()
    {
        _bits.GoTo(0);
        OutputOffset = 0;
        _kind = BlockKind.Member;
        _isLastBlock = false;
        _history = 0;
        _isVerified = true;
        _isAnyMember = false;
        _fault = null;
        _end = InflateState.WindowBytes;
    }

    public void Dispose()
    {
        _bits.Dispose();
        _output.Dispose();
    }

    /// <summary>One header, trailer or piece of a block; false at the end of the file.</summary>
    private bool Step()
    {
        int before = _end;
        switch (_kind)
        {
            case BlockKind.Member:
                return TryMember();
            case BlockKind.Header:
                BlockHeader();
                return true;
            case BlockKind.Stored:
                int count = Math.Min(_storedLeft, InflateState.WindowBytes + ChunkBytes - _end);
                _bits.Copy(_output.Span.Slice(_end, count));
                _end += count;
                _storedLeft -= count;
                if (_storedLeft == 0)
                {
                    EndBlock();
                }

                break;
            default:
                try
                {
                    if (Codes())
                    {
                        EndBlock();
                    }
                }
                finally
                {
                    Count(before);
                }

                return true;
        }

        Count(before);
        return true;
    }

    private void Count(int before)
    {
        ReadOnlySpan<byte> made = _output.Span[before.._end];
        _history = Math.Min(InflateState.WindowBytes, _history + made.Length);
        if (_isVerified)
        {
            _crc = Crc32.Append(_crc, made);
            _memberBytes = unchecked(_memberBytes + (uint)made.Length);
        }
    }

    private void EndBlock() => _kind = _isLastBlock ? BlockKind.Member : BlockKind.Header;

    /// <summary>RFC 1952, section 2.3. Before it the trailer of the member that ended.</summary>
    private bool TryMember()
    {
        _bits.ToByte();
        if (_isLastBlock)
        {
            Trailer();
        }

        if (_bits.IsAtEnd)
        {
            return _isAnyMember ? false : throw _bits.Truncated();
        }

        long at = _bits.Position / 8;
        int id1 = _bits.Take(8);
        if (_isAnyMember && id1 == 0)
        {
            // Tapes and some programs fill up with zeros.
            while (!_bits.IsAtEnd)
            {
                if (_bits.Take(8) != 0)
                {
                    throw new DiskFormatException(Fault.Corrupt, Structure, at, "bytes of something else behind the last member");
                }
            }

            return false;
        }

        if (id1 != 0x1F || _bits.Take(8) != 0x8B || _bits.Take(8) != 8)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, at, _isAnyMember ? "bytes of something else behind the last member" : "bad ID1, ID2 or CM");
        }

        int flags = _bits.Take(8);
        if ((flags & 0xE0) != 0)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, at + 3, "reserved FLG bits are set");
        }

        Skip(6);
        if ((flags & 4) != 0)
        {
            Skip(_bits.Take(16));
        }

        // FNAME, then FCOMMENT.
        for (int i = 0; i < ((flags >> 3) & 1) + ((flags >> 4) & 1); i++)
        {
            int length = 0;
            while (_bits.Take(8) != 0)
            {
                if (++length > MostNameBytes)
                {
                    throw new DiskFormatException(Fault.Limit, Structure, at, "a name of more than 64 KiB");
                }
            }
        }

        Skip((flags & 2) != 0 ? 2 : 0);
        _kind = BlockKind.Header;
        _history = 0;
        _isVerified |= _isAnyMember;
        _isAnyMember = true;
        _crc = 0;
        _memberBytes = 0;
        return true;
    }

    private void Skip(int bytes)
    {
        for (int i = 0; i < bytes; i++)
        {
            _bits.Take(8);
        }
    }

    private void Trailer()
    {
        _isLastBlock = false;
        long at = _bits.Position / 8;
        Span<byte> trailer = stackalloc byte[8];
        _bits.Copy(trailer);
        if (_isVerified && BinaryPrimitives.ReadUInt32LittleEndian(trailer) != _crc)
        {
            onFault(new DiskFormatException(Fault.Corrupt, Structure, at, "bad CRC32"));
        }
        else if (_isVerified && BinaryPrimitives.ReadUInt32LittleEndian(trailer[4..]) != _memberBytes)
        {
            onFault(new DiskFormatException(Fault.Corrupt, Structure, at + 4, "bad ISIZE"));
        }
    }

    private void BlockHeader()
    {
        long at = _bits.Position / 8;
        _isLastBlock = _bits.Take(1) != 0;
        switch (_bits.Take(2))
        {
            case 0:
                _bits.ToByte();
                Span<byte> sizes = stackalloc byte[4];
                _bits.Copy(sizes);
                _storedLeft = BinaryPrimitives.ReadUInt16LittleEndian(sizes);
                if (_storedLeft != (BinaryPrimitives.ReadUInt16LittleEndian(sizes[2..]) ^ 0xFFFF))
                {
                    throw new DiskFormatException(Fault.Corrupt, Structure, at, "bad NLEN");
                }

                _kind = BlockKind.Stored;
                break;
            case 1:
                _lengths.AsSpan(0, 144).Fill(8);
                _lengths.AsSpan(144, 112).Fill(9);
                _lengths.AsSpan(256, 24).Fill(7);
                _lengths.AsSpan(280, 8).Fill(8);
                _lengths.AsSpan(288, 32).Fill(5);
                Build(288, 32);
                _kind = BlockKind.Coded;
                break;
            case 2:
                DynamicCodes(at);
                _kind = BlockKind.Coded;
                break;
            default:
                throw new DiskFormatException(Fault.Corrupt, Structure, at, "bad BTYPE");
        }
    }

    private void DynamicCodes(long at)
    {
        int literals = _bits.Take(5) + 257;
        int distances = _bits.Take(5) + 1;
        int codes = _bits.Take(4) + 4;
        Span<byte> lengths = stackalloc byte[19];
        lengths.Clear();
        for (int i = 0; i < codes; i++)
        {
            lengths[CodeLengthOrder[i]] = (byte)_bits.Take(3);
        }

        if (literals > 286 || distances > 30 || !_codeLengths.TryBuild(lengths))
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, at, "bad HLIT, HDIST or code lengths");
        }

        for (int i = 0; i < literals + distances;)
        {
            _bits.Fill();
            int symbol = Symbol(_codeLengths);
            if (symbol < 16)
            {
                _lengths[i++] = (byte)symbol;
                continue;
            }

            int repeat = symbol switch
            {
                16 => 3 + _bits.Take(2),
                17 => 3 + _bits.Take(3),
                _ => 11 + _bits.Take(7),
            };
            if ((symbol == 16 && i == 0) || repeat > literals + distances - i)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, at, "a repeated code length where none can be");
            }

            _lengths.AsSpan(i, repeat).Fill(symbol == 16 ? _lengths[i - 1] : (byte)0);
            i += repeat;
        }

        Build(literals, distances);
    }

    private void Build(int literals, int distances)
    {
        _literalCodes = literals;
        _distanceCodes = distances;
        if (_lengths[EndOfBlock] == 0 || !_literals.TryBuild(_lengths.AsSpan(0, literals)) || !_distances.TryBuild(_lengths.AsSpan(literals, distances)))
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, _bits.Position / 8, "code lengths that make no code");
        }
    }

    private int Symbol(HuffmanTable table)
    {
        int symbol = table.Decode(_bits.Bits, out int length);
        if (length > _bits.Count)
        {
            throw _bits.Truncated();
        }

        if (symbol < 0)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, _bits.Position / 8, "bits that are no code");
        }

        _bits.Drop(length);
        return symbol;
    }

    /// <summary>Unpacks until the chunk is full, or the block ends: true then.</summary>
    private bool Codes()
    {
        Span<byte> output = _output.Span;
        int start = _end;
        while (_end < InflateState.WindowBytes + ChunkBytes)
        {
            // 56 bits are enough for all of one symbol: 15 + 5 + 15 + 13.
            _bits.Fill();
            int symbol = Symbol(_literals);
            if (symbol < EndOfBlock)
            {
                output[_end++] = (byte)symbol;
                continue;
            }

            if (symbol == EndOfBlock)
            {
                return true;
            }

            symbol -= EndOfBlock + 1;
            if (symbol >= LengthBase.Length)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, _bits.Position / 8, "bad length code");
            }

            int length = LengthBase[symbol] + _bits.Take(LengthExtra[symbol]);
            int code = Symbol(_distances);
            if (code >= DistanceBase.Length)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, _bits.Position / 8, "bad distance code");
            }

            int distance = DistanceBase[code] + _bits.Take(DistanceExtra[code]);
            if (distance > _history + (_end - start))
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, _bits.Position / 8, "a distance beyond the beginning");
            }

            Repeat(output, distance, length);
        }

        return false;
    }

    /// <summary>RFC 1951, section 2: the match may reach into what it makes itself.</summary>
    private void Repeat(Span<byte> output, int distance, int length)
    {
        int from = _end - distance;
        if (distance >= length)
        {
            output.Slice(from, length).CopyTo(output[_end..]);
        }
        else if (distance == 1)
        {
            output.Slice(_end, length).Fill(output[from]);
        }
        else
        {
            for (int i = 0; i < length; i++)
            {
                output[_end + i] = output[from + i];
            }
        }

        _end += length;
    }
}
