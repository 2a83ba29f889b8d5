namespace Vmsweep.Signatures.Archives.Decoders;

/// <summary>What a stream that is only read need not say.</summary>
internal abstract class ReadOnlyStream : Stream
{
    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public abstract override int Read(Span<byte> buffer);

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override int ReadByte()
    {
        Span<byte> one = stackalloc byte[1];
        return Read(one) == 0 ? -1 : one[0];
    }

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}

/// <summary>A decoder that makes its output in a buffer of its own. What was made before a fault is given before the fault is thrown.</summary>
internal abstract class UnpackStream : ReadOnlyStream
{
    private ArchiveException? _fault;
    private bool _isDone;

    /// <summary>Where output is made.</summary>
    protected byte[] Buffer { get; set; } = [];

    /// <summary>What was made and not yet given: from here...</summary>
    protected int Start { get; set; }

    /// <summary>... to here.</summary>
    protected int End { get; set; }

    public sealed override int Read(Span<byte> buffer)
    {
        if (buffer.IsEmpty)
        {
            return 0;
        }

        while (Start == End)
        {
            if (_fault is not null)
            {
                throw _fault;
            }

            if (_isDone)
            {
                return 0;
            }

            try
            {
                _isDone = !Fill();
            }
            catch (ArchiveException e)
            {
                _fault = e;
            }
        }

        int count = Math.Min(buffer.Length, End - Start);
        Buffer.AsSpan(Start, count).CopyTo(buffer);
        Start += count;
        return count;
    }

    /// <summary>Makes more, with nothing left to give: sets <see cref="Start"/> and <see cref="End"/>, also before it throws.</summary>
    /// <returns>False when that was all.</returns>
    protected abstract bool Fill();
}

/// <summary>A stream over bytes in memory.</summary>
internal sealed class SpanStream(ReadOnlyMemory<byte> bytes) : ReadOnlyStream
{
    private int _at;

    public override bool CanSeek => true;

    public override long Length => bytes.Length;

    public override long Position
    {
        get => _at;
        set => _at = value >= 0 && value <= bytes.Length ? (int)value : throw new EndOfStreamException("a place outside of the archive");
    }

    public override int Read(Span<byte> buffer)
    {
        int count = Math.Min(buffer.Length, bytes.Length - _at);
        bytes.Span.Slice(_at, count).CopyTo(buffer);
        _at += count;
        return count;
    }

    public override long Seek(long offset, SeekOrigin origin) =>
        Position = origin switch { SeekOrigin.Begin => offset, SeekOrigin.Current => _at + offset, _ => bytes.Length + offset };
}

/// <summary>The next bytes of a stream that another goes on to read.</summary>
internal sealed class PartStream(Stream inner, long length) : ReadOnlyStream
{
    private long _given;

    public override int Read(Span<byte> buffer)
    {
        if (buffer.IsEmpty || _given == length)
        {
            return 0;
        }

        int read = inner.Read(buffer[..(int)Math.Min(buffer.Length, length - _given)]);
        if (read == 0)
        {
            throw ArchiveException.Truncated("member", _given);
        }

        _given += read;
        return read;
    }

    /// <summary>Reads what was not read, so that the next part follows.</summary>
    public void Skip(Action onStep)
    {
        byte[] waste = new byte[64 << 10];
        while (_given < length)
        {
            onStep();
            _ = Read(waste);
        }
    }
}

/// <summary>Checks size and checksum at the end of a member, when all of it was given.</summary>
/// <param name="inner">The member.</param>
/// <param name="structure">For the fault.</param>
/// <param name="size">-1: any.</param>
/// <param name="crc">Null: none.</param>
internal sealed class CheckedStream(Stream inner, string structure, long size, uint? crc) : ReadOnlyStream
{
    private long _length;
    private uint _crc;
    private bool _isChecked;

    public override int Read(Span<byte> buffer)
    {
        if (buffer.IsEmpty)
        {
            return 0;
        }

        int read = inner.Read(buffer);
        _length += read;
        if (crc is not null)
        {
            _crc = Crc32.Append(_crc, buffer[..read]);
        }

        if (read == 0 && !_isChecked)
        {
            _isChecked = true;
            if (size >= 0 && _length != size)
            {
                throw ArchiveException.Corrupt(structure, -1, $"it has {_length} bytes and not the {size} that are declared");
            }

            if (crc is { } wanted && wanted != _crc)
            {
                throw ArchiveException.Corrupt(structure, -1, "its checksum is wrong");
            }
        }

        return read;
    }

    protected override void Dispose(bool disposing)
    {
        inner.Dispose();
        base.Dispose(disposing);
    }
}
