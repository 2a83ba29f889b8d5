using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Vmsweep.Signatures.Archives.Decoders;

/// <summary>xz streams, one after another. Spec: "The .xz File Format" 1.2.1. Little-endian.</summary>
internal sealed class XzStream(ReadOnlyMemory<byte> input, IMemberSink sink) : ReadOnlyStream
{
    private const int HeaderBytes = 12;
    private const ulong Delta = 3, X86 = 4, PowerPc = 5, Arm = 7, ArmThumb = 8, Sparc = 9, Arm64 = 10, Lzma2 = 0x21;

    private int _at;
    private int _check = -1;
    private Stream? _block;
    private Lzma2Stream? _packed;
    private BlockCheck? _sum;

    public static bool Fits(ReadOnlySpan<byte> content) =>
        content.Length >= HeaderBytes && content.StartsWith((ReadOnlySpan<byte>)[0xFD, 0x37, 0x7A, 0x58, 0x5A, 0])
        && BinaryPrimitives.ReadUInt32LittleEndian(content[8..]) == Crc32.Of(content.Slice(6, 2));

    public override int Read(Span<byte> buffer)
    {
        if (buffer.IsEmpty)
        {
            return 0;
        }

        while (true)
        {
            if (_block is null && !BeginBlock())
            {
                return 0;
            }

            int read = _block!.Read(buffer);
            if (read > 0)
            {
                _sum!.Append(buffer[..read]);
                return read;
            }

            EndBlock();
        }
    }

    protected override void Dispose(bool disposing)
    {
        _block?.Dispose();
        _sum?.Dispose();
        base.Dispose(disposing);
    }

    private bool BeginBlock()
    {
        while (true)
        {
            sink.Tick();
            ReadOnlySpan<byte> rest = input.Span[_at..];
            if (_check < 0)
            {
                // Between streams there may be zeros, by fours.
                while (rest.Length >= 4 && rest[..4].IndexOfAnyExcept((byte)0) < 0)
                {
                    rest = rest[4..];
                    _at += 4;
                }

                if (!Fits(rest))
                {
                    // What is no stream behind a stream is no part of it.
                    return false;
                }

                _check = rest[7] & 15;
                _at += HeaderBytes;
                continue;
            }

            if (rest.IsEmpty)
            {
                throw ArchiveException.Truncated("xz", _at);
            }

            if (rest[0] != 0)
            {
                ReadBlockHeader(rest);
                return true;
            }

            SkipIndex(rest);
            _check = -1;
        }
    }

    private void ReadBlockHeader(ReadOnlySpan<byte> rest)
    {
        int size = (rest[0] + 1) * 4;
        if (rest.Length < size)
        {
            throw ArchiveException.Truncated("xz block header", _at);
        }

        ReadOnlySpan<byte> header = rest[..(size - 4)];
        if (Crc32.Of(header) != BinaryPrimitives.ReadUInt32LittleEndian(rest[(size - 4)..]))
        {
            throw ArchiveException.Corrupt("xz block header", _at, "its checksum is wrong");
        }

        int at = 2;
        int flags = header[1];
        if ((flags & 0x3C) != 0)
        {
            throw ArchiveException.Unsupported("xz block header", _at, "unknown flags");
        }

        if ((flags & 0x40) != 0)
        {
            Number(header, ref at);
        }

        long unpacked = (flags & 0x80) != 0 ? (long)Math.Min(long.MaxValue, Number(header, ref at)) : -1;
        List<(ulong Id, byte[] Properties)> filters = [];
        for (int i = 0; i <= (flags & 3); i++)
        {
            ulong id = Number(header, ref at);
            ulong length = Number(header, ref at);
            if (length > (ulong)(header.Length - at))
            {
                throw ArchiveException.Corrupt("xz block header", _at, "a filter's properties lie outside of it");
            }

            filters.Add((id, header.Slice(at, (int)length).ToArray()));
            at += (int)length;
        }

        if (filters[^1] is not (Lzma2, { Length: 1 } properties))
        {
            throw ArchiveException.Unsupported("xz block header", _at, "a last filter that is not LZMA2");
        }

        _at += size;
        _packed = new Lzma2Stream(input[_at..], properties[0], unpacked, sink);
        _block = _packed;
        foreach ((ulong id, byte[] options) in Enumerable.Reverse(filters[..^1]))
        {
            uint start = options.Length == 4 ? BinaryPrimitives.ReadUInt32LittleEndian(options) : 0;
            _block = id switch
            {
                Delta when options.Length == 1 => new DeltaFilter(_block, options[0] + 1),
                X86 => new BranchFilter(_block, BranchKind.X86, start),
                PowerPc => new BranchFilter(_block, BranchKind.PowerPc, start),
                Arm => new BranchFilter(_block, BranchKind.Arm, start),
                ArmThumb => new BranchFilter(_block, BranchKind.ArmThumb, start),
                Sparc => new BranchFilter(_block, BranchKind.Sparc, start),
                Arm64 => new BranchFilter(_block, BranchKind.Arm64, start),
                _ => throw ArchiveException.Unsupported("xz block header", _at, $"filter {id:x}"),
            };
        }

        _sum = new BlockCheck(_check);
    }

    private void EndBlock()
    {
        int end = _at + _packed!.Consumed;
        while ((end - _at) % 4 != 0)
        {
            end++;
        }

        _at = end;
        using BlockCheck sum = _sum!;
        _block!.Dispose();
        _block = null;
        _sum = null;
        int size = BlockCheck.Size(_check);
        if (_at + size > input.Length)
        {
            _at = input.Length;
            throw ArchiveException.Truncated("xz check", _at);
        }

        if (!sum.Equals(input.Span.Slice(_at, size)))
        {
            throw ArchiveException.Corrupt("xz check", _at, "a block's checksum is wrong");
        }

        _at += size;
    }

    private void SkipIndex(ReadOnlySpan<byte> rest)
    {
        int at = 1;
        ulong records = Number(rest, ref at);
        for (ulong i = 0; i < records; i++)
        {
            Number(rest, ref at);
            Number(rest, ref at);
        }

        at = ((at + 3) & ~3) + 4;
        if (at + HeaderBytes > rest.Length)
        {
            throw ArchiveException.Truncated("xz index", _at);
        }

        if (!rest.Slice(at + 10, 2).SequenceEqual("YZ"u8))
        {
            throw ArchiveException.Corrupt("xz footer", _at + at, "magic");
        }

        _at += at + HeaderBytes;
    }

    private ulong Number(ReadOnlySpan<byte> bytes, ref int at)
    {
        ulong value = 0;
        for (int shift = 0; shift < 63; shift += 7)
        {
            if (at >= bytes.Length)
            {
                throw ArchiveException.Truncated("xz number", _at + at);
            }

            byte b = bytes[at++];
            value |= (ulong)(b & 0x7F) << shift;
            if ((b & 0x80) == 0)
            {
                return value;
            }
        }

        throw ArchiveException.Corrupt("xz number", _at + at, "it is longer than 63 bits");
    }

    /// <summary>The checksum of a block: none, CRC-32, CRC-64 or SHA-256; others are passed over.</summary>
    private sealed class BlockCheck(int kind) : IDisposable
    {
        private static readonly ulong[] Table64 = MakeTable64();

        private readonly IncrementalHash? _sha = kind == 10 ? IncrementalHash.CreateHash(HashAlgorithmName.SHA256) : null;
        private uint _crc32;
        private ulong _crc64 = ulong.MaxValue;

        public static int Size(int kind) => kind == 0 ? 0 : 4 << ((kind - 1) / 3);

        public void Append(ReadOnlySpan<byte> bytes)
        {
            switch (kind)
            {
                case 1:
                    _crc32 = Crc32.Append(_crc32, bytes);
                    break;
                case 4:
                    ulong crc = _crc64;
                    foreach (byte b in bytes)
                    {
                        crc = (crc >> 8) ^ Table64[(byte)crc ^ b];
                    }

                    _crc64 = crc;
                    break;
                case 10:
                    _sha!.AppendData(bytes);
                    break;
            }
        }

        public bool Equals(ReadOnlySpan<byte> stored) => kind switch
        {
            1 => BinaryPrimitives.ReadUInt32LittleEndian(stored) == _crc32,
            4 => BinaryPrimitives.ReadUInt64LittleEndian(stored) == ~_crc64,
            10 => stored.SequenceEqual(_sha!.GetCurrentHash()),
            _ => true,
        };

        public void Dispose() => _sha?.Dispose();

        private static ulong[] MakeTable64()
        {
            ulong[] table = new ulong[256];
            for (uint i = 0; i < 256; i++)
            {
                ulong crc = i;
                for (int bit = 0; bit < 8; bit++)
                {
                    crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xC96C_5795_D787_0F42 : crc >> 1;
                }

                table[i] = crc;
            }

            return table;
        }
    }
}
