using System.Text;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Yara.Language;

/// <summary>
/// What the modules <c>pe</c> and <c>elf</c> need: they give nothing but constants of content that does not begin with <c>MZ</c> or
/// <c>\x7FELF</c>, and a comparison with nothing, as nothing itself, does not hold.
/// </summary>
internal static class ModuleNeeds
{
    /// <summary>Undefined, or a function with an undefined result, for any content that is no PE file (<c>modules/pe/pe.c</c> of 4.2).</summary>
    private static readonly HashSet<string> OfPe = new(StringComparer.Ordinal)
    {
        "number_of_sections", "number_of_signatures", "number_of_resources", "timestamp", "machine", "characteristics", "entry_point", "image_base",
        "checksum", "subsystem", "linker_version", "os_version", "image_version", "sections", "signatures", "version_info", "imphash", "pdb_path",
        "overlay", "resources", "is_dll", "is_32bit", "is_64bit", "size_of_image",
    };

    /// <summary>Functions of <c>pe</c> that do not hold for any content that is no PE file; only where nothing is compared with them.</summary>
    private static readonly HashSet<string> OfPeAlone = new(StringComparer.Ordinal) { "exports", "imports" };

    /// <summary>Undefined for any content that is no ELF file (<c>modules/elf/elf.c</c> of 4.2).</summary>
    private static readonly HashSet<string> OfElf = new(StringComparer.Ordinal)
    {
        "type", "machine", "entry_point", "number_of_sections", "number_of_segments", "sections", "segments",
    };

    private static readonly HashSet<string> Signs = new(StringComparer.Ordinal)
    {
        "==", "!=", "<", "<=", ">", ">=", "contains", "icontains", "startswith", "istartswith", "endswith", "iendswith", "iequals", "matches",
    };

    /// <summary>A value of a module alone, or compared with anything: <c>pe.imphash() == "..."</c>.</summary>
    public static Need? Read(byte[] text, List<Token> tokens, int from, int to)
    {
        if (to - from > 3 && Text(text, tokens[from]) == "pe" && Text(text, tokens[from + 1]) == "." && OfPeAlone.Contains(Text(text, tokens[from + 2])))
        {
            return ChainEnd(text, tokens, from, to) == to ? Need.Bytes(0, FileTypes.Program.Magic.ToArray()) : null;
        }

        if (Magic(text, tokens, from, to) is not { } magic)
        {
            return null;
        }

        int end = ChainEnd(text, tokens, from, to);
        return end == to || Signs.Contains(Text(text, tokens[end])) ? magic : null;
    }

    /// <summary><c>for any s in pe.sections : (...)</c>.</summary>
    public static Need? ReadLoop(byte[] text, List<Token> tokens, int from, int to)
    {
        if (from + 4 >= to || Text(text, tokens[from + 1]) != "any" || Text(text, tokens[from + 3]) != "in"
            || Magic(text, tokens, from + 4, to) is not { } magic)
        {
            return null;
        }

        int end = ChainEnd(text, tokens, from + 4, to);
        return end < to && Text(text, tokens[end]) == ":" ? magic : null;
    }

    private static Need? Magic(byte[] text, List<Token> tokens, int from, int to)
    {
        if (to - from < 3 || Text(text, tokens[from + 1]) != ".")
        {
            return null;
        }

        string name = Text(text, tokens[from + 2]);
        return Text(text, tokens[from]) switch
        {
            "pe" when OfPe.Contains(name) => Need.Bytes(0, FileTypes.Program.Magic.ToArray()),
            "elf" when OfElf.Contains(name) => Need.Bytes(0, FileTypes.Elf.Magic.ToArray()),
            _ => null,
        };
    }

    /// <summary>Behind names, dots, indexes and arguments.</summary>
    private static int ChainEnd(byte[] text, List<Token> tokens, int from, int to)
    {
        int at = from + 3;
        while (at < to)
        {
            string token = Text(text, tokens[at]);
            if (token == "." && at + 1 < to)
            {
                at += 2;
            }
            else if (token is "(" or "[")
            {
                int depth = 0;
                do
                {
                    token = Text(text, tokens[at++]);
                    depth += token is "(" or "[" ? 1 : token is ")" or "]" ? -1 : 0;
                }
                while (depth > 0 && at < to);
            }
            else
            {
                break;
            }
        }

        return at;
    }

    private static string Text(byte[] text, Token token) =>
        token.Kind is TokenKind.Identifier or TokenKind.Punctuation ? Encoding.UTF8.GetString(text.AsSpan(token.Start, token.End - token.Start)) : "";
}
