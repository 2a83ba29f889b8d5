using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace Vmsweep.Signatures.Hashes;

/// <summary>Reads compiled sets as files, without mapping them.</summary>
internal static class HashSetFile
{
    public static HashSetLayout ReadLayout(FileStream file)
    {
        byte[] header = new byte[HashSetLayout.HeaderBytes];
        int got = file.ReadAtLeast(header, header.Length, throwOnEndOfStream: false);
        return HashSetLayout.Parse(header.AsSpan(0, got), file.Length);
    }

    public static HashSetFacts FactsOf(HashSetLayout layout) => new(
        layout.Kind, layout.Tables[0].Count, layout.Tables[1].Count, layout.Tables[2].Count, Convert.ToHexStringLower(layout.Digest), layout.Created);

    public static string WrongKind(HashSetKind found) => found == HashSetKind.KnownGood
        ? "it is a set of known-good hashes and not of malware"
        : "it is a set of malware and not of known-good hashes";

    /// <exception cref="HashSetException">As for <see cref="HashSet.Verify"/>, without the path.</exception>
    public static HashSetFacts Verify(string path, HashSetKind kind)
    {
        using FileStream file = File.OpenRead(path);
        HashSetLayout layout = ReadLayout(file);
        if (layout.Kind != kind)
        {
            throw new HashSetException(WrongKind(layout.Kind));
        }

        using var digest = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] part = new byte[1 << 20];
        for (int got; (got = file.Read(part)) > 0;)
        {
            digest.AppendData(part.AsSpan(0, got));
        }

        if (!digest.GetHashAndReset().AsSpan().SequenceEqual(layout.Digest))
        {
            throw new HashSetException("it is damaged: its content is not what was written");
        }

        return FactsOf(layout);
    }

    public static string[] ReadSources(ReadOnlySpan<byte> bytes)
    {
        List<string> sources = [];
        while (!bytes.IsEmpty)
        {
            int length = bytes.Length < 2 ? -1 : BinaryPrimitives.ReadUInt16LittleEndian(bytes);
            if (length < 0 || length > bytes.Length - 2)
            {
                throw new HashSetException("its list of sources is damaged");
            }

            sources.Add(Encoding.UTF8.GetString(bytes.Slice(2, length)));
            bytes = bytes[(2 + length)..];
        }

        return [.. sources];
    }
}
