using System.Buffers.Binary;
using System.Text;
using Vmsweep.Golden;
using Vmsweep.Signatures.Archives.Decoders;

namespace Vmsweep.Signatures.Tests.Archives;

/// <summary>A small archive of each kind, by other people's programs where there is one, to be damaged.</summary>
internal static class Small
{
    private static readonly Dictionary<string, string> Commands = new(StringComparer.Ordinal)
    {
        ["zip"] = "zip -q -r out in",
        ["zip-stream"] = "zip -q -r - in | cat > out",
        ["zip-bzip2"] = "zip -q -Z bzip2 -r out in",
        ["zip-crypto"] = "zip -q -P infected -r out in",
        ["zip-aes"] = "7z a -bd -tzip -mem=AES256 -pinfected out in",
        ["zip-deflate64"] = "7z a -bd -tzip -mm=Deflate64 out in",
        ["zip-lzma"] = "7z a -bd -tzip -mm=LZMA out in",
        ["zip-ppmd"] = "7z a -bd -tzip -mm=PPMd:mem=1m out in",
        ["7z"] = "7z a -bd -t7z out in",
        ["7z-plain"] = "7z a -bd -t7z -mhc=off -ms=off -m0=BCJ -m1=LZMA:d=64k out in",
        ["7z-bcj2"] = "7z a -bd -t7z -mhc=off -m0=BCJ2 -m1=LZMA:d=64k -m2=LZMA:d=64k -m3=LZMA:d=64k -mb0:1 -mb0s1:2 -mb0s2:3 out in",
        ["7z-ppmd"] = "7z a -bd -t7z -mhc=off -m0=PPMd:mem=1m out in",
        ["tar"] = "tar -cf out in",
        ["gzip"] = "tar -cf - in | gzip > out",
        ["bzip2"] = "tar -cf - in | bzip2 > out",
        ["xz"] = "tar -cf - in | xz --block-size=3000 > out",
        ["lzip"] = "bsdtar --lzip -cf out in",
        ["lzma"] = "tar -cf - in | xz --format=lzma > out",
        ["zstd"] = "tar -cf - in | zstd -q > out",
        ["lz4"] = "tar -cf - in | lz4 -q > out",
        ["compress"] = "bsdtar -Z -cf out in",
        ["cab"] = "gcab -c -z -n out.cab in/program in/text.txt && mv out.cab out",
        ["cpio"] = "find in -type f | cpio -o -H newc --quiet > out",
        ["ar"] = "ar rc out in/program in/text.txt",
        ["arj"] = "arj a -m1 -r out.arj in >/dev/null",
        ["arj-fastest"] = "arj a -m4 -ginfected -r out.arj in >/dev/null",
        ["lha"] = "jlha a1o5 out.lzh in/program in/text.txt >/dev/null",
        ["lha-2"] = "jlha a2o6 out.lzh in/program in/text.txt >/dev/null",
        ["xar"] = "bsdtar --format xar -cf out in",
        ["msi"] = "msibuild out -s Title Author && msibuild out -a Stream.one in/program -a Stream.two in/text.txt",
        ["nsis"] = "printf '%s\\n' 'SetCompressor zlib' 'Name t' 'OutFile out.exe' 'Section A' 'SetOutPath $TEMP' 'File in/program' 'File in/text.txt' 'SectionEnd' > t.nsi && makensis -V1 t.nsi",
        ["nsis-solid"] = "printf '%s\\n' 'SetCompressor /SOLID lzma' 'SetCompressorDictSize 1' 'Name t' 'OutFile out.exe' 'Section A' 'SetOutPath $TEMP' 'File in/program' 'File in/text.txt' 'SectionEnd' > t.nsi && makensis -V1 t.nsi",
        ["nsis-bzip2"] = "printf '%s\\n' 'SetCompressor /SOLID bzip2' 'Name t' 'OutFile out.exe' 'Section A' 'SetOutPath $TEMP' 'File in/program' 'File in/text.txt' 'SectionEnd' > t.nsi && makensis -V1 t.nsi",
        ["mail"] = "python3 -c \"import email.message as m; e=m.EmailMessage(); e['From']='a@example.com'; e['Subject']='x'; e.set_content('text'); [e.add_attachment(open('in/'+f,'rb').read(), maintype='application', subtype='octet-stream', filename=f) for f in ('program','text.txt')]; open('out','wb').write(bytes(e))\"",
    };

    public static IEnumerable<string> Kinds { get; } = [.. Commands.Keys, "rar4", "rar5", "chm", "szdd", "tnef", "pdf", "ole-doc", "installshield"];

    public static byte[] Make(string kind, string folder)
    {
        byte[] text = Encoding.ASCII.GetBytes(string.Join('\n', Enumerable.Range(0, 700)));
        byte[] program = File.ReadAllBytes("/usr/bin/env")[0x2000..0x3200];
        switch (kind)
        {
            case "installshield":
                byte[] starter = File.ReadAllBytes("/usr/share/clamav-testfiles/clam_IScab_ext.exe");
                return [.. starter.AsSpan(115_200, 585), .. Encoding.ASCII.GetBytes($"text.txt\0Disk1\\text.txt\0" + $"1.0.0.0\0{text.Length}\0"), .. text];
            case "rar4":
                return RarWriter.Rar4(("program", program), ("text.txt", text));
            case "rar5":
                return RarWriter.Rar5(("program", program), ("text.txt", text));
            case "chm" or "tnef" or "pdf":
                return File.ReadAllBytes("/usr/share/clamav-testfiles/clam." + kind);
            case "szdd":
                return File.ReadAllBytes("/usr/share/clamav-testfiles/clam.exe.szdd");
            case "ole-doc":
                return File.ReadAllBytes("/usr/share/clamav-testfiles/clam.ole.doc");
        }

        Directory.CreateDirectory(Path.Combine(folder, "in"));
        File.WriteAllBytes(Path.Combine(folder, "in", "program"), program);
        File.WriteAllBytes(Path.Combine(folder, "in", "text.txt"), text);
        Tool.Shell("rm -f out; " + Commands[kind] + "; test -f out || mv out.* out", folder);
        return File.ReadAllBytes(Path.Combine(folder, "out"));
    }

    /// <summary>Makes outer checksums right again, so that damage behind them is met.</summary>
    public static void Repair(string kind, byte[] archive)
    {
        switch (kind)
        {
            case "7z" or "7z-plain" or "7z-bcj2" or "7z-ppmd" when archive.Length > 32:
                ulong offset = BinaryPrimitives.ReadUInt64LittleEndian(archive.AsSpan(12));
                ulong size = BinaryPrimitives.ReadUInt64LittleEndian(archive.AsSpan(20));
                if (offset < (ulong)archive.Length && size < (ulong)archive.Length && 32 + offset + size <= (ulong)archive.Length)
                {
                    BinaryPrimitives.WriteUInt32LittleEndian(archive.AsSpan(28), Crc32.Of(archive.AsSpan(32 + (int)offset, (int)size)));
                }

                BinaryPrimitives.WriteUInt32LittleEndian(archive.AsSpan(8), Crc32.Of(archive.AsSpan(12, 20)));
                break;
            case "xz" when archive.Length > 40:
                int length = (archive[12] + 1) * 4;
                if (12 + length < archive.Length)
                {
                    BinaryPrimitives.WriteUInt32LittleEndian(archive.AsSpan(12 + length - 4), Crc32.Of(archive.AsSpan(12, length - 4)));
                }

                break;
            case "tar" when archive.Length >= 512:
                int sum = archive.AsSpan(0, 512).ToArray().Sum(b => b) - archive.AsSpan(148, 8).ToArray().Sum(b => b) + (8 * ' ');
                Encoding.ASCII.GetBytes(Convert.ToString(sum, 8).PadLeft(6, '0') + "\0 ").CopyTo(archive, 148);
                break;
            case "rar5" when archive.Length > 40:
                for (int at = 8; at + 10 < archive.Length && archive[at + 4] < 0x80 && at + 5 + archive[at + 4] < archive.Length; at += 5 + archive[at + 4])
                {
                    BinaryPrimitives.WriteUInt32LittleEndian(archive.AsSpan(at), Crc32.Of(archive.AsSpan(at + 4, 1 + archive[at + 4])));
                    if (archive[at + 5] != 1)
                    {
                        break;
                    }
                }

                break;
            case "arj" or "arj-fastest":
                for (int at = 0; at + 40 < archive.Length && archive[at] == 0x60 && archive[at + 1] == 0xEA;)
                {
                    int header = BinaryPrimitives.ReadUInt16LittleEndian(archive.AsSpan(at + 2));
                    if (header is < 30 or > 2600 || at + header + 10 > archive.Length)
                    {
                        break;
                    }

                    BinaryPrimitives.WriteUInt32LittleEndian(archive.AsSpan(at + 4 + header), Crc32.Of(archive.AsSpan(at + 4, header)));
                    uint packed = archive[at + 10] == 2 ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(archive.AsSpan(at + 16));
                    at = (int)Math.Min(archive.Length, at + header + 10L + packed);
                }

                break;
            case "lha" when archive.Length > 24 && archive[0] + 2 <= archive.Length:
                archive[1] = (byte)archive.AsSpan(2, archive[0]).ToArray().Sum(b => b);
                break;
            case "cab" when archive.Length > 44:
                // A checksum of zero means none.
                uint data = BinaryPrimitives.ReadUInt32LittleEndian(archive.AsSpan(36));
                if (data < archive.Length - 4)
                {
                    archive.AsSpan((int)data, 4).Clear();
                }

                break;
        }
    }
}
