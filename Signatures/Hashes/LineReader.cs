namespace Vmsweep.Signatures.Hashes;

/// <summary>Lines of a stream of any length, in bounded memory. A line that is too long is given cut off.</summary>
internal sealed class LineReader(Stream stream)
{
    /// <summary>No list has longer lines; what has is no list.</summary>
    public const int MostLineBytes = 64 << 10;

    private readonly byte[] _buffer = new byte[1 << 20];
    private int _start;
    private int _end;
    private bool _isAtEnd;

    /// <summary>From 1.</summary>
    public int Number { get; private set; }

    /// <summary>The line of the last call was cut off.</summary>
    public bool IsTooLong { get; private set; }

    /// <summary>The next line without its end; valid until the next call.</summary>
    public bool Next(out ReadOnlySpan<byte> line)
    {
        line = default;
        if (!Find(out int length))
        {
            return false;
        }

        Number = Number == int.MaxValue ? Number : Number + 1;
        IsTooLong = length > MostLineBytes;
        line = _buffer.AsSpan(_start, Math.Min(length, MostLineBytes));
        int next = _start + length;
        if (!IsTooLong)
        {
            _start = Math.Min(next + 1, _end);
            return true;
        }

        // What is given lies at the front of the buffer, and skipping reads behind it.
        line.CopyTo(_buffer);
        line = _buffer.AsSpan(0, MostLineBytes);
        Skip(next);
        return true;
    }

    /// <summary>The bytes at the beginning, without taking them.</summary>
    public ReadOnlySpan<byte> Peek()
    {
        Fill();
        return _buffer.AsSpan(_start, _end - _start);
    }

    public void Drop(int bytes) => _start += bytes;

    /// <summary>How long the next line is, or that it is longer than is given.</summary>
    private bool Find(out int length)
    {
        int at = _buffer.AsSpan(_start, _end - _start).IndexOf((byte)'\n');
        if (at < 0 && !_isAtEnd && _end - _start <= MostLineBytes)
        {
            Fill();
            at = _buffer.AsSpan(_start, _end - _start).IndexOf((byte)'\n');
        }

        length = at >= 0 ? at : _end - _start;
        return at >= 0 || length > 0;
    }

    private void Fill()
    {
        _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
        _end -= _start;
        _start = 0;
        while (_end < _buffer.Length && !_isAtEnd)
        {
            int got = stream.Read(_buffer, _end, _buffer.Length - _end);
            _isAtEnd = got == 0;
            _end += got;
        }
    }

    /// <summary>Goes behind the end of the line that is longer than the buffer may give.</summary>
    private void Skip(int from)
    {
        _start = from;
        while (true)
        {
            int at = _buffer.AsSpan(_start, _end - _start).IndexOf((byte)'\n');
            if (at >= 0)
            {
                _start += at + 1;
                return;
            }

            _start = _end = MostLineBytes;
            if (_isAtEnd)
            {
                return;
            }

            int got = stream.Read(_buffer, _end, _buffer.Length - _end);
            _isAtEnd = got == 0;
            _end += got;
        }
    }
}
