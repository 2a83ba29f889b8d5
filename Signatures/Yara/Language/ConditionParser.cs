using System.Globalization;
using System.Text;

namespace Vmsweep.Signatures.Yara.Language;

/// <summary>
/// Reads a rule's condition for what it needs of content. <c>and</c> and <c>or</c> bind weakest of all operators, so the condition is cut
/// at those outside of parentheses; each piece either has one of a few exact shapes or may be anything.
/// </summary>
internal sealed class ConditionParser(byte[] text, List<Token> tokens, IReadOnlyList<StringLiteral> strings)
{
    private const int MostDepth = 40;

    /// <summary>Stands for <c>$</c> inside of <c>for ... of</c>.</summary>
    private static readonly StringLiteral Self = new("$", [new Literal([1], [0xFF], 0, 1)]);

    public Need Read(int from, int to) => Or(from, to, 0);

    private Need Or(int from, int to, int depth) => depth > MostDepth ? Need.Anything : Need.AtLeast(1, Cut(from, to, "or"u8).ConvertAll(p => And(p.From, p.To, depth)));

    private Need And(int from, int to, int depth)
    {
        List<(int From, int To)> parts = Cut(from, to, "and"u8);
        return Need.AtLeast(parts.Count, parts.ConvertAll(p => Piece(p.From, p.To, depth)));
    }

    private List<(int From, int To)> Cut(int from, int to, ReadOnlySpan<byte> word)
    {
        List<(int, int)> parts = [];
        int start = from;
        int depth = 0;
        for (int i = from; i < to; i++)
        {
            if (tokens[i].Kind == TokenKind.Punctuation)
            {
                depth += text[tokens[i].Start] switch
                {
                    (byte)'(' or (byte)'[' => 1,
                    (byte)')' or (byte)']' => -1,
                    _ => 0,
                };
            }
            else if (depth == 0 && Is(i, word))
            {
                parts.Add((start, i));
                start = i + 1;
            }
        }

        parts.Add((start, to));
        return parts;
    }

    private Need Piece(int from, int to, int depth)
    {
        int count = to - from;
        if (count <= 0)
        {
            return Need.Anything;
        }

        if (Is(from, "("u8) && Closing(from, to) == to - 1)
        {
            return Or(from + 1, to - 1, depth + 1);
        }

        if (tokens[from].Kind == TokenKind.StringId && (count == 1 || Is(from + 1, "at"u8) || Is(from + 1, "in"u8)))
        {
            return One(from);
        }

        if (count == 1 && Is(from, "false"u8))
        {
            return Need.Nothing;
        }

        if (Is(from, "for"u8))
        {
            return ForOf(from + 1, to, depth) is var of && of.Kind != NeedKind.Anything ? of : ModuleNeeds.ReadLoop(text, tokens, from, to) ?? of;
        }

        return Comparison(from, to) ?? Of(from, to) ?? ModuleNeeds.Read(text, tokens, from, to) ?? Need.Anything;
    }

    /// <summary><c>$a</c> or the <c>#a</c> of a count.</summary>
    private Need One(int at)
    {
        string id = "$" + Text(at)[1..];
        if (id == "$")
        {
            return Need.Of(Self);
        }

        List<StringLiteral> found = Named(id);
        return found.Count == 1 ? Need.Of(found[0]) : Need.Anything;
    }

    private List<StringLiteral> Named(string pattern) => pattern.EndsWith('*')
        ? [.. strings.Where(s => s.Id.StartsWith(pattern[..^1], StringComparison.Ordinal))]
        : [.. strings.Where(s => s.Id == pattern)];

    /// <summary><c>2 of ($a, $b*)</c>, also with <c>in (range)</c> or <c>at offset</c> behind it.</summary>
    private Need? Of(int from, int to)
    {
        int at = from;
        int? least = Quantity(ref at, to, out bool all);
        if (least is null || !Is(at, "of"u8) || Set(at + 1, to, out int next) is not { } set)
        {
            return null;
        }

        return next == to || Is(next, "in"u8) || Is(next, "at"u8) ? Need.AtLeast(all ? set.Count : least.Value, set.Select(Need.Of)) : null;
    }

    /// <summary><c>for any of them : ( $ at 0 )</c>. Only a body that cannot hold without its string says something.</summary>
    private Need ForOf(int from, int to, int depth)
    {
        int at = from;
        int? least = Quantity(ref at, to, out bool all);
        if (least is null || !Is(at, "of"u8) || Set(at + 1, to, out int next) is not { } set
            || next >= to || !Is(next, ":"u8) || !Is(next + 1, "("u8) || Closing(next + 1, to) != to - 1)
        {
            return Need.Anything;
        }

        Need body = Or(next + 2, to - 1, depth + 1);
        bool needsIt = body.Replace(n => n.Kind == NeedKind.Literal && n.String == Self ? Need.Nothing : Need.Anything).Kind == NeedKind.Nothing;
        return needsIt ? Need.AtLeast(all ? set.Count : least.Value, set.Select(Need.Of)) : Need.Anything;
    }

    /// <summary>How many at least; null where that is not known or may be none.</summary>
    private int? Quantity(ref int at, int to, out bool all)
    {
        all = false;
        if (at >= to)
        {
            return null;
        }

        if (Is(at, "any"u8))
        {
            at++;
            return 1;
        }

        if (Is(at, "all"u8))
        {
            at++;
            all = true;
            return 1;
        }

        if (Number(at) is not (>= 1 and <= int.MaxValue) || Number(at) is not { } number)
        {
            return null;
        }

        at++;
        if (at < to && Is(at, "%"u8))
        {
            at++;
            return 1;
        }

        return (int)number;
    }

    private List<StringLiteral>? Set(int at, int to, out int next)
    {
        next = at + 1;
        if (at >= to)
        {
            return null;
        }

        if (Is(at, "them"u8))
        {
            return [.. strings];
        }

        int close = Is(at, "("u8) ? Closing(at, to) : -1;
        if (close < 0)
        {
            return null;
        }

        next = close + 1;
        List<StringLiteral> set = [];
        for (int i = at + 1; i < close; i++)
        {
            if (tokens[i].Kind == TokenKind.StringId)
            {
                List<StringLiteral> named = Named(Text(i));
                if (named.Count == 0)
                {
                    return null;
                }

                set.AddRange(named);
            }
            else if (!Is(i, ","u8))
            {
                return null;
            }
        }

        return set;
    }

    /// <summary><c>filesize &lt; 200KB</c>, <c>#a &gt; 2</c>, <c>uint16(0) == 0x5A4D</c>, either way round.</summary>
    private Need? Comparison(int from, int to)
    {
        for (int i = from + 1; i < to - 1; i++)
        {
            if (tokens[i].Kind != TokenKind.Punctuation || Text(i) is not ("<" or "<=" or ">" or ">=" or "=="))
            {
                continue;
            }

            string sign = Text(i);
            return i == to - 2 && Number(to - 1) is { } right ? Compare(from, i, sign, right)
                : i == from + 1 && Number(from) is { } left ? Compare(i + 1, to, Turned(sign), left)
                : null;
        }

        return null;
    }

    private Need? Compare(int from, int to, string sign, long number)
    {
        if (to - from == 1 && Is(from, "filesize"u8))
        {
            return sign switch
            {
                "<" => Need.FileSize(0, number - 1),
                "<=" => Need.FileSize(0, number),
                ">" => number == long.MaxValue ? Need.Nothing : Need.FileSize(number + 1, long.MaxValue),
                ">=" => Need.FileSize(number, long.MaxValue),
                _ => Need.FileSize(number, number),
            };
        }

        if (to - from == 1 && tokens[from].Kind == TokenKind.StringUse && text[tokens[from].Start] == '#')
        {
            return sign == ">" || (sign is ">=" or "==" && number >= 1) ? One(from) : null;
        }

        if (sign == "==" && to - from == 4 && tokens[from].Kind == TokenKind.Identifier && Is(from + 1, "("u8) && Is(to - 1, ")"u8)
            && Number(from + 2) is { } offset and <= int.MaxValue)
        {
            return Integer(Text(from), offset, number);
        }

        return null;
    }

    private static Need? Integer(string function, long offset, long number)
    {
        bool big = function.EndsWith("be", StringComparison.Ordinal);
        int bits = (big ? function[..^2] : function) switch
        {
            "uint8" => 8,
            "uint16" => 16,
            "uint32" => 32,
            _ => 0,
        };
        if (bits == 0 || number >> bits != 0)
        {
            return null;
        }

        byte[] value = new byte[bits / 8];
        for (int i = 0; i < value.Length; i++)
        {
            value[big ? value.Length - 1 - i : i] = (byte)(number >> (8 * i));
        }

        return Need.Bytes(offset, value);
    }

    private static string Turned(string sign) => sign switch
    {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        _ => sign,
    };

    private long? Number(int at)
    {
        if (tokens[at].Kind != TokenKind.Number)
        {
            return null;
        }

        string digits = Text(at);
        if (digits.StartsWith("0x", StringComparison.Ordinal))
        {
            return long.TryParse(digits.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out long hex) && hex >= 0 ? hex : null;
        }

        long unit = digits.EndsWith("KB", StringComparison.Ordinal) ? 1 << 10 : digits.EndsWith("MB", StringComparison.Ordinal) ? 1 << 20 : 1;
        return long.TryParse(unit == 1 ? digits : digits[..^2], NumberStyles.None, CultureInfo.InvariantCulture, out long number) && number <= long.MaxValue / unit
            ? number * unit
            : null;
    }

    private int Closing(int open, int to)
    {
        int depth = 0;
        for (int i = open; i < to; i++)
        {
            depth += Is(i, "("u8) ? 1 : Is(i, ")"u8) ? -1 : 0;
            if (depth == 0)
            {
                return i;
            }
        }

        return -1;
    }

    private bool Is(int at, ReadOnlySpan<byte> value) =>
        at < tokens.Count && tokens[at].Kind is TokenKind.Identifier or TokenKind.Punctuation && RuleLexer.Is(text, tokens[at], value);

    private string Text(int at) => Encoding.UTF8.GetString(text.AsSpan(tokens[at].Start, tokens[at].End - tokens[at].Start));
}
