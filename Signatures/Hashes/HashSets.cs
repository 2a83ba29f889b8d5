using System.Security.Cryptography;
using System.Text;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Hashes;

/// <summary>The compiled sets of one kind that a scan uses, in the order in which they were given.</summary>
public sealed class HashSets : IDisposable
{
    private const string Version = "1";

    private readonly List<HashSet> _sets = [];

    private HashSets()
    {
    }

    /// <summary>Hashes in all sets.</summary>
    public long Count => _sets.Sum(s => s.Facts.Count);

    public bool NeedsSha1 { get; private set; }

    public bool NeedsMd5 { get; private set; }

    /// <exception cref="HashSetException">One of them is no set of this kind, damaged or cut short.</exception>
    public static HashSets Open(IEnumerable<string> paths, HashSetKind kind)
    {
        var sets = new HashSets();
        try
        {
            foreach (string path in paths)
            {
                sets._sets.Add(HashSet.Open(path, kind));
            }
        }
        catch
        {
            sets.Dispose();
            throw;
        }

        sets.NeedsSha1 = sets._sets.Exists(s => s.NeedsSha1);
        sets.NeedsMd5 = sets._sets.Exists(s => s.NeedsMd5);
        return sets;
    }

    /// <summary>What a report says of sets together.</summary>
    public static EngineFacts FactsOf(IReadOnlyList<HashSetFacts> sets)
    {
        string digest = sets.Count == 1 ? sets[0].Digest : Convert.ToHexStringLower(SHA256.HashData(Encoding.ASCII.GetBytes(string.Join('\n', sets.Select(s => s.Digest)))));
        return new EngineFacts(HashSet.EngineName, Version, (int)Math.Min(sets.Sum(s => s.Count), int.MaxValue), "sha256:" + digest)
        {
            SignatureDate = sets.Count > 0 ? sets.Max(s => s.Created) : null,
        };
    }

    /// <inheritdoc cref="HashSet.Contains"/>
    public bool Contains(ReadOnlySpan<byte> sha256, ReadOnlySpan<byte> sha1 = default, ReadOnlySpan<byte> md5 = default)
    {
        foreach (HashSet set in _sets)
        {
            if (set.Contains(sha256, sha1, md5))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>The detection of the first set that lists one of the hashes.</summary>
    public Detection? TryMatch(ReadOnlySpan<byte> sha256, ReadOnlySpan<byte> sha1 = default, ReadOnlySpan<byte> md5 = default)
    {
        foreach (HashSet set in _sets)
        {
            if (set.TryMatch(sha256, sha1, md5) is { } found)
            {
                return found;
            }
        }

        return null;
    }

    public void Dispose() => _sets.ForEach(s => s.Dispose());
}
