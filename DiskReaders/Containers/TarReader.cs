using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers;

/// <summary>
/// Goes through the headers of a tar archive, and reads none of the members' bytes but names: ustar, GNU's long names and large numbers, and
/// pax records of path and size. An archive that ends badly gives what was there, and then says why it ended.
/// </summary>
public sealed class TarReader
{
    private const string Structure = "tar header";

    // Names of files on Linux end at 4096; a pax header may hold more records than the two that count.
    private const long MostRecordBytes = 256 << 10;

    // Headers of small members lie close together: one read brings several.
    private const int ReadBytes = 4096;

    private readonly IBlockSource _file;
    private readonly byte[] _buffer = new byte[ReadBytes];
    private readonly CancellationToken _cancellation;
    private long _bufferAt;
    private int _bufferLength;
    private long _at;

    /// <param name="file">The archive. Not disposed with this.</param>
    /// <param name="cancellation">Ends the walk.</param>
    public TarReader(IBlockSource file, CancellationToken cancellation = default)
    {
        _file = file;
        _cancellation = cancellation;
    }

    /// <summary>Why the walk ended before the archive's own end; null when it did not.</summary>
    public DiskFormatException? Ended { get; private set; }

    /// <summary>True when a file begins with a tar header.</summary>
    public static bool Probe(IBlockSource file)
    {
        Span<byte> block = stackalloc byte[TarHeader.Size];
        return file.TryRead(0, block) && block[0] != 0 && TarHeader.HasChecksum(block);
    }

    /// <summary>The next member; null at the end.</summary>
    public TarMember? Next()
    {
        try
        {
            return Ended is null ? Read() : null;
        }
        catch (DiskFormatException e)
        {
            Ended = e;
            return null;
        }
    }

    private TarMember? Read()
    {
        string? longName = null;
        string? paxName = null;
        long? paxSize = null;
        bool isSparse = false;
        while (true)
        {
            _cancellation.ThrowIfCancellationRequested();
            long at = _at;
            ReadOnlySpan<byte> block = Block(at);
            if (!block.ContainsAnyExcept((byte)0))
            {
                // Two blocks of zeros end an archive; one alone is what some programs leave, and is taken for the same.
                return null;
            }

            var header = new TarHeader(block, at);
            long content = at + TarHeader.Size;
            switch (header.Type)
            {
                case 'L':
                    longName = TarHeader.Text(Records(header, content));
                    break;
                case 'K':
                    Records(header, content);
                    break;
                case 'x':
                    Pax(Records(header, content), content, ref paxName, ref paxSize, ref isSparse);
                    break;
                case 'g':
                    string? name = null;
                    long? size = null;
                    Pax(Records(header, content), content, ref name, ref size, ref isSparse);
                    if (name is not null || size is not null || isSparse)
                    {
                        throw new DiskFormatException(Fault.Unsupported, "pax global header", at, "it sets name or size of all members that follow");
                    }

                    break;
                default:
                    return Member(header, content, paxName ?? longName ?? header.Name, paxSize ?? header.SizeBytes, isSparse || header.Type == 'S');
            }
        }
    }

    private TarMember Member(TarHeader header, long content, string name, long size, bool isSparse)
    {
        bool hasBytes = header.Type is not (>= '1' and <= '6');
        if (!hasBytes && size != 0)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, content - TarHeader.Size, "a link, folder or device with bytes of its own");
        }

        long stored = Math.Min(size, _file.Length - content);
        if (stored < size)
        {
            Ended = new DiskFormatException(Fault.Truncated, "tar archive", _file.Length, $"the archive ends {size - stored} bytes before its last member does");
        }
        else
        {
            Skip(content, size);
        }

        // GNU tar marks folders by a slash at the end of the name in old archives.
        TarMemberKind kind = !hasBytes || name.EndsWith('/') ? TarMemberKind.Other : isSparse ? TarMemberKind.Sparse : TarMemberKind.Regular;
        return new TarMember(name, kind, content, size, stored);
    }

    private byte[] Records(TarHeader header, long content)
    {
        if (header.SizeBytes > MostRecordBytes)
        {
            throw new DiskFormatException(Fault.Limit, Structure, content - TarHeader.Size, $"a name or record of {header.SizeBytes} bytes");
        }

        Bounds.Check(content, header.SizeBytes, _file.Length, "tar archive");
        byte[] records = new byte[header.SizeBytes];
        _file.Read(content, records);
        Skip(content, header.SizeBytes);
        return records;
    }

    /// <summary>Members are padded to whole blocks. The last may lack its padding.</summary>
    private void Skip(long content, long size)
    {
        long end = content + size;
        long padding = (TarHeader.Size - (size % TarHeader.Size)) % TarHeader.Size;
        _at = padding > _file.Length - end ? _file.Length : end + padding;
    }

    private ReadOnlySpan<byte> Block(long at)
    {
        if (at > _file.Length - TarHeader.Size)
        {
            throw new DiskFormatException(Fault.Truncated, "tar archive", at, "no end of the archive where the file ends");
        }

        if (at < _bufferAt || at + TarHeader.Size > _bufferAt + _bufferLength)
        {
            int count = (int)Math.Min(ReadBytes, _file.Length - at);
            _bufferLength = 0;
            _file.Read(at, _buffer.AsSpan(0, count));
            _bufferAt = at;
            _bufferLength = count;
        }

        return _buffer.AsSpan((int)(at - _bufferAt), TarHeader.Size);
    }

    /// <summary>pax "Extended Header": lines of <c>length keyword=value</c>, the length in decimal and of the whole line.</summary>
    private static void Pax(ReadOnlySpan<byte> records, long offset, ref string? name, ref long? size, ref bool isSparse)
    {
        while (!records.IsEmpty && records[0] != 0)
        {
            int space = records.IndexOf((byte)' ');
            if (space is < 1 or > 9
                || !int.TryParse(records[..space], NumberStyles.None, CultureInfo.InvariantCulture, out int length)
                || length <= space + 1
                || length > records.Length
                || records[length - 1] != '\n'
                || records[(space + 1)..length].IndexOf((byte)'=') is var equals && equals < 0)
            {
                throw new DiskFormatException(Fault.Corrupt, "pax record", offset, "no length, keyword and value");
            }

            ReadOnlySpan<byte> keyword = records.Slice(space + 1, equals);
            ReadOnlySpan<byte> value = records[(space + equals + 2)..(length - 1)];
            if (keyword.SequenceEqual("path"u8))
            {
                name = Encoding.UTF8.GetString(value);
            }
            else if (keyword.SequenceEqual("size"u8))
            {
                size = long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out long given)
                    ? given
                    : throw new DiskFormatException(Fault.Corrupt, "pax record", offset, "bad size");
            }
            else if (keyword.StartsWith("GNU.sparse."u8))
            {
                isSparse = true;
            }

            records = records[length..];
        }
    }
}
