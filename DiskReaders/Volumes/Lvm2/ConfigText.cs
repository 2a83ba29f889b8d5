using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>
/// LVM2's text: sections in braces, <c>key = value</c>, lists in brackets, strings in quotes, numbers, comments to the line's end.
/// Spec: lvm.conf(5), "SYNTAX". Ends with the bytes or a NUL.
/// </summary>
internal ref struct ConfigText
{
    public const string Structure = "LVM2 metadata";

    private readonly ReadOnlySpan<byte> _text;
    private int _at;
    private int _nodes;

    private ConfigText(ReadOnlySpan<byte> text) => _text = text;

    /// <exception cref="DiskFormatException">The text is not of this form, or passes a limit.</exception>
    public static ConfigSection Parse(ReadOnlySpan<byte> text)
    {
        int end = text.IndexOf((byte)0);
        var parser = new ConfigText(end < 0 ? text : text[..end]);
        var root = new ConfigSection("", 0);
        parser.Body(root, 0);
        return root;
    }

    private void Body(ConfigSection section, int depth)
    {
        while (!IsAtEnd())
        {
            if (_text[_at] == '}')
            {
                if (depth == 0)
                {
                    throw Bad("a brace closes nothing");
                }

                _at++;
                return;
            }

            Node(section, depth);
        }

        if (depth > 0)
        {
            throw Bad("a section has no end");
        }
    }

    private void Node(ConfigSection section, int depth)
    {
        if (++_nodes > Lvm2Limits.MostTextNodes)
        {
            throw new DiskFormatException(Fault.Limit, Structure, _at, $"more than {Lvm2Limits.MostTextNodes} assignments and sections");
        }

        int start = _at;
        string key = Key();
        if (IsAtEnd())
        {
            throw Bad("a name stands alone");
        }

        if (_text[_at] == '{')
        {
            if (depth == Lvm2Limits.MostTextDepth)
            {
                throw new DiskFormatException(Fault.Limit, Structure, _at, $"sections within more than {Lvm2Limits.MostTextDepth} others");
            }

            _at++;
            var inner = new ConfigSection(key, start);
            Body(inner, depth + 1);
            if (!section.TryAdd(inner))
            {
                throw Bad("two sections of one name");
            }
        }
        else if (_text[_at] == '=')
        {
            _at++;
            if (!section.TryAdd(key, Value()))
            {
                throw Bad("two values of one name");
            }
        }
        else
        {
            throw Bad("neither a section nor a value");
        }
    }

    private string Key()
    {
        if (_text[_at] is (byte)'"' or (byte)'\'')
        {
            return Quoted();
        }

        int start = _at;
        while (_at < _text.Length && IsNameByte(_text[_at]))
        {
            _at++;
        }

        return _at > start ? Encoding.UTF8.GetString(_text[start.._at]) : throw Bad("a name was expected");
    }

    private ConfigItem[] Value()
    {
        if (IsAtEnd())
        {
            throw Bad("a value was expected");
        }

        if (_text[_at] != '[')
        {
            return [Item()];
        }

        _at++;
        List<ConfigItem> items = [];
        while (true)
        {
            if (IsAtEnd())
            {
                throw Bad("a list has no end");
            }

            if (_text[_at] == ']')
            {
                _at++;
                return [.. items];
            }

            if (items.Count > 0)
            {
                if (_text[_at] != ',')
                {
                    throw Bad("a list without commas");
                }

                _at++;
                if (IsAtEnd())
                {
                    throw Bad("a list has no end");
                }
            }

            if (++_nodes > Lvm2Limits.MostTextNodes)
            {
                throw new DiskFormatException(Fault.Limit, Structure, _at, $"more than {Lvm2Limits.MostTextNodes} values");
            }

            items.Add(Item());
        }
    }

    private ConfigItem Item()
    {
        if (_text[_at] is (byte)'"' or (byte)'\'')
        {
            return new ConfigItem(Quoted(), 0);
        }

        int start = _at;
        bool isNegative = _text[_at] == '-';
        _at += isNegative ? 1 : 0;
        long number = 0;
        int digits = 0;
        for (; _at < _text.Length && _text[_at] is >= (byte)'0' and <= (byte)'9'; _at++, digits++)
        {
            number = digits < 18 ? (number * 10) + (_text[_at] - '0') : throw Bad("a number of more than 18 digits");
        }

        // Fractions occur in lvm.conf alone; as text they fit no field that is asked for.
        if (_at < _text.Length && _text[_at] == '.')
        {
            while (_at < _text.Length && _text[_at] is (byte)'.' or (>= (byte)'0' and <= (byte)'9'))
            {
                _at++;
            }

            return new ConfigItem(Encoding.UTF8.GetString(_text[start.._at]), 0);
        }

        return digits > 0 ? new ConfigItem(null, isNegative ? -number : number) : throw Bad("neither a string nor a number");
    }

    private string Quoted()
    {
        byte quote = _text[_at++];
        ReadOnlySpan<byte> rest = _text[_at..];
        int plain = quote == '"' ? rest.IndexOfAny(quote, (byte)'\\') : rest.IndexOf(quote);
        if (plain >= 0 && rest[plain] == quote)
        {
            _at += plain + 1;
            return Encoding.UTF8.GetString(rest[..plain]);
        }

        List<byte> bytes = [];
        while (_at < _text.Length && _text[_at] != quote)
        {
            _at += _text[_at] == '\\' && _at + 1 < _text.Length ? 1 : 0;
            bytes.Add(_text[_at++]);
        }

        if (_at == _text.Length)
        {
            throw Bad("a string has no end");
        }

        _at++;
        return Encoding.UTF8.GetString([.. bytes]);
    }

    private bool IsAtEnd()
    {
        while (_at < _text.Length)
        {
            if (_text[_at] == '#')
            {
                int line = _text[_at..].IndexOf((byte)'\n');
                _at = line < 0 ? _text.Length : _at + line;
            }
            else if (_text[_at] is (byte)' ' or (byte)'\t' or (byte)'\n' or (byte)'\r' or (byte)'\v' or (byte)'\f')
            {
                _at++;
            }
            else
            {
                return false;
            }
        }

        return true;
    }

    private static bool IsNameByte(byte b) => b > ' ' && b is not ((byte)'{' or (byte)'}' or (byte)'=' or (byte)'[' or (byte)']' or (byte)',' or (byte)'#' or (byte)'"' or (byte)'\'');

    private readonly DiskFormatException Bad(string what) => new(Fault.Corrupt, Structure, _at, what);
}
