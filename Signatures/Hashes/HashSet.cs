using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Hashes;

/// <summary>What a compiled set says of itself.</summary>
/// <param name="Digest">SHA-256 of its content.</param>
/// <param name="Created">The date of the newest list it was made of.</param>
public sealed record HashSetFacts(HashSetKind Kind, long Sha256Count, long Sha1Count, long Md5Count, string Digest, DateTimeOffset Created)
{
    public long Count => Sha256Count + Sha1Count + Md5Count;
}

/// <summary>
/// A compiled set of hashes, mapped into memory: <see cref="HashSetBuilder"/> makes it. Immutable; shared by all threads. The kernel reads
/// what is asked for, so that a set may be larger than memory.
/// </summary>
public sealed unsafe class HashSet : IDisposable
{
    /// <summary>The name of the engine that detections of it carry.</summary>
    public const string EngineName = "hash";

    private readonly MemoryMappedFile? _file;
    private readonly MemoryMappedViewAccessor? _view;
    private readonly byte* _labels;
    private readonly HashSetLayout _layout;
    private readonly MappedTable[] _tables;
    private readonly string[] _sources;

    private HashSet(FileStream stream)
    {
        _layout = HashSetFile.ReadLayout(stream);
        _file = MemoryMappedFile.CreateFromFile(stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
        byte* start = null;
        try
        {
            _view = _file.CreateViewAccessor(0, _layout.FileBytes, MemoryMappedFileAccess.Read);
            _view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
            start += _view.PointerOffset;
            byte* at = start + HashSetLayout.HeaderBytes;
            _tables = new MappedTable[_layout.Tables.Count];
            for (int i = 0; i < _tables.Length; i++)
            {
                _tables[i] = new MappedTable(_layout.Tables[i], at);
                at += _layout.Tables[i].EntriesBytes + _layout.Tables[i].FanTableBytes;
            }

            _labels = at;
            _sources = HashSetFile.ReadSources(new ReadOnlySpan<byte>(at + _layout.LabelsBytes, (int)_layout.SourcesBytes));
        }
        catch
        {
            Release(start is not null);
            throw;
        }
    }

    public HashSetFacts Facts => HashSetFile.FactsOf(_layout);

    /// <summary>True when the set holds SHA-1 hashes, so that they are worth computing.</summary>
    public bool NeedsSha1 => _tables[1].Count > 0;

    /// <summary>True when the set holds MD5 hashes, so that they are worth computing.</summary>
    public bool NeedsMd5 => _tables[2].Count > 0;

    /// <summary>True for a file that is, or once was, a compiled set, and not a list in text.</summary>
    public static bool IsCompiled(string path)
    {
        using FileStream file = File.OpenRead(path);
        Span<byte> head = stackalloc byte[HashSetLayout.LabelUnit];
        return file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false) == head.Length && HashSetLayout.HasMagic(head);
    }

    /// <summary>Maps a set. Its header and index are checked, not all of its content: see <see cref="Verify"/>.</summary>
    /// <exception cref="HashSetException">It is no set of this kind, damaged or cut short.</exception>
    public static HashSet Open(string path, HashSetKind kind)
    {
        FileStream file = File.OpenRead(path);
        try
        {
            var set = new HashSet(file);
            return set._layout.Kind == kind ? set : throw new HashSetException(HashSetFile.WrongKind(set._layout.Kind));
        }
        catch (HashSetException e)
        {
            // Closes the mapping's file too; the mapping itself goes with its handles.
            file.Dispose();
            throw new HashSetException($"{path}: {e.Message}");
        }
    }

    /// <summary>Reads the whole file and holds it to its own digest.</summary>
    /// <exception cref="HashSetException">It is no set of this kind, damaged or cut short.</exception>
    public static HashSetFacts Verify(string path, HashSetKind kind)
    {
        try
        {
            return HashSetFile.Verify(path, kind);
        }
        catch (HashSetException e)
        {
            throw new HashSetException($"{path}: {e.Message}");
        }
    }

    /// <summary>True when one of the hashes is listed; those that were not computed are empty.</summary>
    public bool Contains(ReadOnlySpan<byte> sha256, ReadOnlySpan<byte> sha1 = default, ReadOnlySpan<byte> md5 = default) =>
        _tables[0].Find(sha256) >= 0 || _tables[1].Find(sha1) >= 0 || _tables[2].Find(md5) >= 0;

    /// <summary>Looks content up by its hashes; those that were not computed are empty.</summary>
    /// <returns>The detection, or null. When several hashes are listed, SHA-256 before SHA-1 before MD5.</returns>
    /// <exception cref="HashSetException">The file was changed after it was opened.</exception>
    public Detection? TryMatch(ReadOnlySpan<byte> sha256, ReadOnlySpan<byte> sha1 = default, ReadOnlySpan<byte> md5 = default) =>
        Found(_tables[0], sha256, "sha256") ?? Found(_tables[1], sha1, "sha1") ?? Found(_tables[2], md5, "md5");

    public void Dispose() => Release(hasPointer: true);

    private void Release(bool hasPointer)
    {
        if (hasPointer)
        {
            _view?.SafeMemoryMappedViewHandle.ReleasePointer();
        }

        _view?.Dispose();
        _file?.Dispose();
    }

    private Detection? Found(MappedTable table, ReadOnlySpan<byte> hash, string kind)
    {
        long label = table.Find(hash);
        if (label < 0)
        {
            return null;
        }

        (string name, string source, Severity severity) = Label(label);
        string hex = Convert.ToHexStringLower(hash);
        return new Detection(EngineName, name.Length > 0 ? name : hex, source, [], [new(kind, new MetaValue(hex))], severity, [], 0);
    }

    private (string Name, string Source, Severity Severity) Label(long number)
    {
        long at = number * HashSetLayout.LabelUnit;
        long left = _layout.LabelsBytes - at;
        if (left < HashSetLayout.LabelHeadBytes)
        {
            throw new HashSetException("an entry of it has no name");
        }

        var head = new ReadOnlySpan<byte>(_labels + at, HashSetLayout.LabelHeadBytes);
        int source = BinaryPrimitives.ReadUInt16LittleEndian(head[2..]);
        int length = BinaryPrimitives.ReadUInt16LittleEndian(head[4..]);
        if (head[0] > (byte)Severity.Info || source >= _sources.Length || length > left - HashSetLayout.LabelHeadBytes)
        {
            throw new HashSetException("a name of it is damaged");
        }

        return (Encoding.UTF8.GetString(_labels + at + HashSetLayout.LabelHeadBytes, length), _sources[source], (Severity)head[0]);
    }
}
