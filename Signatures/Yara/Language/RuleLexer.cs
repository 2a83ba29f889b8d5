namespace Vmsweep.Signatures.Yara.Language;

internal enum TokenKind : byte
{
    End,
    Identifier,

    /// <summary>Decimal, hexadecimal, octal or floating, with its KB or MB.</summary>
    Number,
    Text,
    Regex,
    Hex,

    /// <summary><c>$a</c>, <c>$a*</c> or <c>$</c>.</summary>
    StringId,

    /// <summary><c>#a</c>, <c>@a</c> or <c>!a</c>.</summary>
    StringUse,
    Punctuation,

    /// <summary>What the language has no token for.</summary>
    Unknown,
}

/// <summary>A token of rule source; positions are bytes of the file, the line counts from 1.</summary>
internal readonly record struct Token(TokenKind Kind, int Start, int End, int Line);

/// <summary>
/// The tokens of YARA 4.2 source, as its documentation ("Writing YARA rules") and reference lexer have them. Only for taking files apart:
/// whether a rule is right is libyara's to say.
/// </summary>
internal static class RuleLexer
{
    public static List<Token> Read(ReadOnlySpan<byte> text)
    {
        List<Token> tokens = new(text.Length / 8);
        int at = text.StartsWith("\uFEFF"u8) ? 3 : 0;
        int line = 1;
        while (at < text.Length)
        {
            byte c = text[at];
            if (c == '\n')
            {
                line++;
                at++;
                continue;
            }

            if (c is (byte)' ' or (byte)'\t' or (byte)'\r')
            {
                at++;
                continue;
            }

            ReadOnlySpan<byte> rest = text[at..];
            int length;
            TokenKind kind;
            if (c == '/' && rest.Length > 1 && rest[1] is (byte)'/' or (byte)'*')
            {
                length = CommentLength(rest);
                line += rest[..length].Count((byte)'\n');
                at += length;
                continue;
            }

            int startLine = line;
            if (c == '"')
            {
                (kind, length) = (TokenKind.Text, QuotedLength(rest, (byte)'"'));
            }
            else if (c == '/')
            {
                (kind, length) = (TokenKind.Regex, RegexLength(rest));
            }
            else if (c == '{' && tokens.Count >= 2 && tokens[^2].Kind == TokenKind.StringId && Is(text, tokens[^1], "="u8))
            {
                (kind, length) = (TokenKind.Hex, HexLength(rest));
                line += rest[..length].Count((byte)'\n');
            }
            else if (IsLetter(c))
            {
                (kind, length) = (TokenKind.Identifier, NameLength(rest));
            }
            else if (char.IsAsciiDigit((char)c))
            {
                (kind, length) = (TokenKind.Number, NumberLength(rest));
            }
            else if (c == '$')
            {
                length = 1 + NameLength(rest[1..]);
                (kind, length) = (TokenKind.StringId, length + (length < rest.Length && rest[length] == '*' ? 1 : 0));
            }
            else if (c is (byte)'#' or (byte)'@' || (c == '!' && (rest.Length < 2 || rest[1] != '=')))
            {
                (kind, length) = (TokenKind.StringUse, 1 + NameLength(rest[1..]));
            }
            else if (rest.StartsWith("=="u8) || rest.StartsWith("!="u8) || rest.StartsWith("<="u8) || rest.StartsWith(">="u8)
                || rest.StartsWith("<<"u8) || rest.StartsWith(">>"u8) || rest.StartsWith(".."u8))
            {
                (kind, length) = (TokenKind.Punctuation, 2);
            }
            else
            {
                (kind, length) = ("{}()[]:=<>,.+-*%&|^~\\"u8.Contains(c) ? TokenKind.Punctuation : TokenKind.Unknown, 1);
            }

            tokens.Add(new Token(kind, at, at + length, startLine));
            at += length;
        }

        return tokens;
    }

    public static bool Is(ReadOnlySpan<byte> text, Token token, ReadOnlySpan<byte> value) => text[token.Start..token.End].SequenceEqual(value);

    private static bool IsLetter(byte c) => char.IsAsciiLetter((char)c) || c == '_';

    private static int NameLength(ReadOnlySpan<byte> rest)
    {
        int i = 0;
        while (i < rest.Length && (IsLetter(rest[i]) || char.IsAsciiDigit((char)rest[i])))
        {
            i++;
        }

        return i;
    }

    /// <summary>Digits, letters of <c>0x</c>, <c>0o</c>, <c>KB</c>, <c>MB</c>, and a fraction, but not the dots of <c>1..5</c>.</summary>
    private static int NumberLength(ReadOnlySpan<byte> rest)
    {
        int i = NameLength(rest);
        return i + 1 < rest.Length && rest[i] == '.' && char.IsAsciiDigit((char)rest[i + 1]) ? i + 1 + NameLength(rest[(i + 1)..]) : i;
    }

    private static int CommentLength(ReadOnlySpan<byte> rest)
    {
        if (rest[1] == '/')
        {
            int end = rest.IndexOf((byte)'\n');
            return end < 0 ? rest.Length : end;
        }

        int close = rest[2..].IndexOf("*/"u8);
        return close < 0 ? rest.Length : close + 4;
    }

    /// <summary>To the closing quote; an open one ends with its line.</summary>
    private static int QuotedLength(ReadOnlySpan<byte> rest, byte quote)
    {
        for (int i = 1; i < rest.Length; i++)
        {
            if (rest[i] == '\n')
            {
                return i;
            }

            if (rest[i] == '\\' && i + 1 < rest.Length && rest[i + 1] != '\n')
            {
                i++;
            }
            else if (rest[i] == quote)
            {
                return i + 1;
            }
        }

        return rest.Length;
    }

    private static int RegexLength(ReadOnlySpan<byte> rest)
    {
        int i = QuotedLength(rest, (byte)'/');
        while (i < rest.Length && rest[i - 1] != '\n' && rest[i] is (byte)'i' or (byte)'s')
        {
            i++;
        }

        return i;
    }

    private static int HexLength(ReadOnlySpan<byte> rest)
    {
        int i = 1;
        while (i < rest.Length)
        {
            if (rest[i] == '}')
            {
                return i + 1;
            }

            i += rest[i] == '/' && i + 1 < rest.Length && rest[i + 1] is (byte)'/' or (byte)'*' ? CommentLength(rest[i..]) : 1;
        }

        return rest.Length;
    }
}
