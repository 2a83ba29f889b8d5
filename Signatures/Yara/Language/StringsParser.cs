using System.Globalization;
using System.Text;

namespace Vmsweep.Signatures.Yara.Language;

/// <summary>
/// Reads a rule's <c>strings</c> section for bytes that must be in content where the string matches. What is not understood gives a string
/// without literals, never a wrong one.
/// </summary>
internal static class StringsParser
{
    /// <summary>More bytes behind the start of the core tell no more.</summary>
    private const int MostBytes = 48;

    /// <summary>Bytes kept before the core.</summary>
    private const int MostBefore = 16;

    public static IReadOnlyList<StringLiteral> Read(ReadOnlySpan<byte> text, List<Token> tokens, int from, int to)
    {
        List<StringLiteral> strings = [];
        for (int i = from; i + 2 < to;)
        {
            if (tokens[i].Kind != TokenKind.StringId || !RuleLexer.Is(text, tokens[i + 1], "="u8))
            {
                i++;
                continue;
            }

            string id = Encoding.UTF8.GetString(text[tokens[i].Start..tokens[i].End]);
            Token value = tokens[i + 2];
            i += 3;
            Modifiers modifiers = default;
            while (i < to && tokens[i].Kind != TokenKind.StringId)
            {
                ReadOnlySpan<byte> name = text[tokens[i].Start..tokens[i].End];
                modifiers.Wide |= name.SequenceEqual("wide"u8);
                modifiers.Ascii |= name.SequenceEqual("ascii"u8);
                modifiers.NoCase |= name.SequenceEqual("nocase"u8);
                modifiers.Coded |= name.SequenceEqual("xor"u8) || name.SequenceEqual("base64"u8) || name.SequenceEqual("base64wide"u8);
                i++;
            }

            strings.Add(new StringLiteral(id, modifiers.Coded ? [] : Literals(text[value.Start..value.End], value.Kind, modifiers)));
        }

        return strings;
    }

    private static List<Literal> Literals(ReadOnlySpan<byte> source, TokenKind kind, Modifiers modifiers)
    {
        List<Run>? runs = kind switch
        {
            TokenKind.Text => TextRuns(source),
            TokenKind.Hex => HexRuns(source),
            TokenKind.Regex => RegexRuns(source, ref modifiers),
            _ => null,
        };
        if (runs is not null && modifiers.NoCase)
        {
            runs = runs.ConvertAll(InEitherCase);
        }

        List<Literal> literals = [];
        if (runs is null || (modifiers.Ascii || !modifiers.Wide) && !AddBest(literals, runs))
        {
            return [];
        }

        return !modifiers.Wide || AddBest(literals, runs.ConvertAll(Widened)) ? literals : [];
    }

    /// <summary>Every run must be in the content; the most telling part of them is looked for.</summary>
    private static bool AddBest(List<Literal> literals, List<Run> runs)
    {
        Literal? best = null;
        int bestQuality = 0;
        foreach (Run run in runs)
        {
            for (int start = 0; start < run.Bytes.Length;)
            {
                int end = start;
                while (end < run.Bytes.Length && end < start + MostBytes && IsFixed(run, end))
                {
                    end++;
                }

                int quality = LiteralQuality.Of(run.Bytes.AsSpan(start, end - start));
                if (quality > bestQuality)
                {
                    int from = Math.Max(0, start - MostBefore);
                    int to = Math.Min(run.Bytes.Length, start + MostBytes);
                    best = new Literal(run.Bytes[from..to], run.Mask[from..to], start - from, end - start);
                    bestQuality = quality;
                }

                start = Math.Max(end, start + 1);
            }
        }

        if (best is not null)
        {
            literals.Add(best);
        }

        return best is not null;
    }

    private static bool IsFixed(Run run, int at) => run.Mask[at] is 0xFF or Literal.EitherCase;

    private static Run Widened(Run run)
    {
        var wide = new Run(new byte[run.Bytes.Length * 2], new byte[run.Bytes.Length * 2]);
        Array.Fill(wide.Mask, (byte)0xFF);
        for (int i = 0; i < run.Bytes.Length; i++)
        {
            wide.Bytes[2 * i] = run.Bytes[i];
            wide.Mask[2 * i] = run.Mask[i];
        }

        return wide;
    }

    private static Run InEitherCase(Run run)
    {
        byte[] mask = [.. run.Bytes.Zip(run.Mask, (b, m) => char.IsAsciiLetter((char)b) ? Literal.EitherCase : m)];
        return new Run([.. run.Bytes.Zip(mask, (b, m) => (byte)(b & m))], mask);
    }

    private static List<Run>? TextRuns(ReadOnlySpan<byte> source)
    {
        if (source.Length < 2 || source[^1] != '"')
        {
            return null;
        }

        List<byte> run = [];
        for (int i = 1; i < source.Length - 1; i++)
        {
            if (source[i] != '\\')
            {
                run.Add(source[i]);
                continue;
            }

            byte next = ++i < source.Length - 1 ? source[i] : (byte)0;
            if (next == 'x' && TryHex(source, i + 1, out byte value))
            {
                run.Add(value);
                i += 2;
            }
            else if ("tnr\"\\"u8.IndexOf(next) is var which && which >= 0)
            {
                run.Add("\t\n\r\"\\"u8[which]);
            }
            else
            {
                return null;
            }
        }

        return [Run.Of(run)];
    }

    private static List<Run>? HexRuns(ReadOnlySpan<byte> source)
    {
        List<Run> runs = [];
        List<byte> run = [];
        List<byte> mask = [];
        for (int i = 1; i < source.Length - 1; i++)
        {
            byte c = source[i];
            if (c is (byte)' ' or (byte)'\t' or (byte)'\r' or (byte)'\n')
            {
                continue;
            }

            if (c == '/' && source[i + 1] is (byte)'/' or (byte)'*')
            {
                int length = source[i + 1] == '/' ? source[i..].IndexOf((byte)'\n') : source[i..].IndexOf("*/"u8) + 1;
                if (length <= 0)
                {
                    return null;
                }

                i += length;
            }
            else if (TryHex(source, i, out byte value))
            {
                run.Add(value);
                mask.Add(0xFF);
                i++;
            }
            else if (c == '?' || char.IsAsciiHexDigit((char)c))
            {
                // A byte of which a half or all is free.
                byte low = source[++i];
                if ((low != '?' && !char.IsAsciiHexDigit((char)low)) || (c != '?' && low != '?'))
                {
                    return null;
                }

                run.Add((byte)((c == '?' ? 0 : Convert.ToInt32(((char)c).ToString(), 16) << 4) | (low == '?' ? 0 : Convert.ToInt32(((char)low).ToString(), 16))));
                mask.Add((byte)((c == '?' ? 0 : 0xF0) | (low == '?' ? 0 : 0x0F)));
            }
            else
            {
                BreakMasked(runs, run, mask);
                if (c == '(')
                {
                    for (int depth = 1; depth > 0;)
                    {
                        if (++i >= source.Length - 1 || source[i] == '/')
                        {
                            return null;
                        }

                        depth += source[i] == '(' ? 1 : source[i] == ')' ? -1 : 0;
                    }
                }
                else if (c == '[')
                {
                    int length = source[i..].IndexOf((byte)']');
                    if (length < 0)
                    {
                        return null;
                    }

                    i += length;
                }
                else
                {
                    return null;
                }
            }
        }

        BreakMasked(runs, run, mask);
        return runs;
    }

    /// <summary>Runs of plain characters outside of groups, classes and what a quantifier makes optional.</summary>
    private static List<Run>? RegexRuns(ReadOnlySpan<byte> source, ref Modifiers modifiers)
    {
        int end = source.LastIndexOf((byte)'/');
        if (end <= 0)
        {
            return null;
        }

        modifiers.NoCase |= source[end..].Contains((byte)'i');
        List<Run> runs = [];
        List<byte> run = [];
        for (int i = 1; i < end; i++)
        {
            byte c = source[i];
            switch (c)
            {
                case (byte)'|':
                case (byte)')':
                    return null;
                case (byte)'(':
                    i = GroupEnd(source, i, end);
                    if (i < 0)
                    {
                        return null;
                    }

                    Break(runs, run);
                    break;
                case (byte)'[':
                    i = ClassEnd(source, i, end);
                    if (i < 0)
                    {
                        return null;
                    }

                    Break(runs, run);
                    break;
                case (byte)'*':
                case (byte)'?':
                case (byte)'{':
                    if (run.Count > 0)
                    {
                        run.RemoveAt(run.Count - 1);
                    }

                    Break(runs, run);
                    if (c == '{')
                    {
                        int close = i + 1;
                        while (close < end && (char.IsAsciiDigit((char)source[close]) || source[close] == ','))
                        {
                            close++;
                        }

                        i = source[close] == '}' ? close : i;
                    }

                    break;
                case (byte)'+':
                case (byte)'.':
                case (byte)'^':
                case (byte)'$':
                    Break(runs, run);
                    break;
                case (byte)'\\':
                    byte next = source[++i];
                    if (next == 'x' && TryHex(source, i + 1, out byte value))
                    {
                        run.Add(value);
                        i += 2;
                    }
                    else if ("tnrfa"u8.IndexOf(next) is var which && which >= 0)
                    {
                        run.Add("\t\n\r\f\a"u8[which]);
                    }
                    else if ("wWsSdDbB"u8.Contains(next))
                    {
                        Break(runs, run);
                    }
                    else if (i < end && !char.IsAsciiLetterOrDigit((char)next))
                    {
                        run.Add(next);
                    }
                    else
                    {
                        return null;
                    }

                    break;
                default:
                    run.Add(c);
                    break;
            }
        }

        Break(runs, run);
        return runs;
    }

    private static int GroupEnd(ReadOnlySpan<byte> source, int at, int end)
    {
        int depth = 0;
        for (int i = at; i < end; i++)
        {
            switch (source[i])
            {
                case (byte)'\\':
                    i++;
                    break;
                case (byte)'[':
                    i = ClassEnd(source, i, end);
                    if (i < 0)
                    {
                        return -1;
                    }

                    break;
                case (byte)'(':
                    depth++;
                    break;
                case (byte)')' when --depth == 0:
                    return i;
                default:
                    break;
            }
        }

        return -1;
    }

    private static int ClassEnd(ReadOnlySpan<byte> source, int at, int end)
    {
        int i = at + 1;
        i += i < end && source[i] == '^' ? 1 : 0;
        if (i < end && source[i] == ']')
        {
            // Whether this bracket closes the class is not the same in every version.
            return -1;
        }

        for (; i < end; i++)
        {
            if (source[i] == '\\')
            {
                i++;
            }
            else if (source[i] == ']')
            {
                return i;
            }
        }

        return -1;
    }

    private static void Break(List<Run> runs, List<byte> run)
    {
        if (run.Count > 0)
        {
            runs.Add(Run.Of(run));
            run.Clear();
        }
    }

    private static void BreakMasked(List<Run> runs, List<byte> run, List<byte> mask)
    {
        if (run.Count > 0)
        {
            runs.Add(new Run([.. run], [.. mask]));
            run.Clear();
            mask.Clear();
        }
    }

    private static bool TryHex(ReadOnlySpan<byte> source, int at, out byte value)
    {
        value = 0;
        return at + 1 < source.Length && byte.TryParse(source.Slice(at, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
    }

    /// <summary>Bytes that follow one another wherever the string matches, and which of their bits are known.</summary>
    private readonly record struct Run(byte[] Bytes, byte[] Mask)
    {
        public static Run Of(List<byte> bytes) => new([.. bytes], [.. Enumerable.Repeat((byte)0xFF, bytes.Count)]);
    }

    private record struct Modifiers
    {
        public bool Wide { get; set; }

        public bool Ascii { get; set; }

        public bool NoCase { get; set; }

        public bool Coded { get; set; }
    }
}
