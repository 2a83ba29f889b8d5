using Vmsweep.Golden;
using Vmsweep.Signatures.Archives;

namespace Vmsweep.Signatures.Tests.Archives;

/// <summary>Archives that other people's programs made, member by member.</summary>
public sealed class FormatTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    /// <summary>A folder "in" with a program, a text, zeros, noise, an empty file and a name that is not ASCII.</summary>
    private Dictionary<string, string> Input()
    {
        Tool.Shell(
            """
            mkdir -p in/sub
            cp /usr/bin/env in/program
            seq 1 60000 > in/text.txt
            head -c 300000 /dev/zero > in/zeros
            openssl enc -aes-128-ctr -K 00 -iv 00 -in in/zeros -out in/noise
            : > in/empty
            cp in/text.txt "in/sub/größe.txt"
            """,
            _scratch.Folder);
        string root = Path.Combine(_scratch.Folder, "in");
        return Directory.EnumerateFiles(root, "*", SearchOption.AllDirectories).ToDictionary(f => Path.GetRelativePath(root, f), f => Content.Sha256OfFile(f));
    }

    [Theory]
    [InlineData("zip -q -r ../a.zip .")]
    [InlineData("zip -q -0 -r ../a.zip .")]
    [InlineData("zip -q -Z bzip2 -r ../a.zip .")]
    [InlineData("zip -q -r - . | cat > ../a.zip")]
    [InlineData("zip -q -P infected -r ../a.zip .")]
    [InlineData("7z a -bd -tzip -mm=Deflate64 ../a.zip .")]
    [InlineData("7z a -bd -tzip -mm=LZMA ../a.zip .")]
    [InlineData("7z a -bd -tzip -mm=PPMd ../a.zip .")]
    [InlineData("7z a -bd -tzip -mem=AES256 -pinfected ../a.zip .")]
    [InlineData("7z a -bd -tzip -mem=AES128 -pvirus ../a.zip .")]
    [InlineData("bsdtar --format zip --options zip:compression=deflate -cf ../a.zip *")]
    [InlineData("python3 -c \"import zipfile,os; z=zipfile.ZipFile('../a.zip','w',zipfile.ZIP_LZMA); [z.write(os.path.join(d,f)) for d,_,n in os.walk('.') for f in n]\"")]
    [InlineData("python3 -c \"import zipfile,os; z=zipfile.ZipFile('../a.zip','w'); [z.open(os.path.join(d,f)[2:],'w',force_zip64=True).write(open(os.path.join(d,f),'rb').read()) for d,_,n in os.walk('.') for f in n]\"")]
    [InlineData("7z a -bd -t7z ../a.7z .")]
    [InlineData("7z a -bd -t7z -m0=LZMA ../a.7z .")]
    [InlineData("7z a -bd -t7z -ms=off -m0=LZMA2 -mhc=off ../a.7z .")]
    [InlineData("7z a -bd -t7z -m0=PPMd ../a.7z .")]
    [InlineData("7z a -bd -t7z -m0=BZip2 ../a.7z .")]
    [InlineData("7z a -bd -t7z -m0=Deflate ../a.7z .")]
    [InlineData("7z a -bd -t7z -m0=Deflate64 ../a.7z .")]
    [InlineData("7z a -bd -t7z -mx=0 ../a.7z .")]
    [InlineData("7z a -bd -t7z -m0=BCJ -m1=LZMA ../a.7z .")]
    [InlineData("7z a -bd -t7z -m0=BCJ2 -m1=LZMA -m2=LZMA -m3=LZMA -mb0:1 -mb0s1:2 -mb0s2:3 ../a.7z .")]
    [InlineData("7z a -bd -t7z -m0=Delta:4 -m1=LZMA2 ../a.7z .")]
    [InlineData("7z a -bd -t7z -m0=ARM -m1=LZMA2 ../a.7z .")]
    [InlineData("7z a -bd -t7z -m0=PPC -m1=LZMA2 ../a.7z .")]
    [InlineData("7z a -bd -t7z -m0=SPARC -m1=LZMA2 ../a.7z .")]
    [InlineData("7z a -bd -t7z -m0=ARMT -m1=LZMA2 ../a.7z .")]
    [InlineData("7z a -bd -t7z -pinfected ../a.7z .")]
    [InlineData("7z a -bd -t7z -pmalware -mhe=on ../a.7z .")]
    [InlineData("tar -cf ../a.tar *")]
    [InlineData("tar -H v7 -cf ../a.tar *")]
    [InlineData("tar -H pax -cf ../a.tar *")]
    [InlineData("tar -H oldgnu -cf ../a.tar *")]
    [InlineData("find . -type f -printf '%P\\n' | cpio -o -H newc --quiet > ../a.cpio")]
    [InlineData("find . -type f -printf '%P\\n' | cpio -o -H odc --quiet > ../a.cpio")]
    [InlineData("arj a -m0 -r ../a.arj . >/dev/null")]
    [InlineData("arj a -m1 -r ../a.arj . >/dev/null")]
    [InlineData("arj a -m2 -r ../a.arj . >/dev/null")]
    [InlineData("arj a -m3 -r ../a.arj . >/dev/null")]
    [InlineData("arj a -m4 -r ../a.arj . >/dev/null")]
    [InlineData("arj a -ginfected -r ../a.arj . >/dev/null")]
    [InlineData("jlha a0o5 ../a.lzh program text.txt zeros noise empty sub/* >/dev/null")]
    [InlineData("jlha a1o6 ../a.lzh program text.txt zeros noise empty sub/* >/dev/null")]
    [InlineData("jlha a2o7 ../a.lzh program text.txt zeros noise empty sub/* >/dev/null")]
    [InlineData("jlha a2z ../a.lzh program text.txt zeros noise empty sub/* >/dev/null")]
    [InlineData("bsdtar --format xar -cf ../a.xar *")]
    [InlineData("bsdtar --format xar --options xar:compression=none -cf ../a.xar *")]
    [InlineData("bsdtar --format xar --options xar:compression=bzip2 -cf ../a.xar *")]
    [InlineData("bsdtar --format xar --options xar:compression=lzma -cf ../a.xar *")]
    [InlineData("bsdtar --format xar --options xar:compression=xz -cf ../a.xar *")]
    [InlineData("bsdtar --format cpio -cf ../a.cpio *")]
    [InlineData("bsdtar --format pwb -cf ../a.cpio *")]
    [InlineData("gcab -c -n ../a.cab program text.txt zeros noise empty sub/größe.txt")]
    [InlineData("gcab -c -z -n ../a.cab program text.txt zeros noise empty sub/größe.txt")]
    public void Every_member_has_the_content_that_was_put_in(string make)
    {
        Dictionary<string, string> wanted = Input();
        Tool.Shell("export LC_ALL=C.UTF-8; " + make, Path.Combine(_scratch.Folder, "in"));
        Opened opened = Opened.Of(File.ReadAllBytes(Directory.GetFiles(_scratch.Folder, "a.*").Single()));
        Assert.Empty(opened.Gaps);
        foreach ((string name, string sha256) in wanted)
        {
            // cpio leaves nothing of an empty file but its name.
            Assert.True(opened.Members.Exists(m => Same(m.Inside, name) && m.Sha256 == sha256) || name == "empty", $"{name}\n{opened}");
        }

        static bool Same(string inside, string name) =>
            inside.Replace('\\', '/') is var path && (path == name || path == "./" + name || (name.EndsWith("ße.txt", StringComparison.Ordinal) && path.EndsWith("e.txt", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("gzip -n", "(gzip)")]
    [InlineData("bzip2", "(bzip2)")]
    [InlineData("bzip2 -1", "(bzip2)")]
    [InlineData("xz", "(xz)")]
    [InlineData("xz -C crc32 -0", "(xz)")]
    [InlineData("xz -C sha256 --block-size=100000", "(xz)")]
    [InlineData("xz --x86 --lzma2", "(xz)")]
    [InlineData("xz --arm64 --lzma2", "(xz)")]
    [InlineData("xz --delta=dist=3 --lzma2=lc=0,lp=2,pb=0", "(xz)")]
    [InlineData("xz --format=lzma", "(lzma)")]
    [InlineData("zstd -q", "(zstd)")]
    [InlineData("zstd -q -19 --long=25", "(zstd)")]
    [InlineData("lz4 -q", "(lz4)")]
    [InlineData("lz4 -q -9 -B4 -BD --content-size", "(lz4)")]
    [InlineData("bsdcat_lzip", "(lzip)")]
    [InlineData("bsdcat_compress", "(compress)")]
    public void What_was_packed_is_unpacked(string pack, string name)
    {
        Input();
        foreach (string file in (string[])["program", "text.txt", "zeros", "noise"])
        {
            byte[] content = File.ReadAllBytes(Path.Combine(_scratch.Folder, "in", file));
            string command = pack switch
            {
                "bsdcat_lzip" => "bsdtar --lzip -cf - --format raw",
                "bsdcat_compress" => "bsdtar -Z -cf - --format raw",
                _ => pack + " -c",
            };
            Tool.Shell($"{command} {file} > ../packed; {command} empty >> ../packed", Path.Combine(_scratch.Folder, "in"));
            if (name == "(compress)")
            {
                // To a file, which is not filled up with zeros as a pipe is; and one alone, since only the end of the file ends it.
                Tool.Shell($"rm ../packed; bsdtar -Z --format raw -cf ../packed {file}", Path.Combine(_scratch.Folder, "in"));
            }

            Opened opened = Opened.Of(File.ReadAllBytes(_scratch["packed"]), keep: true);
            Assert.Empty(opened.Gaps);
            Assert.True(content.AsSpan().SequenceEqual(opened.Contents[name]), file);
        }
    }

    [Fact]
    public void Archives_in_archives_are_opened_by_their_content_and_the_way_in_is_told()
    {
        Input();
        Tool.Shell(
            """
            cd in
            tar -czf ../one.tgz text.txt
            cd ..
            mv one.tgz picture.png
            7z a -bd two.7z picture.png
            mv two.7z letter.txt
            zip -q three.zip letter.txt
            xz -k three.zip
            genisoimage -quiet -o four.iso three.zip.xz
            """,
            _scratch.Folder);
        Opened opened = Opened.Of(File.ReadAllBytes(_scratch["three.zip.xz"]));
        Assert.Empty(opened.Gaps);
        Assert.Contains(
            ("(xz) > letter.txt > picture.png > (gzip) > text.txt", Content.Sha256OfFile(_scratch["in/text.txt"])),
            opened.Members.Select(m => (m.Inside, m.Sha256)));
    }
}
