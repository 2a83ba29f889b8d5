using Vmsweep.Golden;
using Vmsweep.Signatures.Archives;

namespace Vmsweep.Signatures.Tests.Archives;

/// <summary>Installers that makensis made.</summary>
public sealed class NsisTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    /// <summary>As <c>makensis</c> takes it; each has two files of the same name in different folders, one that cannot be packed, and one that is empty.</summary>
    internal static string Script(string head) =>
        $$"""
        {{head}}
        Name "t"
        OutFile "out.exe"
        Section "A"
        SetOutPath "$TEMP\sub dir"
        File in/program
        File in/noise
        File in/empty
        SetOutPath "$INSTDIR"
        File /oname=second.txt in/text.txt
        WriteUninstaller "$INSTDIR\un.exe"
        SectionEnd
        Section "Uninstall"
        SetOutPath "$TEMP"
        File /oname=last.txt in/last
        Delete "$INSTDIR\un.exe"
        SectionEnd
        """;

    [Theory]
    [InlineData("SetCompressor zlib")]
    [InlineData("SetCompressor /SOLID zlib")]
    [InlineData("SetCompressor bzip2")]
    [InlineData("SetCompressor /SOLID bzip2")]
    [InlineData("SetCompressor lzma")]
    [InlineData("SetCompressor /SOLID lzma")]
    [InlineData("SetCompressor /SOLID /FINAL lzma\nSetCompressorDictSize 1\nUnicode false")]
    [InlineData("SetCompress off")]
    [InlineData("CRCCheck off\nUnicode false")]
    public void Every_file_has_its_content_and_its_name(string head)
    {
        Dictionary<string, string> wanted = Make(head);
        Opened opened = Opened.Of(File.ReadAllBytes(_scratch["out.exe"]));
        Assert.Empty(opened.Gaps);
        Assert.Equal(
            wanted.OrderBy(w => w.Key, StringComparer.Ordinal).Select(w => (w.Key, w.Value)),
            opened.Members.Where(m => wanted.ContainsKey(m.Inside)).Select(m => (m.Inside, m.Sha256)).OrderBy(m => m.Inside, StringComparer.Ordinal));
        Assert.Contains("(script)", opened.Names);
        Assert.DoesNotContain(opened.Members, m => m.IsPartial);

        // What the uninstaller brings with it.
        Assert.Contains(opened.Members, m => m.Inside.EndsWith(@") > $TEMP\last.txt", StringComparison.Ordinal) && m.Sha256 == Content.Sha256OfFile(_scratch["in/last"]));
    }

    [Fact]
    public void One_that_is_cut_short_gives_what_is_there_and_a_gap()
    {
        Make("SetCompressor zlib");
        byte[] whole = File.ReadAllBytes(_scratch["out.exe"]);
        Opened opened = Opened.Of(whole[..^2000]);
        Assert.Contains(opened.Gaps, g => g is { Fault: ArchiveFault.Truncated, Structure: "nsis" });
        Assert.Contains(@"$TEMP\sub dir\program", opened.Names);
    }

    /// <summary>The declared sizes are the attacker's: none of them may take memory or time that was not given.</summary>
    [Theory]
    [InlineData(20, 0x7FFF_FFFFu)]
    [InlineData(20, 0x0400_0000u)]
    [InlineData(24, 0u)]
    [InlineData(24, 0xFFFF_FFFFu)]
    [InlineData(28, 0x7FFF_FFFFu)]
    public void A_header_that_lies_is_a_gap(int field, uint value)
    {
        Make("SetCompressor lzma");
        byte[] bytes = File.ReadAllBytes(_scratch["out.exe"]);
        int first = bytes.AsSpan().IndexOf("NullsoftInst"u8) - 8;
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(first + field), value);
        Assert.NotEmpty(Opened.Of(bytes, memory: 16 << 20).Gaps);
    }

    private Dictionary<string, string> Make(string head)
    {
        File.WriteAllText(_scratch["t.nsi"], Script(head));
        Tool.Shell(
            """
            mkdir in
            cp /usr/bin/env in/program
            seq 1 60000 > in/text.txt
            head -c 300000 /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 > in/noise
            : > in/empty
            seq 1 99 > in/last
            makensis -V1 t.nsi
            """,
            _scratch.Folder);
        return new Dictionary<string, string>
        {
            [@"$TEMP\sub dir\program"] = Content.Sha256OfFile(_scratch["in/program"]),
            [@"$TEMP\sub dir\noise"] = Content.Sha256OfFile(_scratch["in/noise"]),
            [@"$TEMP\sub dir\empty"] = Content.Sha256OfFile(_scratch["in/empty"]),
            [@"$INSTDIR\second.txt"] = Content.Sha256OfFile(_scratch["in/text.txt"]),
        };
    }
}
