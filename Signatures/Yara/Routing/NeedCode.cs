using Vmsweep.Signatures.Yara.Language;

namespace Vmsweep.Signatures.Yara.Routing;

/// <summary>A <see cref="Need"/> as numbers: quick to decide, easy to store. Each node is its kind, the length of its code and its fields.</summary>
/// <param name="Code">Prefix order.</param>
internal readonly record struct NeedCode(long[] Code)
{
    public static readonly NeedCode Anything = new([(long)NeedKind.Anything, 2]);

    /// <summary>True when it may hold although no literal was found.</summary>
    public bool HoldsWithoutLiterals => MayHold(0);

    public static NeedCode Of(Need need, Func<Literal, int> number)
    {
        List<long> code = [];
        Write(need, number, code);
        return new NeedCode([.. code]);
    }

    public bool Holds(ref LiteralSearch search) => Holds(0, ref search);

    /// <summary>The tree again.</summary>
    /// <param name="wrap">Gives the string of some numbers of literals.</param>
    public Need ToNeed(Func<int[], StringLiteral> wrap) => ToNeed(0, wrap);

    private static void Write(Need need, Func<Literal, int> number, List<long> code)
    {
        int start = code.Count;
        code.Add((long)need.Kind);
        code.Add(0);
        switch (need.Kind)
        {
            case NeedKind.Literal:
                code.AddRange(need.String!.Literals.Select(l => (long)number(l)));
                break;
            case NeedKind.AtLeast:
                code.Add(need.Count);
                // What costs no search comes first.
                foreach (Need part in need.Parts.OrderBy(p => p.Strings().Any()))
                {
                    Write(part, number, code);
                }

                break;
            case NeedKind.FileSize:
                code.Add(need.From);
                code.Add(need.To);
                break;
            case NeedKind.Bytes:
                code.Add(need.From);
                code.Add(need.Value.Length);
                code.Add(need.Value.Reverse().Aggregate(0L, (v, b) => (v << 8) | b));
                break;
            default:
                break;
        }

        code[start + 1] = code.Count - start;
    }

    private bool Holds(int at, ref LiteralSearch search)
    {
        long[] code = Code;
        int end = at + (int)code[at + 1];
        ReadOnlySpan<byte> content = search.Content;
        switch ((NeedKind)code[at])
        {
            case NeedKind.Nothing:
                return false;
            case NeedKind.Literal:
                for (int i = at + 2; i < end; i++)
                {
                    if (search.MayHave((int)code[i]))
                    {
                        return true;
                    }
                }

                return false;
            case NeedKind.AtLeast:
                long left = code[at + 2];
                for (int i = at + 3; i < end && left > 0; i += (int)code[i + 1])
                {
                    left -= Holds(i, ref search) ? 1 : 0;
                }

                return left <= 0;
            case NeedKind.FileSize:
                return content.Length >= code[at + 2] && content.Length <= code[at + 3];
            case NeedKind.Bytes:
                int length = (int)code[at + 3];
                if (code[at + 2] > content.Length - length)
                {
                    return false;
                }

                ReadOnlySpan<byte> there = content.Slice((int)code[at + 2], length);
                for (int i = 0; i < length; i++)
                {
                    if (there[i] != (byte)(code[at + 4] >> (8 * i)))
                    {
                        return false;
                    }
                }

                return true;
            default:
                return true;
        }
    }

    private Need ToNeed(int at, Func<int[], StringLiteral> wrap)
    {
        long[] code = Code;
        int end = at + (int)code[at + 1];
        switch ((NeedKind)code[at])
        {
            case NeedKind.Nothing:
                return Need.Nothing;
            case NeedKind.Literal:
                return Need.Of(wrap([.. code[(at + 2)..end].Select(n => (int)n)]));
            case NeedKind.AtLeast:
                List<Need> parts = [];
                for (int i = at + 3; i < end; i += (int)code[i + 1])
                {
                    parts.Add(ToNeed(i, wrap));
                }

                return Need.AtLeast((int)code[at + 2], parts);
            case NeedKind.FileSize:
                return Need.FileSize(code[at + 2], code[at + 3]);
            case NeedKind.Bytes:
                long value = code[at + 4];
                return Need.Bytes(code[at + 2], [.. Enumerable.Range(0, (int)code[at + 3]).Select(i => (byte)(value >> (8 * i)))]);
            default:
                return Need.Anything;
        }
    }

    private bool MayHold(int at)
    {
        switch ((NeedKind)Code[at])
        {
            case NeedKind.Nothing or NeedKind.Literal:
                return false;
            case NeedKind.AtLeast:
                long left = Code[at + 2];
                int end = at + (int)Code[at + 1];
                for (int i = at + 3; i < end; i += (int)Code[i + 1])
                {
                    left -= MayHold(i) ? 1 : 0;
                }

                return left <= 0;
            default:
                return true;
        }
    }
}
