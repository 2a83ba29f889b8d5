using System.Text;
using Vmsweep.Golden;
using Vmsweep.Signatures.Archives;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Tests;

/// <summary>The table of types beside another program's, and what hangs on it.</summary>
public sealed class FileTypesTests
{
    [Theory]
    [InlineData("MZ", "EXE")]
    [InlineData("\u007FELF", "ELF")]
    [InlineData("PK\u0003\u0004", "ZIP")]
    [InlineData("PK\u0001\u0002", "")]
    [InlineData("PK", "")]
    [InlineData("RIFF____WAVE", "WAV")]
    [InlineData("RIFF____AVI ", "AVI")]
    [InlineData("RIFF____WAV", "")]
    [InlineData("<!DOCTYPE HTML PUBLIC", "HTML")]
    [InlineData("<HTML>", "HTML")]
    [InlineData("<?php", "PHP")]
    [InlineData("<body>", "")]
    [InlineData("#!/bin/sh", "SCRIPT")]
    [InlineData("", "")]
    [InlineData("M", "")]
    [InlineData("plain text", "")]
    public void A_head_has_its_type(string head, string type) => Assert.Equal(type, FileTypes.Of(Encoding.Latin1.GetBytes(head)));

    [Theory]
    [InlineData(new byte[] { 0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 2 }, "MACHO")]
    [InlineData(new byte[] { 0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 52 }, "CLASS")]
    [InlineData(new byte[] { 0x5A, 0x2A, 0x4D, 0x18, 4, 0, 0, 0 }, "ZSTD")]
    [InlineData(new byte[] { 0x6A, 0x2A, 0x4D, 0x18, 4, 0, 0, 0 }, "")]
    public void Binary_heads_too(byte[] head, string type) => Assert.Equal(type, FileTypes.Of(head));

    /// <summary>Everything that a Linux installation has, as the program <c>file</c> names it.</summary>
    [Fact]
    [Trait("Category", "Slow")]
    public void Programs_archives_and_documents_of_this_machine_are_what_file_says()
    {
        Dictionary<string, string> types = new(StringComparer.Ordinal)
        {
            ["application/x-executable"] = "ELF", ["application/x-sharedlib"] = "ELF", ["application/x-pie-executable"] = "ELF", ["application/zip"] = "ZIP",
            ["application/java-archive"] = "ZIP", ["application/gzip"] = "GZIP", ["application/x-xz"] = "XZ", ["application/zstd"] = "ZSTD", ["application/x-bzip2"] = "BZIP2",
            ["application/pdf"] = "PDF", ["image/png"] = "PNG", ["image/jpeg"] = "JPG", ["image/gif"] = "GIF", ["application/x-7z-compressed"] = "7Z", ["application/x-rar"] = "RAR",
            ["application/vnd.ms-cab-compressed"] = "CAB", ["application/vnd.microsoft.portable-executable"] = "EXE", ["application/x-dosexec"] = "EXE", ["text/x-php"] = "PHP",
            ["application/x-archive"] = "AR", ["application/x-rpm"] = "RPM", ["application/x-tar"] = "TAR", ["text/html"] = "HTML",
        };
        string listed = Tool.Shell("find /usr/bin /usr/lib/python3 /usr/share/clamav-testfiles /usr/share/perl /usr/share/doc /usr/lib/x86_64-linux-gnu -xdev -type f -size +16c | head -n 20000 | file -N --mime-type -f - ", "/");
        int compared = 0;
        List<string> wrong = [];
        foreach (string line in listed.Split('\n'))
        {
            int colon = line.LastIndexOf(": ", StringComparison.Ordinal);
            if (colon < 0 || !types.TryGetValue(line[(colon + 2)..].Trim(), out string? wanted))
            {
                continue;
            }

            string path = line[..colon];
            byte[] head = new byte[FileTypes.HeadBytes];
            using FileStream stream = File.OpenRead(path);
            string found = FileTypes.Of(head.AsSpan(0, stream.ReadAtLeast(head, head.Length, throwOnEndOfStream: false)));
            compared++;

            // Pages and mails may begin with something else before their first mark, and tar of before POSIX has no mark at all.
            if (found != wanted && !(found.Length == 0 && wanted is "HTML" or "PHP" or "TAR" or "ZIP" or "EXE") && !(found is "SCRIPT" or "XML"))
            {
                wrong.Add($"{path}: {found}, and file says {wanted}");
            }
        }

        Assert.Empty(wrong);
        Assert.True(compared > 500, $"only {compared} files were compared");
    }

    /// <summary>The choice by the first byte leaves out no format that would fit.</summary>
    [Fact]
    public void No_format_that_fits_is_left_out_by_its_types()
    {
        foreach (string sample in Directory.GetFiles("/usr/share/clamav-testfiles"))
        {
            byte[] content = File.ReadAllBytes(sample);
            Assert.Equal(ArchiveFormats.BuiltIn.Where(f => f.Fits(content)).Select(f => f.Name), ArchiveFormats.All.Asked(content).Where(f => f.Fits(content)).Select(f => f.Name));
        }
    }
}
