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

/// <summary>Bytes to be found in content.</summary>
/// <param name="IgnoresCase">ASCII letters match in either case.</param>
internal sealed record Literal(byte[] Bytes, bool IgnoresCase);
