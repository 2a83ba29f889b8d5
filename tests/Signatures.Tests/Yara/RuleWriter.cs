using System.Globalization;
using System.Text;

namespace Vmsweep.Signatures.Tests.Yara;

/// <summary>Rules made by chance out of bytes that are in given files, so that many of them match; the same for the same seed and files.</summary>
internal sealed class RuleWriter(int seed, IReadOnlyList<byte[]> contents)
{
    private static readonly string[] Conditions =
    [
        "any of them", "all of them", "2 of them", "$a", "$a and $b", "$a or $c", "$a and not $b", "#a > 1", "#a >= 2 and $b", "#a == 1 or $c",
        "$a at 0 or $b", "$a in (0..20000)", "for any of ($a,$b) : ($ in (0..4000))", "for all of them : (# > 0)", "any of ($a,$b) in (0..9000)",
        "uint16(0) == 0x5A4D and $a", "uint16(0) == 0x5a4d and any of them", "uint32be(0) == 0x7F454C46 and ($b or $c)", "uint32(0) == 0x464C457F or $a",
        "filesize < 20KB and any of them", "filesize > 100KB and 2 of them", "1MB > filesize and $a", "uint8(0) == 0x4D and uint8(1) == 0x5A and filesize < 300KB and 1 of ($a,$c)",
        "(uint16(0) == 0x5A4D and filesize < 500KB and 1 of ($b,$c)) or (2 of them)", "pe.number_of_sections > 2 and $a", "$b and pe.is_pe", "elf.type == elf.ET_DYN and any of them",
        "math.entropy(0, filesize) > 5.0 and $c", "@a[1] < @b[1]", "!a[1] > 4", "for any i in (1..#a) : (@a[i] > 100)", "50% of them", "not $a and $b", "none of ($a) and $b",
        "for any s in (0, 100, 1000) : ($a at s) or $b", "(($a))", "$a and ($b or ($c and filesize > 10))", "true and $a", "0 of them and $b",
    ];

    private readonly Random _random = new(seed);

    public string Write(int count)
    {
        var text = new StringBuilder("import \"pe\"\nimport \"elf\"\nimport \"math\"\n");
        for (int i = 0; i < count; i++)
        {
            string condition = Conditions[i % Conditions.Length];
            text.Append(CultureInfo.InvariantCulture, $"rule made_{i} {{\n  meta:\n    score = {_random.Next(100)}\n  strings:\n");
            foreach (string id in new[] { "a", "b", "c" })
            {
                text.Append(CultureInfo.InvariantCulture, $"    ${id} = {String()}\n");
            }

            // libyara refuses strings that no condition names.
            text.Append(CultureInfo.InvariantCulture, $"  condition:\n    ({condition}) or (filesize == 77777777 and all of them)\n}}\n");
        }

        return text.ToString();
    }

    private string String()
    {
        byte[] content = contents[_random.Next(contents.Count)];
        int length = 5 + _random.Next(20);
        int at = _random.Next(Math.Max(1, content.Length - length));
        byte[] bytes = content[at..Math.Min(content.Length, at + length)];
        if (bytes.Distinct().Count() < 4)
        {
            bytes = "seldom-" + _random.Next(99) is var s ? Encoding.ASCII.GetBytes(s) : [];
        }

        bool printable = bytes.All(b => b is >= 0x20 and < 0x7F);
        return _random.Next(printable ? 4 : 2) switch
        {
            2 => "\"" + Encoding.ASCII.GetString(bytes).Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal) + "\"" + Modifiers(),
            3 => Regex(bytes),
            _ => Hex(bytes),
        };
    }

    private string Modifiers() => new[] { "", " ascii", " wide ascii", " nocase", " fullword", " wide nocase ascii", " ascii fullword nocase", " private", " xor" }[_random.Next(9)];

    private string Hex(byte[] bytes)
    {
        var text = new StringBuilder("{ ");
        for (int i = 0; i < bytes.Length; i++)
        {
            bool inside = i is > 1 && i < bytes.Length - 2;
            text.Append((inside ? _random.Next(12) : 0) switch
            {
                1 => "?? ",
                2 => $"{bytes[i] >> 4:X}? ",
                3 => $"( {bytes[i]:X2} | 00 11 ) ",
                4 => "[0-3] ",
                5 => "[1] /* } */ ",
                _ => $"{bytes[i]:X2} ",
            });
        }

        return text.Append('}').ToString();
    }

    private string Regex(byte[] bytes)
    {
        var text = new StringBuilder("/");
        for (int i = 0; i < bytes.Length; i++)
        {
            string c = char.IsAsciiLetterOrDigit((char)bytes[i]) ? ((char)bytes[i]).ToString() : $"\\x{bytes[i]:x2}";
            bool inside = i is > 1 && i < bytes.Length - 2;
            text.Append((inside ? _random.Next(12) : 0) switch
            {
                1 => ".",
                2 => c + "?",
                3 => c + "+",
                4 => $"({c}|zz)",
                5 => "[^\\n]",
                6 => c + "{1,3}",
                7 => c + "*",
                _ => c,
            });
        }

        return text.Append(_random.Next(3) == 0 ? "/i" : "/").Append(_random.Next(4) == 0 ? " wide ascii" : "").ToString();
    }
}
