using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs.Vss;

/// <summary>A file system with a shadow copy.</summary>
internal static class VssNtfs
{
    /// <summary>An NTFS volume with a file, and a shadow copy from before that file was overwritten.</summary>
    public static readonly Lazy<byte[]> Disk = new(() =>
    {
        using var scratch = new Scratch();
        byte[] then = File.ReadAllBytes(NtfsImage.Make(scratch.Folder, "4M", "", "head -c 50000 /dev/zero | tr '\\0' a > file; printf gone > gone; head -c 500000 /dev/zero > room"));
        NtfsImage.Mounted(scratch.Folder, scratch["ntfs.img"], "streams_interface=windows", "head -c 50000 /dev/zero | tr '\\0' b > file; rm gone");
        byte[] now = File.ReadAllBytes(scratch["ntfs.img"]);

        // Stores behind the file system: the volume is longer than it.
        var image = new VssImage(now);
        VssImage.Store store = image.Snapshot();
        for (int block = 0; block < then.Length / VssImage.Block; block++)
        {
            Span<byte> old = then.AsSpan(block * VssImage.Block, VssImage.Block);
            if (block != 0 && !old.SequenceEqual(now.AsSpan(block * VssImage.Block, VssImage.Block)))
            {
                int at = image.Data(0);
                old.CopyTo(image.Bytes.AsSpan(at));
                image.Describe(store, block * VssImage.Block, at - store.HeaderAt, at, 0, 0);
            }
        }

        return image.Bytes;
    });
}
