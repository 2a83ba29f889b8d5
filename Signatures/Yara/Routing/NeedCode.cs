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

    public bool Holds(ReadOnlySpan<byte> content, PrefilterMarks marks) => Holds(0, content, marks);

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
                foreach (Need part in need.Parts)
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

    private bool Holds(int at, ReadOnlySpan<byte> content, PrefilterMarks marks)
    {
        long[] code = Code;
        int end = at + (int)code[at + 1];
        switch ((NeedKind)code[at])
        {
            case NeedKind.Nothing:
                return false;
            case NeedKind.Literal:
                for (int i = at + 2; i < end; i++)
                {
                    if (marks.Has((int)code[i]))
                    {
                        return true;
                    }
                }

                return false;
            case NeedKind.AtLeast:
                long left = code[at + 2];
                for (int i = at + 3; i < end && left > 0; i += (int)code[i + 1])
                {
                    left -= Holds(i, content, marks) ? 1 : 0;
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
