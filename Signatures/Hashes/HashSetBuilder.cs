using System.Buffers;
using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Hashes;

/// <summary>
/// Makes a compiled set out of lists in text: one hash a line, or CSV, or what <c>sha256sum</c> prints, or the text forms of NIST's RDS. SHA-256,
/// SHA-1 and MD5 are told apart by their length, and of several in a line the strongest counts. <c>#</c> and <c>//</c> start comments. Memory is
/// bounded; what does not fit is sorted in files. Of equal hashes the first one stays.
/// </summary>
public sealed class HashSetBuilder : IDisposable
{
    /// <summary>What is sorted in memory unless the caller says otherwise.</summary>
    public const long DefaultMemoryBytes = 256L << 20;

    /// <summary>Told of one by one, for each list; the rest is counted.</summary>
    private const int MostFaults = 100;

    private static readonly SearchValues<byte> Blanks = SearchValues.Create(" \t\r"u8);

    private readonly HashSetKind _kind;
    private readonly DirectoryInfo _folder;
    private readonly HashSorter[] _sorters;
    private readonly LabelWriter _labels;
    private readonly List<HashFault> _faults = [];
    private DateTimeOffset _newest = DateTimeOffset.UnixEpoch;

    /// <param name="kind">What a hash of the set means.</param>
    /// <param name="temporaryFolder">For what does not fit into memory: some 40 bytes for each hash. Null for the system's own.</param>
    /// <param name="memoryBytes">What may be sorted in memory.</param>
    public HashSetBuilder(HashSetKind kind, string? temporaryFolder = null, long memoryBytes = DefaultMemoryBytes)
    {
        _kind = kind;
        _folder = temporaryFolder is null ? Directory.CreateTempSubdirectory("vmsweep-hashes-") : Directory.CreateDirectory(Path.Combine(temporaryFolder, Path.GetRandomFileName()));
        _sorters = [.. HashSetLayout.Algorithms.Select(bytes => new HashSorter(bytes, _folder.FullName, memoryBytes / HashSetLayout.Algorithms.Length))];
        _labels = new LabelWriter(Path.Combine(_folder.FullName, "labels"));
    }

    /// <summary>Lines that were left out, and lists that were refused.</summary>
    public IReadOnlyList<HashFault> Faults => _faults;

    /// <summary>Hashes that were taken so far, equal ones too.</summary>
    public long Taken => _sorters.Sum(s => s.Added);

    /// <summary>Adds a list; one that cannot be read is a fault.</summary>
    public void AddFile(string path, CancellationToken cancellation = default)
    {
        try
        {
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1);
            Add(file, path, File.GetLastWriteTimeUtc(path), cancellation);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _faults.Add(new HashFault(path, 0, e.Message));
        }
    }

    /// <summary>Adds a list.</summary>
    /// <param name="text">Its bytes; not disposed.</param>
    /// <param name="name">For faults; its last part becomes the namespace of detections.</param>
    /// <param name="date">When the list was made.</param>
    public void Add(Stream text, string name, DateTimeOffset date, CancellationToken cancellation = default)
    {
        _labels.AddSource(Path.GetFileName(name));
        _newest = date > _newest ? date : _newest;
        Parse(text, name, _kind, _faults, Take, cancellation);
    }

    /// <summary>Reads a list without making anything of it.</summary>
    /// <param name="faults">Told of lines that would be left out.</param>
    /// <returns>How many hashes it has.</returns>
    public static long Check(string path, HashSetKind kind, ICollection<HashFault> faults)
    {
        long count = 0;
        try
        {
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1);
            Parse(file, path, kind, faults, (_, _) => count++, CancellationToken.None);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            faults.Add(new HashFault(path, 0, e.Message));
        }

        return count;
    }

    private delegate void LineAction(ReadOnlySpan<byte> hash, HashLine line);

    private static void Parse(Stream text, string name, HashSetKind kind, ICollection<HashFault> faults, LineAction take, CancellationToken cancellation)
    {
        var reader = new LineReader(text);
        ReadOnlySpan<byte> head = reader.Peek();
        reader.Drop(head.StartsWith("\uFEFF"u8) ? 3 : 0);
        if (HashText.WhyNot(head) is { } reason)
        {
            faults.Add(new HashFault(name, 0, reason));
            return;
        }

        int left = 0;
        bool mayBeHeading = true;
        while (reader.Next(out ReadOnlySpan<byte> line))
        {
            if ((reader.Number & 0xFFFF) == 0)
            {
                cancellation.ThrowIfCancellationRequested();
            }

            line = Trim(line);
            if (line.IsEmpty || line[0] == '#' || line.StartsWith("//"u8))
            {
                continue;
            }

            string? fault = reader.IsTooLong ? $"a line of more than {LineReader.MostLineBytes} bytes" : Read(line, kind, take);
            if (fault is not null && !(mayBeHeading && !reader.IsTooLong && HashLine.IsHeading(line)) && ++left <= MostFaults)
            {
                faults.Add(new HashFault(name, reader.Number, fault));
            }

            mayBeHeading = false;
        }

        if (left > MostFaults)
        {
            faults.Add(new HashFault(name, 0, $"{left - MostFaults} more lines were left out"));
        }
    }

    /// <summary>Writes the set. The file appears whole or not at all; one that is there is replaced.</summary>
    public HashSetFacts Build(string path)
    {
        string part = $"{path}.{Path.GetRandomFileName()}.part";
        try
        {
            HashSetLayout layout;
            using (var file = new FileStream(part, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 20))
            {
                file.Write(new byte[HashSetLayout.HeaderBytes]);
                layout = WriteContent(file);
                file.Position = 0;
                file.Write(layout.ToBytes());
                file.Flush(flushToDisk: true);
            }

            File.Move(part, path, overwrite: true);
            return HashSetFile.FactsOf(layout);
        }
        catch
        {
            File.Delete(part);
            throw;
        }
    }

    public void Dispose()
    {
        Array.ForEach(_sorters, s => s.Dispose());
        _labels.Dispose();
        try
        {
            _folder.Delete(recursive: true);
        }
        catch (IOException)
        {
            // Its files are deleted when they are closed; an empty folder among temporary files does no harm.
        }
    }

    private static ReadOnlySpan<byte> Trim(ReadOnlySpan<byte> line)
    {
        int start = line.IndexOfAnyExcept(Blanks);
        return start < 0 ? [] : line[start..(line.LastIndexOfAnyExcept(Blanks) + 1)];
    }

    private static string? Read(ReadOnlySpan<byte> text, HashSetKind kind, LineAction take)
    {
        if (HashLine.Parse(text, out HashLine line) is { } fault)
        {
            return fault;
        }

        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        hash = hash[..(line.Hex.Length / 2)];
        if (kind == HashSetKind.KnownGood && hash.Length == MD5.HashSizeInBytes)
        {
            // Two files with one MD5 are made in seconds: a harmless one gets onto a list, the other one is sent.
            return "an MD5 cannot vouch for a file; known-good sets take SHA-256 and SHA-1";
        }

        if (Convert.FromHexString(line.Hex, hash, out _, out _) != OperationStatus.Done)
        {
            return "no hash in hexadecimal digits";
        }

        take(hash, line);
        return null;
    }

    private void Take(ReadOnlySpan<byte> hash, HashLine line)
    {
        uint label = _kind == HashSetKind.KnownGood ? 0 : _labels.NumberOf(line.Name, line.Severity ?? Severity.High);
        _sorters[Array.IndexOf(HashSetLayout.Algorithms, hash.Length)].Add(hash, label);
    }

    private HashSetLayout WriteContent(FileStream file)
    {
        using var digest = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        int labelBytes = _labels.Numbers switch
        {
            _ when _labels.Count <= 1 => 0,
            <= 1 << 8 => 1,
            <= 1 << 16 => 2,
            <= 1 << 24 => 3,
            _ => 4,
        };
        List<HashTableShape> shapes = [];
        foreach (HashSorter sorter in _sorters)
        {
            int fanBytes = HashSetLayout.FanBytesFor(sorter.Added);
            shapes.Add(WriteTable(sorter, new HashTableShape(HashSetLayout.Algorithms[shapes.Count], 0, fanBytes, labelBytes), Write));
        }

        _labels.CopyTo(Write);
        long sources = 0;
        Span<byte> length = stackalloc byte[sizeof(ushort)];
        foreach (byte[] source in _labels.Sources)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(length, (ushort)source.Length);
            Write(length);
            Write(source);
            sources += 2 + source.Length;
        }

        return new HashSetLayout(_kind, _newest, shapes, _labels.Bytes, sources) { Digest = digest.GetHashAndReset() };

        void Write(ReadOnlySpan<byte> bytes)
        {
            digest.AppendData(bytes);
            file.Write(bytes);
        }
    }

    private static HashTableShape WriteTable(HashSorter sorter, HashTableShape shape, SpanAction write)
    {
        uint[] fan = new uint[sorter.Added == 0 ? 0 : 1 << (8 * shape.FanBytes)];
        byte[] buffer = new byte[1 << 16];
        int used = 0;
        long count = sorter.Merge(record =>
        {
            int prefix = 0;
            for (int i = 0; i < shape.FanBytes; i++)
            {
                prefix = (prefix << 8) | record[i];
            }

            fan[prefix]++;
            if (used + shape.EntryBytes > buffer.Length)
            {
                write(buffer.AsSpan(0, used));
                used = 0;
            }

            // The label's number is little-endian at the end of the record: its first bytes follow the hash.
            record.Slice(shape.FanBytes, shape.EntryBytes).CopyTo(buffer.AsSpan(used));
            used += shape.EntryBytes;
        });
        if (count > uint.MaxValue)
        {
            throw new HashSetException("more hashes than a set can hold");
        }

        write(buffer.AsSpan(0, used));
        uint upTo = 0;
        foreach (ref uint value in fan.AsSpan())
        {
            upTo += value;
            value = BitConverter.IsLittleEndian ? upTo : BinaryPrimitives.ReverseEndianness(upTo);
        }

        write(System.Runtime.InteropServices.MemoryMarshal.AsBytes<uint>(fan));
        return shape with { Count = count };
    }
}
