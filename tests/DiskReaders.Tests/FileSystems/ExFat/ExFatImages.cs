using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.ExFat;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.ExFat;

/// <summary>Volumes of mkfs.exfat, filled through exfat-fuse, and changes to them with checksums made right again.</summary>
internal static class ExFatImages
{
    private const int EntryBytes = 32;

    private static readonly Lazy<byte[]> Cached = new(() =>
    {
        using var scratch = new Scratch();
        return File.ReadAllBytes(Make(scratch, 1024, """
            mkdir -p d/e; for i in $(seq 1 20); do head -c 700 /dev/urandom > f$i; done; for i in $(seq 1 2 20); do rm f$i; done
            head -c 30000 /dev/urandom > 'pieces ü'; echo hi > d/e/hello; : > empty; truncate -s 9000 tail; head -c 600 /dev/urandom > d/contiguous
            """, "-c", "4K", "-b", "4K", "-L", "LABEL"));
    });

    /// <summary>One small volume with a file in pieces; a copy of its own for each caller.</summary>
    public static byte[] Small() => (byte[])Cached.Value.Clone();

    /// <summary>A volume filled by a script that runs in its root; what it then holds lies in <c>content</c>.</summary>
    public static string Make(Scratch scratch, int kibibytes, string script, params string[] mkfs)
    {
        string path = scratch["exfat.raw"];
        using (FileStream file = File.Create(path))
        {
            file.SetLength((long)kibibytes << 10);
        }

        Tool.Run("mkfs.exfat", [.. mkfs, path]);
        Tool.Find("mount.exfat-fuse");
        Tool.Shell($$"""
            loop=$(losetup -f --show exfat.raw); trap 'umount mnt 2>/dev/null || true; losetup -d $loop' EXIT
            mkdir mnt content; mount.exfat-fuse $loop mnt > /dev/null
            ( cd mnt; {{script}} )
            cp -r mnt/. content/
            """, scratch.Folder);
        return path;
    }

    public static VolumeListing List(byte[] image) => VolumeListing.Of(new ExFatFormat(), image);

    public static void ReadAll(byte[] image, ReadContext context) => VolumeListing.ReadAll(new ExFatFormat(), image, context);

    public static int HeapAt(byte[] image) => BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(88)) << image[108];

    public static int FatAt(byte[] image) => BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(80)) << image[108];

    public static int ClusterAt(byte[] image, int cluster) => HeapAt(image) + ((cluster - 2) << (image[108] + image[109]));

    public static int RootAt(byte[] image) => ClusterAt(image, BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(96)));

    /// <summary>Where the entry set of a name begins that fits one File Name entry.</summary>
    public static int SetOf(byte[] image, string name)
    {
        byte[] wanted = [0xC1, 0, .. System.Text.Encoding.Unicode.GetBytes(name)];
        for (int at = HeapAt(image); at < image.Length; at += EntryBytes)
        {
            if (image.AsSpan(at, wanted.Length).SequenceEqual(wanted) && image[at - (2 * EntryBytes)] == 0x85 && image[at - EntryBytes + 3] == name.Length)
            {
                return at - (2 * EntryBytes);
            }
        }

        throw new InvalidOperationException($"no {name}");
    }
}
