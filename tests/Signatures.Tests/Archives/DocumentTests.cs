using System.Text;
using Vmsweep.Golden;

namespace Vmsweep.Signatures.Tests.Archives;

/// <summary>Documents and packages that other programs wrote, with EICAR's test file in them.</summary>
public sealed class DocumentTests : IDisposable
{
    // Put together here, so that this source is not itself what it looks for.
    private static readonly string Eicar = @"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-ANTIVIRUS" + "-TEST-FILE!$H+H*";

    private readonly Scratch _scratch = new();

    public DocumentTests() => File.WriteAllText(_scratch["e.com"], Eicar);

    public void Dispose() => _scratch.Dispose();

    /// <summary>The ways in to EICAR in a file that a script made.</summary>
    private string[] Found(string script, string file)
    {
        Tool.Shell(script, _scratch.Folder);
        Opened opened = Opened.Of(File.ReadAllBytes(_scratch[file]), keep: true);
        Assert.Empty(opened.Gaps);
        return [.. opened.Contents.Where(c => c.Value.AsSpan().SequenceEqual(Encoding.ASCII.GetBytes(Eicar))).Select(c => c.Key).Order(StringComparer.Ordinal)];
    }

    /// <summary>A small stream lies in the short sectors, one with a file behind it in the long ones; msitools writes both, and MSI packs the names.</summary>
    [Fact]
    public void Streams_of_an_MSI_package_are_found_under_the_names_that_msibuild_gave_them()
    {
        Tool.Find("msibuild");
        string[] found = Found(
            """
            mkdir Binary && cp e.com Binary/ && seq 1 9000 > n && cp e.com in.com && python3 -m zipfile -c big.zip n in.com
            printf 'Name\tData\r\ns72\tv0\r\nBinary\tName\r\nmark\te.com\r\n' > Binary.idt
            msibuild a.msi -i Binary.idt; msibuild a.msi -a Payload.cab big.zip
            """,
            "a.msi");

        // The ZIP archive is found once more as one that lies behind something else.
        Assert.Equal(["Binary.mark", "Payload.cab > in.com"], found.Where(f => f != "in.com"));
    }

    /// <summary>[MS-OXMSG] 2.2.2: an attachment's storage with its data and its name; libgsf writes the compound file.</summary>
    [Fact]
    public void An_attachment_of_an_Outlook_message_has_its_own_name()
    {
        Tool.Find("gsf");
        string[] found = Found(
            """
            a='m/__attach_version1.0_#00000000'
            mkdir -p m/__nameid_version1.0 "$a" && head -c 64 /dev/zero | tee m/__properties_version1.0 > "$a/__properties_version1.0"
            cp e.com "$a/__substg1.0_37010102" && printf 'invoice.com' | iconv -t UTF-16LE > "$a/__substg1.0_3707001F"
            b='m/__attach_version1.0_#00000001' && mkdir "$b" && seq 1 9000 > n && python3 -m zipfile -c "$b/__substg1.0_37010102" n e.com
            printf 'papers.zip' | iconv -t UTF-16LE > "$b/__substg1.0_3707001F"
            (cd m && gsf createole ../a.msg * 2> /dev/null)
            """,
            "a.msg");
        Assert.Equal(["invoice.com", "papers.zip > e.com"], found.Where(f => f != "e.com"));
    }

    /// <summary>As Word and Java lay them out; written by Python.</summary>
    [Fact]
    public void A_document_and_a_program_for_Java_are_opened_as_ZIP_whatever_they_are_called()
    {
        string[] document = Found(
            """
            mkdir -p d/_rels d/word/embeddings d/word/_rels
            printf '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="bin" ContentType="application/vnd.openxmlformats-officedocument.oleObject"/></Types>' > 'd/[Content_Types].xml'
            printf '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"/>' | tee d/_rels/.rels > d/word/_rels/document.xml.rels
            printf '<?xml version="1.0"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"/>' > d/word/document.xml
            cp e.com d/word/embeddings/oleObject1.bin && cd d && python3 -m zipfile -c ../letter.docx '[Content_Types].xml' _rels word
            """,
            "letter.docx");
        Assert.Equal(["word/embeddings/oleObject1.bin"], document);
        string[] program = Found(
            """
            mkdir -p j/META-INF/lib j/org && printf 'Manifest-Version: 1.0\r\nMain-Class: org.A\r\n\r\n' > j/META-INF/MANIFEST.MF
            cp e.com j/org/A.class && cp letter.docx j/META-INF/lib/inner.jar && cd j && python3 -m zipfile -c ../a.jar META-INF org
            """,
            "a.jar");
        Assert.Equal(["META-INF/lib/inner.jar > word/embeddings/oleObject1.bin", "org/A.class"], program);
    }
}
