using System.Text;
using Vmsweep.Appliance.Pipeline.Detections;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.Golden;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Tests.Detections;

public sealed class PlacedDetectionTests
{
    [Theory]
    [InlineData("invoice.pdf.exe", "Name_DoubleExtension")]
    [InlineData("INVOICE.PDF.EXE", "Name_DoubleExtension")]
    [InlineData("photo.jpg                                  .scr", "Name_DoubleExtension")]
    [InlineData("photo.jpg.scr. . ", "Name_DoubleExtension")]
    [InlineData("list.xlsx.vbs", "Name_DoubleExtension")]
    [InlineData("a.b.c.docx.bat", "Name_DoubleExtension")]
    [InlineData("invoice\u202Efdp.exe", "Name_Reversed")]
    [InlineData("x\u202E.pdf.exe", "Name_DoubleExtension,Name_Reversed")]
    [InlineData("report.docx.lnk", "")]
    [InlineData("invoice.pdf", "")]
    [InlineData("setup.exe", "")]
    [InlineData(".pdf.exe", "")]
    [InlineData("pdf.exe", "")]
    [InlineData("photo.jpg.js", "")]
    [InlineData("backup.zip.exe", "")]
    [InlineData("python3.11.exe", "")]
    [InlineData("Setup-1.2.3.msi", "")]
    [InlineData("Microsoft.Docs.exe", "")]
    [InlineData("mpdf.exe.config", "")]
    [InlineData("readme.txt.exe.mui", "")]
    [InlineData("\u202Etxt.doc", "")]
    [InlineData("...", "")]
    [InlineData("", "")]
    public void Names_of_programs_that_pretend_to_be_documents_are_told_of(string name, string expected)
    {
        List<Detection> found = [];
        DeceptiveNames.Add(FileOf(Encoding.UTF8.GetBytes(name)), found);
        Assert.Equal(expected, string.Join(',', found.Select(f => f.Rule)));
    }

    [Fact]
    public void A_name_that_is_no_UTF8_breaks_nothing()
    {
        List<Detection> found = [];
        DeceptiveNames.Add(FileOf([0xFF, 0xFE, .. "a.pdf.exe"u8]), found);
        Assert.Single(found);
    }

    /// <summary>This machine's own names are honest ones.</summary>
    [Fact]
    public void No_file_of_a_sound_system_is_called_so()
    {
        List<Detection> found = [];
        int count = 0;
        var all = new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = true, AttributesToSkip = FileAttributes.ReparsePoint };
        foreach (string path in Directory.EnumerateFiles("/usr", "*", all))
        {
            count++;
            DeceptiveNames.Add(FileOf(Encoding.UTF8.GetBytes(Path.GetFileName(path))), found);
        }

        Assert.True(count > 1000);
        Assert.Empty(found);
    }

    [Fact]
    public void Sound_headers_of_real_executables_are_known()
    {
        foreach (string pe in (string[])[Tool.Find(ClamdServer.TestFile), typeof(PlacedDetectionTests).Assembly.Location, typeof(BuiltinDetection).Assembly.Location])
        {
            Assert.Equal("$pe", Executables.KindOf(File.ReadAllBytes(pe)));
        }

        foreach (string elf in (string[])[Tool.Find("bash"), "/lib/x86_64-linux-gnu/libc.so.6", Tool.Find("busybox")])
        {
            Assert.Equal("$elf", Executables.KindOf(File.ReadAllBytes(elf)));
        }

        // Mach-O Programming Topics, "mach_header_64": magic, CPU type and subtype, file type, commands, their bytes, flags; LC_SEGMENT_64.
        byte[] mac = Convert.FromHexString("CFFAEDFE070000010300000002000000100000005805000085002000000000001900000048000000");
        Assert.Equal("$macho", Executables.KindOf([.. mac, .. new byte[512]]));
    }

    [Theory]
    [InlineData("4D5A")]
    [InlineData("4D5A90000300000004000000FFFF0000B800000000000000400000000000000000000000000000000000000000000000000000000000000000000000F8FFFFFF")]
    [InlineData("7F454C46")]
    [InlineData("7F454C4602010100000000000000000002003E0001000000")]
    [InlineData("CFFAEDFE0700000103000000")]
    [InlineData("CAFEBABE0000003400")]
    public void A_magic_number_alone_is_no_executable(string hex) => Assert.Null(Executables.KindOf([.. Convert.FromHexString(hex), .. new byte[1024]]));

    [Fact]
    public void Whatever_the_bytes_are_only_bytes_of_them_are_read()
    {
        byte[][] seeds = [File.ReadAllBytes(Tool.Find(ClamdServer.TestFile)), File.ReadAllBytes(Tool.Find("bash"))[..1024], [.. Convert.FromHexString("CFFAEDFE070000010300000002000000100000005805000085002000000000001900000048000000"), .. new byte[64]]];
        var random = new Random(11);
        for (int round = 0; round < 20_000; round++)
        {
            byte[] seed = seeds[round % 3];
            byte[] bytes = seed[..random.Next(seed.Length + 1)];
            for (int i = random.Next(4); i > 0 && bytes.Length > 0; i--)
            {
                bytes[random.Next(Math.Min(bytes.Length, 400))] = (byte)random.Next(256);
            }

            List<Detection> found = [];
            Executables.Add(bytes, random.Next(2) * 512, found);
            BootCode.AddOfVolume(bytes, found);
            BootCode.AddOfDisk(bytes, found);
        }
    }

    [Fact]
    public void Executables_are_counted_by_place_in_any_window()
    {
        byte[] pe = File.ReadAllBytes(Tool.Find(ClamdServer.TestFile));
        byte[] area = new byte[64 * 1024];
        for (int i = 0; i < 20; i++)
        {
            pe.AsSpan(0, 512).CopyTo(area.AsSpan(1024 + (i * 2048)));
        }

        pe.CopyTo(area, 60_001);
        List<Detection> found = [];
        Executables.Add(area, 0, found);
        Assert.Equal((16, 4), (Assert.Single(found).Matches.Count, found[0].MatchesLeftOut));
        Assert.Equal(1024, found[0].Matches[0].Offset);

        // A window may begin within a sector.
        found.Clear();
        Executables.Add(area.AsSpan(100), 100, found);
        Assert.Equal(1024, Assert.Single(found).Matches[0].Offset);
    }

    [Fact]
    public void Every_detection_has_an_id_and_a_text_of_its_own()
    {
        Assert.Equal(BuiltinDetection.All.Count, BuiltinDetection.All.Select(d => d.Id).Distinct().Count());
        Assert.All(BuiltinDetection.All, d => Assert.Matches(@"\A[A-Z][A-Za-z]+_[A-Z][A-Za-z]+\z", d.Id));
        Assert.All(BuiltinDetection.All, d => Assert.True(d.Description.Length > 20));
        string readme = File.ReadAllText(Path.Combine(RepositoryRoot.Path, "README.md"));
        Assert.All(BuiltinDetection.All, d => Assert.Contains($"`{d.Id}`", readme, StringComparison.Ordinal));
    }

    private static GuestFile FileOf(byte[] name) => new()
    {
        Kind = GuestFileKind.Regular,
        Id = 1,
        SizeBytes = 0,
        FirstByte = -1,
        Links = [new GuestLink(new GuestFolder(null, []), name)],
    };
}
