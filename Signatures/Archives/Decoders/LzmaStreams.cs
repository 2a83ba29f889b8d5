using System.Buffers.Binary;

namespace Vmsweep.Signatures.Archives.Decoders;

/// <summary>One LZMA stream without a header, as in 7z, ZIP, lzip and .lzma.</summary>
internal sealed class LzmaStream : UnpackStream
{
    public const int PropertyBytes = 5;

    private const int SmallestDictionary = 4096;
    private const int BatchBytes = 1 << 20;

    private readonly ReadOnlyMemory<byte> _input;
    private readonly LzmaDecoder _decoder;
    private readonly IDisposable _memory;
    private readonly bool _mustEnd;
    private long _left;
    private int _at;

    /// <param name="input">The stream; may go on behind it.</param>
    /// <param name="properties">Five bytes: lc, lp, pb, then the dictionary's size.</param>
    /// <param name="size">Bytes it unpacks to; -1 when only an end marker says.</param>
    /// <param name="sink">Gives memory.</param>
    public LzmaStream(ReadOnlyMemory<byte> input, ReadOnlySpan<byte> properties, long size, IMemberSink sink)
    {
        if (properties.Length < PropertyBytes)
        {
            throw ArchiveException.Corrupt("lzma", -1, "properties are missing");
        }

        _input = input;
        _left = size < 0 ? long.MaxValue : size;
        _mustEnd = size < 0;

        // No match reaches back further than what is made, so that no more is held than that.
        int bytes = DictionaryBytes(BinaryPrimitives.ReadUInt32LittleEndian(properties[1..]), _left);
        _memory = sink.Reserve(bytes, "lzma");
        Buffer = new byte[bytes];
        _decoder = new LzmaDecoder(Buffer);
        _decoder.SetProperties(properties[0]);
        _decoder.ResetState();
        _decoder.BeginRange(input.Span, ref _at);
    }

    /// <summary>Bytes of the input that belong to the stream, when it was read to its end.</summary>
    public int Consumed => _at;

    internal static int DictionaryBytes(uint declared, long size) =>
        (int)Math.Min(Array.MaxLength, Math.Min(Math.Max(declared, SmallestDictionary), Math.Max(size, SmallestDictionary)));

    protected override bool Fill()
    {
        if (_decoder.Position == Buffer.Length)
        {
            _decoder.Position = 0;
        }

        Start = End = _decoder.Position;
        if (_left == 0 || _decoder.IsEnded)
        {
            return false;
        }

        int stop = Start + (int)Math.Min(Math.Min(BatchBytes, Buffer.Length - Start), _left);
        try
        {
            _decoder.Decode(_input.Span, ref _at, stop);
        }
        finally
        {
            End = _decoder.Position;
            _left -= End - Start;
        }

        if (_decoder.IsEnded && !_mustEnd && _left > 0)
        {
            throw ArchiveException.Corrupt("lzma", _at, "it ends before its declared size");
        }

        return true;
    }

    protected override void Dispose(bool disposing)
    {
        _memory.Dispose();
        base.Dispose(disposing);
    }
}

/// <summary>LZMA2: chunks of LZMA or plain bytes that share a dictionary.</summary>
internal sealed class Lzma2Stream : UnpackStream
{
    private readonly ReadOnlyMemory<byte> _input;
    private readonly LzmaDecoder _decoder;
    private readonly IDisposable _memory;
    private int _at;
    private int _chunkLeft;
    private int _chunkEnd;
    private bool _isPlain;
    private bool _needsDictionary = true;
    private bool _needsProperties = true;
    private bool _needsState = true;

    /// <param name="input">The stream; may go on behind it.</param>
    /// <param name="property">Its one byte: the dictionary's size.</param>
    /// <param name="size">Bytes it unpacks to at most; -1 when not known.</param>
    /// <param name="sink">Gives memory.</param>
    public Lzma2Stream(ReadOnlyMemory<byte> input, byte property, long size, IMemberSink sink)
    {
        if (property > 40)
        {
            throw ArchiveException.Corrupt("lzma2", -1, "a dictionary's size that is none");
        }

        _input = input;
        uint declared = property == 40 ? uint.MaxValue : (uint)(2 | (property & 1)) << ((property / 2) + 11);

        // A chunk makes 2 MiB of 6 packed bytes at best: no need for more dictionary than all of the input can make.
        long most = size >= 0 ? size : (input.Length / 6L * (2L << 20)) + (2 << 20);
        int bytes = LzmaStream.DictionaryBytes(declared, most);
        _memory = sink.Reserve(bytes, "lzma2");
        Buffer = new byte[bytes];
        _decoder = new LzmaDecoder(Buffer);
    }

    /// <summary>Bytes of the input that belong to the stream, when it was read to its end.</summary>
    public int Consumed => _at;

    protected override bool Fill()
    {
        if (_decoder.Position == Buffer.Length)
        {
            _decoder.Position = 0;
        }

        Start = End = _decoder.Position;
        if (_chunkLeft == 0 && !BeginChunk())
        {
            return false;
        }

        int stop = Start + Math.Min(Buffer.Length - Start, _chunkLeft);
        try
        {
            if (_isPlain)
            {
                CopyPlain(stop - Start);
            }
            else
            {
                _decoder.Decode(_input.Span[.._chunkEnd], ref _at, stop);
            }
        }
        finally
        {
            End = _decoder.Position;
            _chunkLeft -= End - Start;
        }

        if (_decoder.IsEnded)
        {
            throw ArchiveException.Corrupt("lzma2", _at, "an end marker inside of a chunk");
        }

        if (_chunkLeft == 0 && !_isPlain && (_at != _chunkEnd || !_decoder.IsFinished || _decoder.HasPending))
        {
            throw ArchiveException.Corrupt("lzma2", _at, "a chunk has another size than it declares");
        }

        return true;
    }

    protected override void Dispose(bool disposing)
    {
        _memory.Dispose();
        base.Dispose(disposing);
    }

    private bool BeginChunk()
    {
        int control = Next();
        if (control == 0)
        {
            return false;
        }

        if (control == 1 || control >= 0xE0)
        {
            _needsDictionary = false;
            _needsProperties |= control == 1;
            _decoder.Filled = 0;
            _decoder.Made = 0;
        }
        else if (_needsDictionary)
        {
            throw ArchiveException.Corrupt("lzma2", _at, "the first chunk does not reset the dictionary");
        }

        if (control < 0x80)
        {
            if (control > 2)
            {
                throw ArchiveException.Corrupt("lzma2", _at, "a chunk of an unknown kind");
            }

            _isPlain = true;
            _chunkLeft = ((Next() << 8) | Next()) + 1;
            return true;
        }

        _isPlain = false;
        _chunkLeft = (((control & 0x1F) << 16) | (Next() << 8) | Next()) + 1;
        int packed = ((Next() << 8) | Next()) + 1;
        if (control >= 0xC0)
        {
            int properties = Next();
            if ((properties % 9) + (properties / 9 % 5) > 4)
            {
                throw ArchiveException.Corrupt("lzma2", _at, "properties out of range");
            }

            _decoder.SetProperties((byte)properties);
            _needsProperties = false;
        }
        else if (_needsProperties)
        {
            throw ArchiveException.Corrupt("lzma2", _at, "a chunk without properties");
        }

        if (control >= 0xA0)
        {
            _decoder.ResetState();
            _needsState = false;
        }
        else if (_needsState)
        {
            throw ArchiveException.Corrupt("lzma2", _at, "a chunk without a state");
        }

        if (packed > _input.Length - _at)
        {
            // What is there is unpacked; the decoder meets the end.
            packed = _input.Length - _at;
        }

        _chunkEnd = _at + packed;
        _decoder.BeginRange(_input.Span[.._chunkEnd], ref _at);
        return true;
    }

    private void CopyPlain(int count)
    {
        int there = Math.Min(count, _input.Length - _at);
        _input.Span.Slice(_at, there).CopyTo(Buffer.AsSpan(_decoder.Position));
        _at += there;
        _decoder.Position += there;
        _decoder.Filled = Math.Min(Buffer.Length, _decoder.Filled + there);
        _decoder.Made += (uint)there;
        if (there < count)
        {
            throw ArchiveException.Truncated("lzma2", _at);
        }
    }

    private int Next() => _at < _input.Length ? _input.Span[_at++] : throw ArchiveException.Truncated("lzma2", _at);
}
