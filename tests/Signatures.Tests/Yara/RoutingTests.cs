using System.Text;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Signatures.Tests.Yara;

/// <summary>With routing and without, the same rules match: over contents made of pieces of what the rules look for.</summary>
public sealed class RoutingTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Routing_never_loses_a_match(int seed)
    {
        var random = new Random(seed);
        byte[][] pieces = [.. Enumerable.Range(0, 40).Select(_ => Piece(random))];
        string text = new RuleWriter(seed, pieces).Write(240);
        using YaraRules routed = YaraProgram.Compile(text);
        using YaraRules whole = YaraProgram.Compile(text, routing: false);
        Assert.True(routed.Routes.Triggered > 100);
        int matches = 0;
        for (int i = 0; i < 250; i++)
        {
            byte[] content = Content(random, pieces);
            string[] expected = YaraProgram.Names(whole, content);
            Assert.Equal(expected, YaraProgram.Names(routed, content));
            matches += expected.Length;
        }

        Assert.True(matches > 1000);
    }

    [Theory]
    [InlineData("pe.number_of_sections >= 0")]
    [InlineData("pe.number_of_signatures == 0")]
    [InlineData("pe.number_of_resources != 1")]
    [InlineData("pe.timestamp < 1")]
    [InlineData("pe.machine != 77")]
    [InlineData("pe.characteristics == 0")]
    [InlineData("pe.entry_point <= 0")]
    [InlineData("pe.image_base != 1")]
    [InlineData("pe.checksum == 0")]
    [InlineData("pe.subsystem != 99")]
    [InlineData("pe.linker_version.major != 99")]
    [InlineData("pe.os_version.minor == 0")]
    [InlineData("pe.image_version.major != 99")]
    [InlineData("pe.sections[0].name != \"x\"")]
    [InlineData("pe.signatures[0].issuer contains \"\"")]
    [InlineData("pe.version_info[\"x\"] != \"x\"")]
    [InlineData("pe.imphash() != \"x\"")]
    [InlineData("pe.pdb_path != \"x\"")]
    [InlineData("pe.overlay.size == 0")]
    [InlineData("pe.resources[0].length != 77")]
    [InlineData("pe.is_dll() != 77")]
    [InlineData("pe.is_32bit() == 0")]
    [InlineData("pe.is_64bit() != 1")]
    [InlineData("pe.size_of_image != 1")]
    [InlineData("for any s in pe.sections : (true)")]
    [InlineData("elf.type != 99")]
    [InlineData("elf.machine != 99")]
    [InlineData("elf.entry_point != 99")]
    [InlineData("elf.number_of_sections != 99")]
    [InlineData("elf.number_of_segments == 0")]
    [InlineData("elf.sections[0].type != 99")]
    [InlineData("elf.segments[0].type != 99")]
    [InlineData("for any s in elf.sections : (true)")]
    public void What_routing_assumes_of_modules_is_so(string condition)
    {
        string text = $"import \"pe\"\nimport \"elf\"\nrule r {{ condition: {condition} }}";
        using YaraRules whole = YaraProgram.Compile(text, routing: false);
        using YaraRules routed = YaraProgram.Compile(text);
        string other = condition.Contains("elf.", StringComparison.Ordinal) ? "MZ" : "\u007FELF";
        foreach (byte[] content in new[] { [], "x"u8.ToArray(), new byte[4096], Encoding.Latin1.GetBytes(other + new string('\0', 3000)), File.ReadAllBytes(other == "MZ" ? typeof(YaraRules).Assembly.Location : "/usr/bin/ls") })
        {
            Assert.Empty(YaraProgram.Names(whole, content));
        }

        foreach (byte[] content in new[] { File.ReadAllBytes(typeof(YaraRules).Assembly.Location), File.ReadAllBytes("/usr/bin/ls") })
        {
            Assert.Equal(YaraProgram.Names(whole, content), YaraProgram.Names(routed, content));
        }
    }

    [Theory]
    [InlineData("\"needle\"", "needle")]
    [InlineData("\"need\"", "need")]
    [InlineData("\"needl\" nocase", "NeEdL")]
    [InlineData("\"needle-in\" wide", "n\0e\0e\0d\0l\0e\0-\0i\0n\0")]
    [InlineData("\"needle in a haystack\" nocase", "NEEDLE IN A HAYSTACK")]
    [InlineData("{ 6E 65 65 64 6C [0-4] 21 }", "needl..!")]
    [InlineData("/need(le|s)? in hay+stack/i", "NEED in hayyystack")]
    public void A_literal_is_found_at_every_offset(string text, string there)
    {
        using YaraRules rules = YaraProgram.Compile($"rule r {{ strings: $a = {text} condition: $a }}");
        Assert.Equal(1, rules.Routes.Triggered);
        byte[] bytes = Encoding.Latin1.GetBytes(there);
        foreach (int length in new[] { bytes.Length, bytes.Length + 1, 64, 65_536 + 40, (1 << 20) + 100 })
        {
            int[] places = length < 1000 ? [.. Enumerable.Range(0, length - bytes.Length + 1)] : [.. Enumerable.Range(65_536 - 24, 30).Where(a => a + bytes.Length <= length), length - bytes.Length, length - bytes.Length - 1];
            foreach (int at in places)
            {
                byte[] content = new byte[length];
                bytes.CopyTo(content, at);
                Assert.Equal(["r"], YaraProgram.Names(rules, content));
            }

            Assert.Empty(YaraProgram.Names(rules, new byte[length]));
        }
    }

    private static byte[] Piece(Random random)
    {
        byte[] piece = new byte[30 + random.Next(60)];
        for (int i = 0; i < piece.Length; i++)
        {
            piece[i] = (byte)(random.Next(3) == 0 ? random.Next(256) : "abcdefgh XYZ"[random.Next(12)]);
        }

        return random.Next(2) == 0 ? piece : [.. piece.Select(b => (byte)(0x61 + (b % 20)))];
    }

    private static byte[] Content(Random random, byte[][] pieces)
    {
        List<byte> content = [];
        content.AddRange(random.Next(4) switch
        {
            0 => "MZ"u8,
            1 => "\u007FELF"u8,
            _ => [],
        });
        for (int i = random.Next(12); i > 0; i--)
        {
            byte[] piece = (byte[])pieces[random.Next(pieces.Length)].Clone();
            switch (random.Next(6))
            {
                case 0:
                    piece = Encoding.Unicode.GetBytes(Encoding.Latin1.GetString(piece));
                    break;
                case 1:
                    piece = [.. piece.Select(b => b is >= (byte)'a' and <= (byte)'z' ? (byte)(b ^ 0x20) : b)];
                    break;
                case 2:
                    piece[random.Next(piece.Length)] ^= 1;
                    break;
                default:
                    break;
            }

            content.AddRange(piece);
            content.AddRange(new byte[random.Next(random.Next(20) == 0 ? 300_000 : 9)]);
        }

        return [.. content];
    }
}
