using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Btrfs;

/// <summary>Images that mkfs.btrfs and the kernel make.</summary>
internal static class BtrfsImages
{
    /// <summary>Content of every kind, for a script that runs in the mounted folder.</summary>
    public const string Mixture = """
        mkdir -p a/b many; head -c 3000000 /dev/urandom > large; printf tiny > tiny; : > empty; seq 1 300 > inline; seq 1 200000 > text
        ln tiny a/hard; ln -s target link; ln -s "$(printf 'y%.0s' $(seq 1 1000))" linklong; mkfifo fifo; mknod null c 1 3
        truncate -s 9000000 sparse; printf mid | dd of=sparse bs=1 seek=5000000 conv=notrunc status=none
        fallocate -l 300000 prealloc; printf start | dd of=prealloc conv=notrunc status=none; : > beyond; fallocate -n -l 500000 beyond
        for i in $(seq 1 200); do echo "$i $i" > "many/a name of some length $i"; done
        for i in $(seq 1 70); do ln tiny "many/a much longer hard link name, so that references no longer fit one item of a node of the tree $i"; done
        printf odd > "$(printf 'odd \377 \t name')"; cp --reflink=always large shared
        (seq 1 30000; head -c 200000 /dev/urandom; seq 1 9000; head -c 5000 /dev/zero) > packed
        dd if=/dev/urandom of=packed bs=4096 count=3 seek=10 conv=notrunc status=none; sync; dd if=/dev/urandom of=text bs=4096 count=1 seek=100 conv=notrunc status=none
        truncate -s 100001 packed2; seq 1 50000 >> packed2; truncate -s 200000 packed2
        """;

    /// <summary>Few files of many kinds.</summary>
    public const string Small = """
        mkdir -p a/b many; head -c 20000 /dev/urandom > large; printf tiny > tiny; seq 1 300 > inline; seq 1 9000 > text; ln tiny a/hard; ln -s target link
        truncate -s 9000000 sparse; printf mid | dd of=sparse bs=1 seek=5000000 conv=notrunc status=none; fallocate -l 30000 prealloc
        for i in $(seq 1 40); do echo "$i $i" > "many/a name of some length $i"; done; btrfs -q subvolume create sub; seq 1 500 > sub/file; btrfs -q subvolume snapshot sub snap
        """;

    /// <summary>Makes a file system on one or several files, mounts it and runs a script in it.</summary>
    public static string[] Make(Scratch scratch, int devices, string mkfs, string script, string options = "", string size = "200M")
    {
        string[] images = [.. Enumerable.Range(0, devices).Select(i => scratch[$"dev{i}"])];
        Tool.Shell($$"""
            export PATH=$PATH:/usr/sbin:/sbin
            for f in {{string.Join(' ', images)}}; do truncate -s {{size}} $f; done
            mkfs.btrfs -q -f {{mkfs}} {{string.Join(' ', images)}} >/dev/null
            loops=(); mnt={{scratch["made"]}}; mkdir -p $mnt
            trap 'umount $mnt 2>/dev/null || true; for l in "${loops[@]}"; do losetup -d $l; done' EXIT
            for f in {{string.Join(' ', images)}}; do loops+=($(losetup --show -f $f)); done
            btrfs device scan --forget >/dev/null 2>&1 || true
            more=; for l in "${loops[@]:1}"; do more=$more,device=$l; done
            mount -t btrfs -o noatime{{(options.Length > 0 ? "," + options : "")}}$more ${loops[0]} $mnt
            ( cd $mnt; {{script}}
            )
            """, scratch.Folder);
        return images;
    }

    /// <summary>
    /// What is stored of an image, block by block: a count, the numbers of the blocks (little-endian), the length in blocks, and the blocks. So an
    /// image of many megabytes becomes one that can be damaged thousands of times.
    /// </summary>
    public static byte[] Pack(string path)
    {
        byte[] image = File.ReadAllBytes(path);
        List<int> blocks = [];
        for (int block = 0; block < image.Length / PackedImage.BlockBytes; block++)
        {
            if (image.AsSpan(block * PackedImage.BlockBytes, PackedImage.BlockBytes).ContainsAnyExcept((byte)0))
            {
                blocks.Add(block);
            }
        }

        int head = PackedImage.HeadBytes(blocks.Count);
        byte[] packed = new byte[head + (blocks.Count * PackedImage.BlockBytes)];
        BinaryPrimitives.WriteInt32LittleEndian(packed, blocks.Count);
        BinaryPrimitives.WriteInt32LittleEndian(packed.AsSpan(4), image.Length / PackedImage.BlockBytes);
        for (int i = 0; i < blocks.Count; i++)
        {
            BinaryPrimitives.WriteInt32LittleEndian(packed.AsSpan(8 + (4 * i)), blocks[i]);
            image.AsSpan(blocks[i] * PackedImage.BlockBytes, PackedImage.BlockBytes).CopyTo(packed.AsSpan(head + (i * PackedImage.BlockBytes)));
        }

        return packed;
    }

    /// <summary>Recomputes the checksums of superblocks and nodes of one block each, CRC-32C.</summary>
    public static void Repair(byte[] packed)
    {
        int count = BinaryPrimitives.ReadInt32LittleEndian(packed);
        int head = PackedImage.HeadBytes(count);
        ReadOnlySpan<byte> fsid = [];
        for (int at = head; at + PackedImage.BlockBytes <= packed.Length; at += PackedImage.BlockBytes)
        {
            Span<byte> block = packed.AsSpan(at, PackedImage.BlockBytes);
            bool isSuper = block[0x40..].StartsWith("_BHRfS_M"u8);
            if (isSuper)
            {
                fsid = packed.AsSpan(at + 0x20, 16);
            }

            if (isSuper || (fsid.Length > 0 && block.Slice(0x20, 16).SequenceEqual(fsid)))
            {
                BinaryPrimitives.WriteUInt32LittleEndian(block, Crc32C.Compute(block[32..]));
            }
        }
    }

    /// <summary>Where superblocks and nodes lie in a packed image.</summary>
    public static List<(long Offset, long Length)> Metadata(byte[] packed)
    {
        List<(long, long)> regions = [];
        byte[]? fsid = null;
        for (int at = PackedImage.HeadBytes(BinaryPrimitives.ReadInt32LittleEndian(packed)); at < packed.Length; at += PackedImage.BlockBytes)
        {
            ReadOnlySpan<byte> block = packed.AsSpan(at, PackedImage.BlockBytes);
            if (block[0x40..].StartsWith("_BHRfS_M"u8))
            {
                fsid = block.Slice(0x20, 16).ToArray();
                regions.Add((at, 0x140));
                regions.Add((at + 0x32B, 200));
            }
            else if (fsid is not null && block.Slice(0x20, 16).SequenceEqual(fsid))
            {
                // Keys and pointers, then what the items hold.
                int entries = (int)BinaryPrimitives.ReadUInt32LittleEndian(block[0x60..]);
                regions.Add((at + 0x20, Math.Min(PackedImage.BlockBytes - 0x20, 0x50 + (entries * 33))));
                regions.Add((at + 0x65, PackedImage.BlockBytes - 0x65));
            }
        }

        return regions;
    }
}

/// <summary>A packed image as a source.</summary>
internal sealed class PackedImage : IBlockSource
{
    public const int BlockBytes = 4096;

    private readonly byte[] _packed;
    private readonly int _head;
    private readonly Dictionary<long, int> _blocks = [];

    public PackedImage(byte[] packed)
    {
        _packed = packed;
        int count = packed.Length < 8 ? 0 : BinaryPrimitives.ReadInt32LittleEndian(packed);
        count = Math.Clamp(count, 0, Math.Max(0, (packed.Length - 8) / (BlockBytes + 4)));
        _head = HeadBytes(count);
        Length = packed.Length < 8 ? 0 : Math.Clamp(BinaryPrimitives.ReadInt32LittleEndian(packed.AsSpan(4)), 0, 1 << 20) * (long)BlockBytes;
        for (int i = 0; i < count && _head + ((i + 1) * BlockBytes) <= packed.Length; i++)
        {
            _blocks[BinaryPrimitives.ReadInt32LittleEndian(packed.AsSpan(8 + (4 * i)))] = i;
        }
    }

    public long Length { get; }

    public static int HeadBytes(int blocks) => (8 + (4 * blocks) + 511) / 512 * 512;

    public void Read(long offset, Span<byte> destination)
    {
        Bounds.Check(offset, destination.Length, Length, "packed image");
        while (!destination.IsEmpty)
        {
            int within = (int)(offset % BlockBytes);
            Span<byte> part = destination[..Math.Min(destination.Length, BlockBytes - within)];
            if (_blocks.TryGetValue(offset / BlockBytes, out int block))
            {
                _packed.AsSpan(_head + (block * BlockBytes) + within, part.Length).CopyTo(part);
            }
            else
            {
                part.Clear();
            }

            offset += part.Length;
            destination = destination[part.Length..];
        }
    }

    public StoredExtent Locate(long offset, long count)
    {
        Bounds.Check(offset, count, Length, "packed image");
        long length = Math.Min(count, BlockBytes - (offset % BlockBytes));
        return _blocks.ContainsKey(offset / BlockBytes) ? new StoredExtent(ExtentKind.Data, length, 0, offset) : new StoredExtent(ExtentKind.Hole, length);
    }

    public void Dispose()
    {
    }
}
