using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.EndToEnd;

/// <summary>Disks made by other people's tools.</summary>
internal static class TestDisks
{
    /// <summary>EICAR's test file, put together here so that this source is not one.</summary>
    public static string Eicar { get; } = string.Concat(@"X5O!P%@AP[4\PZX54(P^)7CC)7}", "$EICAR-", "STANDARD-ANTIVIRUS-", "TEST-FILE!$H+H*");

    /// <summary>A raw GPT disk of 48 MiB: an ext4 volume from a folder's files, and a FAT volume with the same ones.</summary>
    public static string Raw(Scratch scratch, IReadOnlyDictionary<string, string> files)
    {
        string folder = Directory.CreateDirectory(scratch["files"]).FullName;
        foreach ((string path, string content) in files)
        {
            string target = Path.Combine(folder, path);
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.WriteAllText(target, content);
        }

        Tool.Shell("""
            truncate -s 48M disk.raw
            sgdisk -n 1:2048:+24M -t 1:8300 -n 2:0:+16M -t 2:0700 disk.raw
            mke2fs -q -F -t ext4 -d files ext.raw 24M
            truncate -s 16M fat.raw
            mkfs.fat -F 16 fat.raw
            mcopy -s -i fat.raw files/* ::
            dd if=ext.raw of=disk.raw bs=1M seek=1 conv=notrunc status=none
            dd if=fat.raw of=disk.raw bs=1M seek=25 conv=notrunc status=none
            rm -r ext.raw fat.raw files
            """, scratch.Folder);
        return scratch["disk.raw"];
    }

    public static string Convert(Scratch scratch, string source, string name, string format, string options = "")
    {
        string[] more = options.Length > 0 ? ["-o", options] : [];
        Tool.Run("qemu-img", ["convert", "-O", format, .. more, source, scratch[name]]);
        return scratch[name];
    }
}
