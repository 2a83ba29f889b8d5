using System.Globalization;
using System.Text;

namespace Vmsweep.Signatures.Yara.Language;

/// <summary>
/// Reads a rule's <c>strings</c> section for bytes that must be in content where the string matches. What is not understood gives a string
/// without literals, never a wrong one.
/// </summary>
internal static class StringsParser
{
    /// <summary>A longer literal is no more telling.</summary>
    private const int MostBytes = 48;

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
        List<byte[]>? runs = kind switch
        {
            TokenKind.Text => TextRuns(source),
            TokenKind.Hex => HexRuns(source),
            TokenKind.Regex => RegexRuns(source, ref modifiers),
            _ => null,
        };
        List<Literal> literals = [];
        if (runs is null || (modifiers.Ascii || !modifiers.Wide) && !AddBest(literals, runs, modifiers.NoCase))
        {
            return [];
        }

        return !modifiers.Wide || AddBest(literals, runs.ConvertAll(Widened), modifiers.NoCase) ? literals : [];
    }

    /// <summary>Every run must be in the content; the most telling one is looked for.</summary>
    private static bool AddBest(List<Literal> literals, List<byte[]> runs, bool ignoresCase)
    {
        byte[]? best = null;
        int bestQuality = 0;
        foreach (byte[] run in runs)
        {
            byte[] bytes = run.Length > MostBytes ? run[..MostBytes] : run;
            int quality = LiteralQuality.Of(bytes);
            if (quality > bestQuality)
            {
                (best, bestQuality) = (bytes, quality);
            }
        }

        if (best is null)
        {
            return false;
        }

        literals.Add(new Literal(best, ignoresCase));
        return true;
    }

    private static byte[] Widened(byte[] run)
    {
        byte[] wide = new byte[run.Length * 2];
        for (int i = 0; i < run.Length; i++)
        {
            wide[2 * i] = run[i];
        }

        return wide;
    }

    private static List<byte[]>? TextRuns(ReadOnlySpan<byte> source)
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

        return [[.. run]];
    }

    private static List<byte[]>? HexRuns(ReadOnlySpan<byte> source)
    {
        List<byte[]> runs = [];
        List<byte> run = [];
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
                i++;
            }
            else
            {
                Break(runs, run);
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
                else if (c == '?' || char.IsAsciiHexDigit((char)c))
                {
                    // A byte of which a half or all is free.
                    i++;
                }
                else
                {
                    return null;
                }
            }
        }

        Break(runs, run);
        return runs;
    }

    /// <summary>Runs of plain characters outside of groups, classes and what a quantifier makes optional.</summary>
    private static List<byte[]>? RegexRuns(ReadOnlySpan<byte> source, ref Modifiers modifiers)
    {
        int end = source.LastIndexOf((byte)'/');
        if (end <= 0)
        {
            return null;
        }

        modifiers.NoCase |= source[end..].Contains((byte)'i');
        List<byte[]> runs = [];
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

    private static void Break(List<byte[]> runs, List<byte> run)
    {
        if (run.Count > 0)
        {
            runs.Add([.. run]);
            run.Clear();
        }
    }

    private static bool TryHex(ReadOnlySpan<byte> source, int at, out byte value)
    {
        value = 0;
        return at + 1 < source.Length && byte.TryParse(source.Slice(at, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
    }

    private record struct Modifiers
    {
        public bool Wide { get; set; }

        public bool Ascii { get; set; }

        public bool NoCase { get; set; }

        public bool Coded { get; set; }
    }
}
