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

/// <summary>
/// Bytes to be found in content. Where a bit of <see cref="Mask"/> is not set, that bit may be anything: half and whole wildcards of
/// hexadecimal strings, the case bit of letters. The core has no wildcards and is what is looked for first.
/// </summary>
internal sealed class Literal
{
    /// <summary>The mask of a letter in either case.</summary>
    public const byte EitherCase = 0xDF;

    private readonly int _lead;
    private readonly bool _coreIsExact;
    private int _quality = -1;

    public Literal(byte[] bytes, byte[] mask, int coreStart, int coreLength)
    {
        Bytes = bytes;
        Mask = mask;
        CoreStart = coreStart;
        CoreLength = coreLength;
        _coreIsExact = !mask.AsSpan(coreStart, coreLength).ContainsAnyExcept((byte)0xFF);
        _lead = coreStart;
        for (int i = coreStart + 1; i < coreStart + coreLength; i++)
        {
            _lead = LiteralQuality.OfByte(bytes[i]) > LiteralQuality.OfByte(bytes[_lead]) ? i : _lead;
        }
    }

    /// <summary>Zero where the mask is.</summary>
    public byte[] Bytes { get; }

    public byte[] Mask { get; }

    public int CoreStart { get; }

    public int CoreLength { get; }

    public ReadOnlySpan<byte> Core => Bytes.AsSpan(CoreStart, CoreLength);

    /// <summary>Of the core, as <see cref="LiteralQuality"/> has it. Told once: it is asked for by each rule that has the literal, for each kind of content.</summary>
    public int Quality => _quality >= 0 ? _quality : _quality = LiteralQuality.Of(Core);

    public bool IsIn(ReadOnlySpan<byte> content)
    {
        // One byte leads to the places to compare, unless the whole core can.
        int lead = _coreIsExact ? CoreStart : _lead;
        byte high = Bytes[lead];
        byte low = Mask[lead] == EitherCase ? (byte)(high | 0x20) : high;
        for (int at = 0; at < content.Length; at++)
        {
            int next = _coreIsExact ? content[at..].IndexOf(Core) : content[at..].IndexOfAny(low, high);
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
        if (at < 0 || at > content.Length - Bytes.Length)
        {
            return false;
        }

        ReadOnlySpan<byte> there = content.Slice(at, Bytes.Length);
        for (int i = 0; i < there.Length; i++)
        {
            if ((there[i] & Mask[i]) != Bytes[i])
            {
                return false;
            }
        }

        return true;
    }
}
