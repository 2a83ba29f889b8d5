using System.Runtime.InteropServices;

namespace Vmsweep.Signatures.Yara;

/// <summary>
/// Field offsets of the structures of <c>yara/types.h</c> 4.2 on 64-bit machines, as <c>offsetof</c> prints them. They are part of no
/// promise of libyara but its SONAME; <see cref="Verify"/> notices another library.
/// </summary>
internal static unsafe class YrLayout
{
    public const int RuleSize = 48;
    public const int MetaSize = 32;
    public const int StringSize = 56;
    public const int MatchesSize = 24;

    public const int StringFlagLastInRule = 0x1000;
    public const int StringFlagChainPart = 0x2000;
    public const int StringFlagChainTail = 0x4000;
    public const int StringFlagPrivate = 0x100000;
    public const int RuleFlagNull = 0x04;

    private const int MetaTypeInteger = 1;
    private const int MetaTypeString = 2;
    private const int MetaFlagLastInRule = 1;

    private const ulong Undefined = 0xFFFA_BADA_FABA_DAFF;

    public static int RuleFlags(byte* rule) => *(int*)rule;

    public static string RuleName(byte* rule) => Text(*(byte**)(rule + 8));

    /// <summary>Strings one behind another, ended by an empty one.</summary>
    public static byte* RuleTags(byte* rule) => *(byte**)(rule + 16);

    public static byte* RuleMetas(byte* rule) => *(byte**)(rule + 24);

    public static byte* RuleStrings(byte* rule) => *(byte**)(rule + 32);

    public static string RuleNamespace(byte* rule) => Text(**(byte***)(rule + 40));

    public static string MetaKey(byte* meta) => Text(*(byte**)meta);

    public static string MetaText(byte* meta) => Text(*(byte**)(meta + 8));

    public static long MetaNumber(byte* meta) => *(long*)(meta + 16);

    public static bool MetaIsText(byte* meta) => *(int*)(meta + 24) == MetaTypeString;

    public static bool MetaIsNumber(byte* meta) => *(int*)(meta + 24) == MetaTypeInteger;

    public static bool MetaIsLast(byte* meta) => (*(int*)(meta + 28) & MetaFlagLastInRule) != 0;

    public static uint StringFlags(byte* text) => *(uint*)text;

    public static uint StringIndex(byte* text) => *(uint*)(text + 4);

    public static string StringId(byte* text) => Text(*(byte**)(text + 48));

    public static long MatchBase(byte* match) => *(long*)match;

    public static long MatchOffset(byte* match) => *(long*)(match + 8);

    public static int MatchLength(byte* match) => *(int*)(match + 16);

    public static byte* MatchNext(byte* match) => *(byte**)(match + 40);

    public static bool MatchIsPrivate(byte* match) => match[52] != 0;

    /// <summary><c>YR_SCAN_CONTEXT.matches</c>, by string index.</summary>
    public static byte* ScannerMatches(byte* scanner) => *(byte**)(scanner + 160);

    /// <summary>libyara 4.2 finds <c>entry_point</c> once in a scanner's life; the next content must not inherit it.</summary>
    public static void ForgetEntryPoint(byte* scanner) => *(ulong*)(scanner + 8) = Undefined;

    public static byte* MatchesHead(byte* matches) => *(byte**)matches;

    public static string Text(byte* text) => text is null ? "" : System.Text.Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(text));

    /// <summary>Compiles and scans something small and looks whether every field is where it is expected.</summary>
    public static void Verify()
    {
        using NativeRules rules = NativeCompiler.CompileOne("""
            rule layout : one two { meta: t = "text" n = 77 b = true strings: $x = "ab" $hidden = "cd" private condition: $x and $hidden and entrypoint == 4294967295 or #x == 2 }
            """u8, "space"u8);
        if (rules.Count != 1)
        {
            throw Wrong("YR_RULES");
        }

        using NativeScanner scanner = rules.CreateScanner();
        List<(int Ordinal, Matching.Detection Detection)> found = [];
        if (scanner.Scan("xab-ab-cd"u8, 10, 100, found) is not null || found.Count != 1)
        {
            throw Wrong("YR_SCAN_CONTEXT");
        }

        Matching.Detection d = found[0].Detection;
        bool right = d is { Rule: "layout", Namespace: "space", Tags: ["one", "two"], Meta.Count: 3, Matches.Count: 2 }
            && d.Meta[0] is { Key: "t", Value.Text: "text" } && d.Meta[1] is { Key: "n", Value.Number: 77 } && d.Meta[2] is { Key: "b", Value.Truth: true }
            && d.Matches[0] == new Matching.StringMatch("$x", 1, 2) && d.Matches[1] == new Matching.StringMatch("$x", 4, 2);
        if (!right)
        {
            throw Wrong("YR_RULE");
        }
    }

    private static YaraException Wrong(string structure) =>
        new($"{LibYara.Library} is another version than this wrapper was made for ({structure} differs); install libyara9 4.2 of Debian 12");
}
