using System.Text;

namespace Vmsweep.Signatures.Yara.Language;

/// <summary>An <c>include</c> and where it stands among the rules of its file.</summary>
internal readonly record struct Include(string Name, int Line, int BeforeUnit);

/// <summary>A file of rules, taken apart.</summary>
internal sealed class ParsedFile
{
    public List<(string Module, int Line)> Imports { get; } = [];

    public List<Include> Includes { get; } = [];

    public List<RuleUnit> Units { get; } = [];
}

/// <summary>
/// Takes a file of rules apart into its rules, so that each compiles by itself: one that is broken costs nothing but itself. What stands
/// between rules and is none is reported; the next <c>rule</c> begins anew.
/// </summary>
internal sealed class RuleFileParser
{
    private readonly RuleFile _file;
    private readonly byte[] _text;
    private readonly List<Token> _tokens;
    private readonly ICollection<RuleFault> _faults;
    private readonly ParsedFile _parsed = new();
    private int _at;

    private RuleFileParser(RuleFile file, ICollection<RuleFault> faults)
    {
        _file = file;
        _text = file.Text;
        _faults = faults;
        _tokens = RuleLexer.Read(_text);
    }

    public static ParsedFile Parse(RuleFile file, ICollection<RuleFault> faults)
    {
        if (file.Text.AsSpan().Contains((byte)0))
        {
            faults.Add(new RuleFault(file.File, 0, "", "holds a zero byte: not the source of rules", IsWarning: false));
            return new ParsedFile();
        }

        var parser = new RuleFileParser(file, faults);
        parser.Run();
        return parser._parsed;
    }

    private void Run()
    {
        while (_at < _tokens.Count)
        {
            int start = _at;
            if (IsAt(_at, "import"u8) && IsAt(_at + 1, TokenKind.Text))
            {
                _parsed.Imports.Add((Quoted(_tokens[_at + 1]), _tokens[_at].Line));
                _at += 2;
            }
            else if (IsAt(_at, "include"u8) && IsAt(_at + 1, TokenKind.Text))
            {
                _parsed.Includes.Add(new Include(Quoted(_tokens[_at + 1]), _tokens[_at].Line, _parsed.Units.Count));
                _at += 2;
            }
            else if (!Rule())
            {
                _faults.Add(new RuleFault(_file.File, _tokens[start].Line, "", $"unexpected '{Shown(_tokens[start])}' outside of a rule", IsWarning: false));
                for (_at = start + 1; _at < _tokens.Count && !StartsRule(_at) && !IsAt(_at, "import"u8) && !IsAt(_at, "include"u8);)
                {
                    _at++;
                }
            }
        }
    }

    /// <summary>Reads one rule; false when none starts here.</summary>
    private bool Rule()
    {
        int start = _at;
        bool isPrivate = false;
        bool isGlobal = false;
        int at = start;
        for (; IsAt(at, "private"u8) || IsAt(at, "global"u8); at++)
        {
            isPrivate |= IsAt(at, "private"u8);
            isGlobal |= IsAt(at, "global"u8);
        }

        if (!IsAt(at, "rule"u8))
        {
            return false;
        }

        string name = IsAt(at + 1, TokenKind.Identifier) ? Text(_tokens[at + 1]) : "";
        int open = at + 1;
        while (open < _tokens.Count && !IsAt(open, "{"u8) && !IsAt(open, "rule"u8))
        {
            open++;
        }

        int close = open;
        while (close < _tokens.Count && !IsAt(close, "}"u8) && (close == open || !StartsRule(close)))
        {
            close++;
        }

        bool whole = name.Length > 0 && IsAt(open, "{"u8) && IsAt(close, "}"u8);
        _at = whole ? close + 1 : Math.Max(close, at + 1);
        int end = whole ? _tokens[close].End : _at < _tokens.Count ? _tokens[_at].Start : _text.Length;
        if (name.Length == 0)
        {
            _faults.Add(new RuleFault(_file.File, _tokens[start].Line, "", "a rule without a name", IsWarning: false));
            return true;
        }

        byte[] text = new byte[end - _tokens[start].Start + 1];
        _text.AsSpan(_tokens[start].Start, text.Length - 1).CopyTo(text);
        HashSet<string> names = new(StringComparer.Ordinal);
        List<string> prefixes = [];
        Need need = Need.Anything;
        if (whole)
        {
            int condition = Section(open, close, "condition"u8);
            int strings = Section(open, close, "strings"u8);
            CollectNames(condition < 0 ? open : condition, close, names, prefixes);
            if (condition >= 0)
            {
                IReadOnlyList<StringLiteral> declared = strings < 0 ? [] : StringsParser.Read(_text, _tokens, strings + 2, condition);
                need = new ConditionParser(_text, _tokens, declared).Read(condition + 2, close);
            }
        }

        _parsed.Units.Add(new RuleUnit
        {
            File = _file.File,
            Namespace = _file.Namespace,
            Name = name,
            Line = _tokens[start].Line,
            IsPrivate = isPrivate,
            IsGlobal = isGlobal,
            TextZ = text,
            Names = names,
            Prefixes = prefixes,
            Need = need,
        });
        return true;
    }

    private void CollectNames(int from, int to, HashSet<string> names, List<string> prefixes)
    {
        for (int i = from; i < to; i++)
        {
            if (!IsAt(i, TokenKind.Identifier) || IsAt(i - 1, "."u8))
            {
                continue;
            }

            string name = Text(_tokens[i]);
            if (IsAt(i + 1, "*"u8) && _tokens[i + 1].Start == _tokens[i].End)
            {
                prefixes.Add(name);
            }

            names.Add(name);
        }
    }

    private int Section(int from, int to, ReadOnlySpan<byte> name)
    {
        for (int i = from; i < to; i++)
        {
            if (IsAt(i, name) && IsAt(i + 1, ":"u8))
            {
                return i;
            }
        }

        return -1;
    }

    private bool StartsRule(int at)
    {
        while (IsAt(at, "private"u8) || IsAt(at, "global"u8))
        {
            at++;
        }

        // "private" also ends a string's line; only before "rule" does it start one.
        return IsAt(at, "rule"u8);
    }

    private bool IsAt(int at, TokenKind kind) => at >= 0 && at < _tokens.Count && _tokens[at].Kind == kind;

    private bool IsAt(int at, ReadOnlySpan<byte> value) =>
        at >= 0 && at < _tokens.Count && _tokens[at].Kind is TokenKind.Identifier or TokenKind.Punctuation && RuleLexer.Is(_text, _tokens[at], value);

    private string Text(Token token) => Encoding.UTF8.GetString(_text.AsSpan(token.Start, token.End - token.Start));

    private string Shown(Token token)
    {
        string text = Text(token);
        return text.Length > 40 ? text[..40] + "..." : text;
    }

    private string Quoted(Token token) => Text(token).Trim('"');
}
