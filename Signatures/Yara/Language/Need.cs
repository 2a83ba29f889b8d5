namespace Vmsweep.Signatures.Yara.Language;

internal enum NeedKind : byte
{
    /// <summary>Nothing is known: any content may match.</summary>
    Anything,

    /// <summary>No content can match.</summary>
    Nothing,

    /// <summary>One of some literals is in the content.</summary>
    Literal,

    /// <summary>At least so many of the parts hold.</summary>
    AtLeast,

    /// <summary><c>filesize</c> lies within bounds.</summary>
    FileSize,

    /// <summary>Bytes at a fixed offset.</summary>
    Bytes,
}

/// <summary>
/// A condition that every content which a rule matches fulfils: what the rule's condition says, with everything not understood replaced by
/// "anything". It never says no where the rule says yes; that it says no often enough is all that speed needs.
/// </summary>
internal sealed class Need
{
    public static readonly Need Anything = new() { Kind = NeedKind.Anything };
    public static readonly Need Nothing = new() { Kind = NeedKind.Nothing };

    public NeedKind Kind { get; private init; }

    /// <summary>Of <see cref="NeedKind.Literal"/>.</summary>
    public StringLiteral? String { get; private init; }

    /// <summary>Of <see cref="NeedKind.AtLeast"/>.</summary>
    public int Count { get; private init; }

    public Need[] Parts { get; private init; } = [];

    /// <summary>Lowest size, or the offset of the bytes.</summary>
    public long From { get; private init; }

    /// <summary>Highest size.</summary>
    public long To { get; private init; }

    public byte[] Value { get; private init; } = [];

    public static Need Of(StringLiteral text) => text.Literals.Count == 0 ? Anything : new() { Kind = NeedKind.Literal, String = text };

    public static Need FileSize(long from, long to) => from > to ? Nothing : new() { Kind = NeedKind.FileSize, From = from, To = to };

    public static Need Bytes(long offset, byte[] value) => new() { Kind = NeedKind.Bytes, From = offset, Value = value };

    public static Need All(params Need[] parts) => AtLeast(parts.Length, parts);

    public static Need Any(params Need[] parts) => AtLeast(1, parts);

    public static Need AtLeast(int count, IEnumerable<Need> parts)
    {
        List<Need> kept = [];
        foreach (Need part in parts)
        {
            if (part.Kind == NeedKind.Anything)
            {
                count--;
            }
            else if (part.Kind != NeedKind.Nothing)
            {
                kept.Add(part);
            }
        }

        return count <= 0 ? Anything
            : count > kept.Count ? Nothing
            : kept.Count == 1 ? kept[0]
            : new() { Kind = NeedKind.AtLeast, Count = count, Parts = [.. kept] };
    }

    /// <summary>The same with other leaves.</summary>
    public Need Replace(Func<Need, Need> leaf) => Kind == NeedKind.AtLeast ? AtLeast(Count, Parts.Select(p => p.Replace(leaf))) : leaf(this);

    /// <summary>True when it can hold although no literal is in the content.</summary>
    public bool HoldsWithoutLiterals => Replace(n => n.Kind == NeedKind.Literal ? Nothing : Anything).Kind == NeedKind.Anything;

    /// <summary>Every string it asks for.</summary>
    public IEnumerable<StringLiteral> Strings() => Kind switch
    {
        NeedKind.Literal => [String!],
        NeedKind.AtLeast => Parts.SelectMany(p => p.Strings()),
        _ => [],
    };
}

/// <summary>A string of a rule and byte sequences of which one is in any content in which the string is found.</summary>
internal sealed class StringLiteral(string id, IReadOnlyList<Literal> literals)
{
    /// <summary>With its dollar sign; <c>$</c> alone for an anonymous one.</summary>
    public string Id => id;

    /// <summary>Empty: none is known, the string may be anywhere.</summary>
    public IReadOnlyList<Literal> Literals => literals;
}

/// <summary>Bytes to be found in content; with <paramref name="ignoresCase"/> ASCII letters match in either case.</summary>
internal sealed class Literal(byte[] bytes, bool ignoresCase)
{
    public byte[] Bytes => bytes;

    public bool IgnoresCase => ignoresCase;

    public bool IsIn(ReadOnlySpan<byte> content)
    {
        if (!ignoresCase)
        {
            return content.IndexOf(bytes) >= 0;
        }

        // The rarest byte in the middle of words is as good as any; its two cases lead to the places to compare.
        int lead = Lead();
        byte low = (byte)(char.IsAsciiLetter((char)bytes[lead]) ? bytes[lead] | 0x20 : bytes[lead]);
        byte high = (byte)(char.IsAsciiLetter((char)bytes[lead]) ? bytes[lead] & ~0x20 : bytes[lead]);
        for (int at = lead; at < content.Length; at++)
        {
            int next = content[at..].IndexOfAny(low, high);
            if (next < 0)
            {
                return false;
            }

            at += next;
            if (LiesAt(content, at - lead))
            {
                return true;
            }
        }

        return false;
    }

    public bool LiesAt(ReadOnlySpan<byte> content, int at)
    {
        if (at < 0 || at > content.Length - bytes.Length)
        {
            return false;
        }

        ReadOnlySpan<byte> there = content.Slice(at, bytes.Length);
        if (!ignoresCase)
        {
            return there.SequenceEqual(bytes);
        }

        for (int i = 0; i < bytes.Length; i++)
        {
            if (Folded(there[i]) != Folded(bytes[i]))
            {
                return false;
            }
        }

        return true;
    }

    private static int Folded(byte c) => c is >= (byte)'A' and <= (byte)'Z' ? c | 0x20 : c;

    private int Lead()
    {
        int best = 0;
        for (int i = 1; i < bytes.Length; i++)
        {
            if (LiteralQuality.OfByte(bytes[i]) > LiteralQuality.OfByte(bytes[best]))
            {
                best = i;
            }
        }

        return best;
    }
}
