using System.Buffers.Binary;
using System.Text;
using Vmsweep.Golden;
using Vmsweep.Signatures.Archives;
using Vmsweep.Signatures.Archives.Decoders;

namespace Vmsweep.Signatures.Tests.Archives;

/// <summary>A few bytes that make a reader hold many: tables of what an archive declares. And what is put where readers pass over it.</summary>
public sealed class AmplifierTests : IDisposable
{
    private const long Memory = 32 << 20;
    private const long MostAllocated = 256 << 20;

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_7z_header_that_declares_more_files_than_it_names()
    {
        const int Padding = 8 << 20;
        byte[] header = [1, 5, .. Number(Padding * 7L), 17, 1, 0, 0x19, .. Number(Padding), .. new byte[Padding], 0, 0];
        AssertBounded(SevenZip(header), "7z header");
    }

    [Fact]
    public void Folders_of_7z_without_anything_in_them()
    {
        // A folder of one coder without a name, in three bytes, and sizes of one byte.
        const int Folders = 1_000_000;
        byte[] header = [1, 4, 6, 0, .. Number(0), 0, 7, 11, .. Number(Folders), 0, .. Enumerable.Repeat<byte[]>([1, 0], Folders).SelectMany(f => f), 12, .. new byte[Folders], 0, 0, 0];
        AssertBounded(SevenZip(header), "7z header");
    }

    [Fact]
    public void Names_of_compiled_help_of_five_bytes_each()
    {
        const int ChunkBytes = 1 << 20, Chunks = 12;
        byte[] help = new byte[0x60 + 0x54 + (Chunks * ChunkBytes)];
        "ITSF\u0003"u8.CopyTo(help);
        BinaryPrimitives.WriteInt32LittleEndian(help.AsSpan(8), 0x60);
        BinaryPrimitives.WriteInt64LittleEndian(help.AsSpan(0x48), 0x60);
        "ITSP"u8.CopyTo(help.AsSpan(0x60));
        BinaryPrimitives.WriteInt32LittleEndian(help.AsSpan(0x60 + 8), 0x54);
        BinaryPrimitives.WriteInt32LittleEndian(help.AsSpan(0x60 + 16), ChunkBytes);
        BinaryPrimitives.WriteInt32LittleEndian(help.AsSpan(0x60 + 0x2C), Chunks);
        for (int chunk = 0; chunk < Chunks; chunk++)
        {
            Span<byte> bytes = help.AsSpan(0x60 + 0x54 + (chunk * ChunkBytes), ChunkBytes);
            "PMGL"u8.CopyTo(bytes);
            BinaryPrimitives.WriteInt32LittleEndian(bytes[4..], 6);
            for (int at = 0x14; at + 5 <= ChunkBytes - 6; at += 5)
            {
                bytes[at] = 1;
                bytes[at + 1] = (byte)'a';
            }
        }

        AssertBounded(help, "chm directory");
    }

    [Fact]
    public void Streams_of_a_compound_file_below_sixty_long_names()
    {
        const int FatSectors = 100, Entries = 40_000, Depth = 60;
        byte[] file = new byte[512 + (FatSectors * 512) + (Entries * 128)];
        ((ReadOnlySpan<byte>)[0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1]).CopyTo(file);
        Write16(24, 0x3E);
        Write16(26, 3);
        Write16(28, 0xFFFE);
        Write16(30, 9);
        Write16(32, 6);
        Write32(48, FatSectors);
        Write32(56, 4096);
        Write32(60, 0xFFFF_FFFE);
        Write32(68, 0xFFFF_FFFE);
        for (int i = 0; i < 109; i++)
        {
            Write32(76 + (4 * i), i < FatSectors ? (uint)i : uint.MaxValue);
        }

        for (int sector = 0; sector < FatSectors * 128; sector++)
        {
            Write32(512 + (4 * sector), sector < FatSectors || sector >= FatSectors + (Entries / 4) ? uint.MaxValue : sector == FatSectors + (Entries / 4) - 1 ? 0xFFFF_FFFE : (uint)sector + 1);
        }

        for (int i = 0; i < Entries; i++)
        {
            int at = 512 + (FatSectors * 512) + (i * 128);
            Encoding.Unicode.GetBytes(new string('n', 31)).CopyTo(file, at);
            Write16(at + 64, 64);
            file[at + 66] = (byte)(i == 0 ? 5 : i <= Depth ? 1 : 2);
            Write32(at + 68, uint.MaxValue);
            Write32(at + 72, i > Depth && i < Entries - 1 ? (uint)i + 1 : uint.MaxValue);
            Write32(at + 76, i <= Depth ? (uint)i + 1 : uint.MaxValue);
        }

        AssertBounded(file, "ole directory");

        void Write16(int at, int value) => BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(at), (ushort)value);
        void Write32(int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(at), value);
    }

    [Theory]
    [InlineData("--b\n\n")]
    [InlineData("a:\n")]
    [InlineData("--b\nContent-Type: message/rfc822\n\nb:\n\n")]
    public void Parts_and_headers_of_a_mail_of_a_few_bytes_each(string piece)
    {
        var mail = new StringBuilder("From: a\nContent-Type: multipart/mixed; boundary=b\n");
        mail.Append(piece[0] == '-' ? "\n" : "");
        for (int i = 0; i < 8_000_000 / piece.Length; i++)
        {
            mail.Append(piece);
        }

        AssertBounded(Encoding.ASCII.GetBytes(mail.ToString()), "mail");
    }

    [Fact]
    public void Ordinary_mail_with_lines_like_headers_in_its_text_is_read()
    {
        string text = string.Concat(Enumerable.Range(0, 200_000).Select(i => $"key{i}: value\n"));
        string mail = $"From: a\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; name=log.txt\n\n{text}\n--b--\n";
        Opened opened = Opened.Of(Encoding.ASCII.GetBytes(mail), memory: Memory);
        Assert.Empty(opened.Gaps);
        Assert.Equal(["log.txt"], opened.Names);
    }

    [Fact]
    public void Archives_of_a_program_behind_others_are_opened_or_a_gap()
    {
        Tool.Shell("echo hidden > hidden; 7z a -bd -t7z hidden.7z hidden >/dev/null", _scratch.Folder);
        byte[] hidden = File.ReadAllBytes(_scratch["hidden.7z"]);
        byte[] program = new byte[0x200];
        "MZ"u8.CopyTo(program);
        program[0x3C] = 0x80;
        "PE\0\0"u8.CopyTo(program.AsSpan(0x80));

        // Behind a RAR, behind a cabinet that declares to hold it, and behind a 7z that ends outside of the file.
        byte[] rar = RarWriter.Rar5(("shown", [1]));
        byte[] cabinet = new byte[64];
        "MSCF"u8.CopyTo(cabinet);
        BinaryPrimitives.WriteUInt32LittleEndian(cabinet.AsSpan(8), 1 << 20);
        BinaryPrimitives.WriteUInt32LittleEndian(cabinet.AsSpan(16), 44);
        (cabinet[24], cabinet[25]) = (3, 1);
        byte[] cut = SevenZip([1, 0])[..32];
        BinaryPrimitives.WriteInt64LittleEndian(cut.AsSpan(12), 1 << 30);
        BinaryPrimitives.WriteUInt32LittleEndian(cut.AsSpan(8), Crc32.Of(cut.AsSpan(12, 20)));
        foreach (byte[] before in (byte[][])[rar, cabinet, cut])
        {
            Assert.Contains("hidden", Opened.Of([.. program, .. before, .. hidden]).Names);
        }

        // Behind more than are looked for.
        byte[] empty = SevenZip([]);
        Opened opened = Opened.Of([.. program, .. Enumerable.Repeat(empty, 100).SelectMany(e => e), .. hidden]);
        Assert.True(opened.Names.Contains("hidden") || opened.Gaps.Any(g => g.Fault == ArchiveFault.Limit), opened.ToString());
    }

    [Fact]
    public void Folders_of_a_cabinet_beside_one_that_cannot_be_read_are_read()
    {
        Tool.Shell("echo kept > kept; gcab -c -n out.cab kept", _scratch.Folder);
        byte[] sound = File.ReadAllBytes(_scratch["out.cab"]);

        // One more folder before the one there is, packed with Quantum, and a file in it.
        int files = (int)BinaryPrimitives.ReadUInt32LittleEndian(sound.AsSpan(16));
        byte[] name = [.. "lost\0"u8];
        int shift = 8 + 16 + name.Length;
        byte[] folder = new byte[8];
        folder[6] = 2;
        byte[] file = new byte[16];
        file[0] = 5;
        byte[] cabinet = [.. sound[..36], .. folder, .. sound[36..files], .. file, .. name, .. sound[files..]];
        Add32(8, shift);
        Add32(16, 8);
        Add32(44, shift);
        Add16(26, 1);
        Add16(28, 1);
        Add16(files + 8 + 16 + name.Length + 8, 1);
        Opened opened = Opened.Of(cabinet);
        Assert.Equal(["kept"], opened.Names);
        Assert.Equal(ArchiveFault.Unsupported, Assert.Single(opened.Gaps).Fault);

        void Add32(int at, int more) => BinaryPrimitives.WriteUInt32LittleEndian(cabinet.AsSpan(at), BinaryPrimitives.ReadUInt32LittleEndian(cabinet.AsSpan(at)) + (uint)more);
        void Add16(int at, int more) => BinaryPrimitives.WriteUInt16LittleEndian(cabinet.AsSpan(at), (ushort)(BinaryPrimitives.ReadUInt16LittleEndian(cabinet.AsSpan(at)) + more));
    }

    [Fact]
    public void A_stream_of_a_PDF_that_calls_itself_a_picture_is_opened()
    {
        byte[] packed = Tool.RunRaw("python3", _scratch.Folder, "-c", "import sys,zlib; sys.stdout.buffer.write(zlib.compress(b'the script'))");
        byte[] pdf = [.. "%PDF-1.4\n1 0 obj\n<</Subtype /Image /Filter /FlateDecode>>\nstream\n"u8, .. packed, .. "\nendstream\nendobj\ntrailer\n"u8];
        Assert.Equal(10, Assert.Single(Opened.Of(pdf).Members).Length);
    }

    private static void AssertBounded(byte[] content, string? gap)
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        Opened opened = Opened.Of(content, memory: Memory);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.True(allocated < MostAllocated, $"{allocated} bytes for {content.Length}");
        Assert.True(gap is null || opened.Gaps.Any(g => g.Fault == ArchiveFault.Limit && g.Structure == gap), opened.ToString());
    }

    private static byte[] SevenZip(byte[] header)
    {
        byte[] start = new byte[32];
        ((ReadOnlySpan<byte>)[0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C, 0, 4]).CopyTo(start);
        BinaryPrimitives.WriteInt64LittleEndian(start.AsSpan(20), header.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(start.AsSpan(28), Crc32.Of(header));
        BinaryPrimitives.WriteUInt32LittleEndian(start.AsSpan(8), Crc32.Of(start.AsSpan(12, 20)));
        return [.. start, .. header];
    }

    /// <summary>Always in the form of nine bytes.</summary>
    private static byte[] Number(long value)
    {
        byte[] bytes = new byte[9];
        bytes[0] = 0xFF;
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(1), value);
        return bytes;
    }
}
