using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace Vmsweep.Signatures.Yara.Language;

/// <summary>
/// The identities of a program's rules. A rule refers only to rules before it, so each digest is made of those before it, and a change
/// anywhere in what a rule depends on changes the rule's own.
/// </summary>
internal static class RuleIdentities
{
    /// <summary>The external variables that do not follow from the content, and the module that asks the clock.</summary>
    private static readonly string[] VolatileNames = ["filename", "filepath", "extension", "owner", "time"];

    /// <summary>Of every rule that was not left out, in the order of reports.</summary>
    public static Dictionary<RuleUnit, RuleIdentity> Of(RuleProgram program)
    {
        Dictionary<RuleUnit, RuleIdentity> all = [];
        foreach (RuleSpace space in program.Spaces)
        {
            Dictionary<RuleUnit, (UInt128 Digest, bool IsVolatile)> parts = [];
            foreach (RuleUnit unit in space.Units.Where(u => u.Fault is null))
            {
                parts.Add(unit, Part(unit, parts));
            }

            List<(UInt128 Digest, bool IsVolatile)> globals = [.. parts.Where(p => p.Key.IsGlobal).Select(p => p.Value)];
            bool isVolatile = globals.Exists(g => g.IsVolatile);
            foreach ((RuleUnit unit, (UInt128 digest, bool own)) in parts)
            {
                UInt128 id = globals.Count == 0 ? digest : Digest([digest, .. globals.Select(g => g.Digest)], "globals"u8);
                all.Add(unit, new RuleIdentity(unit.Namespace, unit.Name, id, unit.IsPrivate, own || isVolatile));
            }
        }

        return all;
    }

    private static (UInt128 Digest, bool IsVolatile) Part(RuleUnit unit, Dictionary<RuleUnit, (UInt128 Digest, bool IsVolatile)> before)
    {
        bool isVolatile = VolatileNames.Any(unit.Names.Contains);
        List<UInt128> refers = [];
        foreach (RuleUnit other in unit.RefersTo)
        {
            // What refers to a rule that was left out is left out itself when it is compiled; until then it is a rule of its own.
            (UInt128 digest, bool otherIsVolatile) = before.GetValueOrDefault(other);
            refers.Add(digest);
            isVolatile |= otherIsVolatile;
        }

        byte[] own = Encoding.UTF8.GetBytes($"{unit.Namespace}\0{string.Join(',', unit.Modules.Order(StringComparer.Ordinal))}\0");
        return (Digest(refers, [.. own, .. Normalise(unit.TextZ.AsSpan(0, unit.TextZ.Length - 1))]), isVolatile);
    }

    private static UInt128 Digest(List<UInt128> parts, ReadOnlySpan<byte> text)
    {
        byte[] bytes = new byte[(parts.Count * 16) + 4 + text.Length];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, parts.Count);
        for (int i = 0; i < parts.Count; i++)
        {
            BinaryPrimitives.WriteUInt128LittleEndian(bytes.AsSpan(4 + (i * 16)), parts[i]);
        }

        text.CopyTo(bytes.AsSpan(4 + (parts.Count * 16)));
        return BinaryPrimitives.ReadUInt128LittleEndian(SHA256.HashData(bytes));
    }

    /// <summary>
    /// The text with the white space around line ends taken as one line end: neither texts nor regular expressions go over a line's end, so
    /// that it means nothing. Comments stay, for what is a comment is libyara's to say.
    /// </summary>
    private static byte[] Normalise(ReadOnlySpan<byte> text)
    {
        byte[] normal = new byte[text.Length];
        int length = 0;
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] != '\n')
            {
                normal[length++] = text[i];
                continue;
            }

            while (length > 0 && normal[length - 1] is (byte)' ' or (byte)'\t' or (byte)'\r')
            {
                length--;
            }

            normal[length++] = (byte)'\n';
            while (i + 1 < text.Length && text[i + 1] is (byte)' ' or (byte)'\t' or (byte)'\r' or (byte)'\n')
            {
                i++;
            }
        }

        return normal[..length];
    }
}
