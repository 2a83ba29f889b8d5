using System.Security.Cryptography;
using System.Text;
using Vmsweep.Signatures.Hashes;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Tests.Hashes;

public sealed class HashListTests
{
    private static readonly string Sha256 = Convert.ToHexStringLower(SHA256.HashData("bad"u8));
    private static readonly string Sha1 = new('b', 40);
    private static readonly string Md5 = new('c', 32);

    [Theory]
    [InlineData("zz")]
    [InlineData("abcdef")]
    [InlineData("0123456789012345678901234567890123456789012345678901234567890123456789")]
    [InlineData("\u0000\u0001\u0002")]
    [InlineData(",,,,,")]
    [InlineData("\"open quote")]
    [InlineData("a,b,c,d,e")]
    public void A_line_without_a_hash_is_named_by_file_and_line_and_the_rest_is_used(string line)
    {
        List<HashFault> faults = [];
        HashList list = Parse($"# list\r\n{line}\r\n{Sha256}\r\n", faults);
        HashFault fault = Assert.Single(faults);
        Assert.Equal(("list.txt", 2), (fault.File, fault.Line));
        Assert.Equal(1, list.Facts.Rules);
    }

    [Fact]
    public void A_wrong_length_is_said()
    {
        List<HashFault> faults = [];
        Parse(Sha256[..63], faults);
        Assert.Contains("63 hexadecimal digits", Assert.Single(faults).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{0}", "", Severity.High)]
    [InlineData("{0} ", "", Severity.High)]
    [InlineData("{0},Evil.A", "Evil.A", Severity.High)]
    [InlineData("{0};Evil.A;critical", "Evil.A", Severity.Critical)]
    [InlineData("Evil.A,{0},low", "Evil.A", Severity.Low)]
    [InlineData("\"{0}\",\"Evil, \"\"A\"\"\",info", "Evil, \"A\"", Severity.Info)]
    [InlineData("{0}  evil.exe", "evil.exe", Severity.High)]
    [InlineData("{0} # remark", "", Severity.High)]
    [InlineData("{0}\tEvil", "Evil", Severity.High)]
    public void Lists_of_hashes_and_tables_with_names_are_read(string form, string name, Severity severity)
    {
        foreach (string hash in new[] { Sha256, Sha256.ToUpperInvariant() })
        {
            List<HashFault> faults = [];
            HashList list = Parse("\uFEFFhash,name,severity\r\n# c\n// c\n\n" + form.Replace("{0}", hash, StringComparison.Ordinal), faults);
            Assert.Empty(faults);
            Detection d = list.TryMatch(SHA256.HashData("bad"u8))!;
            Assert.Equal((name.Length > 0 ? name : Sha256, "list.txt", severity, HashList.EngineName), (d.Rule, d.Namespace, d.Severity, d.Engine));
            Assert.Equal(("sha256", Sha256), (d.Meta[0].Key, d.Meta[0].Value.Text));
            Assert.Null(list.TryMatch(SHA256.HashData("good"u8)));
            Assert.False(list.NeedsSha1 || list.NeedsMd5);
        }
    }

    [Fact]
    public void Each_kind_of_hash_is_found_and_asked_for_only_when_listed()
    {
        HashList list = Parse($"{Sha1},one\n{Md5},five\n", []);
        Assert.True(list.NeedsSha1 && list.NeedsMd5);
        Assert.Equal("one", list.TryMatch(new byte[32], Convert.FromHexString(Sha1))!.Rule);
        Assert.Equal("five", list.TryMatch(new byte[32], new byte[20], Convert.FromHexString(Md5))!.Rule);
        Assert.Null(list.TryMatch(new byte[32], new byte[20], new byte[16]));
        Assert.Null(list.TryMatch(default));
    }

    [Fact]
    public void Every_one_of_many_hashes_is_found_and_no_other()
    {
        byte[][] hashes = [.. Enumerable.Range(0, 5000).Select(i => SHA256.HashData(BitConverter.GetBytes(i)))];
        HashList list = Parse(string.Join('\n', hashes.Select((h, i) => $"{Convert.ToHexString(h)},n{i}").Concat([Convert.ToHexString(hashes[7]) + ",again"])), []);
        Assert.Equal(5000, list.Facts.Rules);
        Assert.All(hashes.Index(), h => Assert.Equal($"n{h.Index}", list.TryMatch(h.Item)!.Rule));
        Assert.All(Enumerable.Range(5000, 500), i => Assert.Null(list.TryMatch(SHA256.HashData(BitConverter.GetBytes(i)))));
    }

    [Fact]
    public void Equal_lists_have_equal_bundles_and_others_have_not()
    {
        Assert.Equal(Parse(Md5, []).Facts.Bundle, Parse(Md5, []).Facts.Bundle);
        Assert.NotEqual(Parse(Md5, []).Facts.Bundle, Parse(Sha1, []).Facts.Bundle);
    }

    private static HashList Parse(string text, List<HashFault> faults) => HashList.Parse([("list.txt", Encoding.UTF8.GetBytes(text))], faults);
}
