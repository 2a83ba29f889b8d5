using Vmsweep.Golden;
using Vmsweep.Signatures.Archives;

namespace Vmsweep.Signatures.Tests.Archives;

/// <summary>Formats whose members another program gives out too.</summary>
public sealed class IndependentTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("w9.gzdio")]
    [InlineData("w9.bzdio")]
    [InlineData("w6.xzdio")]
    [InlineData("w3.zstdio")]
    [InlineData("w6.lzdio")]
    public void Files_of_an_RPM_package_are_those_that_rpm2cpio_gives(string payload)
    {
        Tool.Find("rpmbuild");
        Tool.Shell($"""
            mkdir -p in/opt/t/sub && cp /usr/bin/env in/opt/t/program && seq 1 60000 > in/opt/t/text.txt && : > in/opt/t/empty && cp in/opt/t/text.txt in/opt/t/sub/again && ln -s text.txt in/opt/t/link
            printf '%s\n' 'Name: t' 'Version: 1' 'Release: 1' 'Summary: t' 'License: none' '%description' t '%install' 'cp -a {_scratch["in"]}/. %buildroot' '%files' /opt/t > t.spec
            rpmbuild -bb --quiet --define '_topdir {_scratch["top"]}' --define '_binary_payload {payload}' --define '_build_id_links none' --define '__brp_mangle_shebangs true' t.spec
            cp top/RPMS/*/t-1-1*.rpm a.rpm; mkdir out; cd out; rpm2cpio ../a.rpm | cpio -idm --quiet
            """, _scratch.Folder);
        AssertMembers("a.rpm", Files("out"));
    }

    [Theory]
    [InlineData("bsdtar --format pwb -cf ../a in && bsdtar -xf ../a -C ../out")]
    [InlineData("cd in && ls | cpio -o -H bin --quiet > ../../a && cpio -id --quiet -D ../../out < ../../a")]
    [InlineData("cd in && ls | cpio -o -H crc --quiet > ../../a && cpio -id --quiet -D ../../out < ../../a")]
    [InlineData("cd in && ls | cpio -o -H hpbin --quiet > ../../a && cpio -id --quiet -D ../../out < ../../a")]
    [InlineData("bsdtar --format ar -cf ../a in/text in/program && bsdtar -xf ../a -C ../out")]
    [InlineData("ar rc ../a in/text in/program 'in/a name of more than sixteen letters' && cd ../out && ar x ../a")]
    [InlineData("arj a -jm -r ../a.arj . >/dev/null && mv ../a.arj ../a && cp ../a ../b.arj && arj x -y ../b.arj ../out/ >/dev/null")]
    [InlineData("jlha a1o7 ../a.lzh in/program in/text >/dev/null && mv ../a.lzh ../a && cd ../out && lha xq ../a")]
    [InlineData("bsdtar --format xar -cf ../a in && bsdtar -xf ../a -C ../out")]
    public void Members_are_what_another_program_unpacks(string script)
    {
        Tool.Find("lha");
        Tool.Shell("mkdir -p s/in out && cp /usr/bin/env s/in/program && seq 1 60000 > s/in/text && cp s/in/text 's/in/a name of more than sixteen letters'", _scratch.Folder);
        Tool.Shell(script, _scratch["s"]);
        AssertMembers("a", Files("out"));
    }

    private List<string> Files(string folder) => [.. Directory.EnumerateFiles(_scratch[folder], "*", SearchOption.AllDirectories)
        .Where(f => new FileInfo(f) is { LinkTarget: null, Length: > 0 }).Select(Content.Sha256OfFile).Order(StringComparer.Ordinal)];

    private void AssertMembers(string archive, List<string> wanted)
    {
        Assert.True(wanted.Count >= 2);
        Opened opened = Opened.Of(File.ReadAllBytes(_scratch[archive]));
        Assert.Empty(opened.Gaps);
        string[] layers = ["(payload)", "(gzip)", "(bzip2)", "(xz)", "(zstd)", "(lzma)"];
        List<string> ours = [.. opened.Members.Where(m => m.Length > 0 && !layers.Any(l => m.Inside.EndsWith(l, StringComparison.Ordinal)) && !IsPacked(m.Inside)).Select(m => m.Sha256)];
        Assert.True(wanted.TrueForAll(ours.Contains), opened.ToString());

        // The packed payload is named after the file that it was, as gzip has it.
        static bool IsPacked(string inside) => inside.EndsWith(".cpio", StringComparison.Ordinal);
    }
}
