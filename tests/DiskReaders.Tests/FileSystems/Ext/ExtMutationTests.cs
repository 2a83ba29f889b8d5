using System.Buffers.Binary;
using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ext;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ext;

/// <summary>Damaged images give data, gaps or <see cref="DiskFormatException"/>, within time and memory.</summary>
public sealed class ExtMutationTests
{
    private const string Tree = """
        mkdir -p tree/a/b tree/many
        head -c 40000 /dev/urandom > tree/large; printf tiny > tree/tiny; head -c 130 /dev/urandom > tree/a/inline
        truncate -s 9000000 tree/sparse; printf mid | dd of=tree/sparse bs=1 seek=3000000 conv=notrunc status=none; printf end | dd of=tree/sparse bs=1 seek=8999000 conv=notrunc status=none
        for i in $(seq 1 60); do : > "tree/many/a name of some length $i"; done
        ln tree/tiny tree/a/hard; ln -s short tree/link; ln -s "$(printf 'y%.0s' $(seq 1 90))" tree/linklong; mkfifo tree/fifo
        """;

    [Fact]
    public void Ext2_with_block_pointers()
    {
        using var scratch = new Scratch();
        Tool.Shell(Tree + "\nmke2fs -q -F -t ext2 -b 1024 -N 96 -d tree image 400k", scratch.Folder);
        Check(scratch["image"], journal: false);
    }

    [Fact]
    public void Ext4_with_extents_inline_data_checksums_and_a_dirty_journal()
    {
        using var scratch = new Scratch();
        Tool.Shell(Tree + """

            mke2fs -q -F -t ext4 -b 1024 -N 96 -J size=1 -O inline_data,^resize_inode -d tree image 2100k 2>/dev/null
            mkdir mnt; mount -o loop,data=journal image mnt; trap 'umount mnt' EXIT
            for i in $(seq 1 8); do head -c 1500 /dev/urandom > mnt/new$i; dd if=/dev/urandom of=mnt/pieces bs=1024 count=1 seek=$((i*3)) conv=notrunc status=none; done
            rm -r mnt/many; printf x > mnt/a/b/x; sync mnt/a/b/x mnt/pieces; head -c 3000 /dev/urandom > mnt/again; sync mnt/again
            cp image dirty
            """, scratch.Folder);
        Check(scratch["dirty"], journal: true);
    }

    [Fact]
    public void Ext4_with_fast_commits()
    {
        using var scratch = new Scratch();
        Tool.Shell("mke2fs -q -F -t ext4 -b 1024 -N 96 -J size=1,fast_commit_size=64 -O fast_commit,^resize_inode image 2300k 2>/dev/null" + """

            mkdir mnt; mount -o loop image mnt; trap 'umount mnt' EXIT
            mkdir mnt/d; for i in $(seq 1 4); do printf "old $i" > mnt/d/old$i; done; head -c 20000 /dev/urandom > mnt/large; sync -f mnt
            for i in $(seq 1 6); do printf "content $i" > mnt/f$i; mv mnt/d/old$i mnt/moved$i 2>/dev/null || true; sync mnt/f$i; done
            for at in 9 3 40 41 7; do dd if=/dev/urandom of=mnt/holes bs=1024 count=1 seek=$at conv=notrunc status=none; sync mnt/holes; done
            truncate -s 10000 mnt/large; sync mnt/large; rm mnt/f5; printf z > mnt/z; sync mnt/z
            cp image dirty
            """, scratch.Folder);
        byte[] image = File.ReadAllBytes(scratch["dirty"]);
        long[] journal = BlocksOf(scratch["dirty"], "<8>");
        long[] area = [.. journal.Where(b => BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan((int)b * 1024)) is 0x0008_0009).Take(1)];
        area = [.. journal.SkipWhile(b => b != area[0]).Take(24)];
        var facts = new ReadContext(new ScanBudget(64 << 20), new GapList());
        using (IFileSystem system = new ExtFormat().Open(new MemorySource(image), facts))
        {
            Assert.Contains(system.Facts.Notes, n => n.StartsWith("fast commits replayed", StringComparison.Ordinal));
        }

        Mutations.Check(image, (bytes, context) => ReadAll(bytes, context), [.. area.Select(b => (b * 1024, 200L))], Mutations.PerFormat / 4, repair: bytes => ExtRepair.FastCommits(bytes, area));
    }

    private static void Check(string path, bool journal)
    {
        byte[] image = File.ReadAllBytes(path);
        int table = (int)BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(2048 + 8)) * 1024;
        int inodeBytes = BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(1024 + 0x58));
        List<(long, long)> regions = [(1024, 0x110), (1024, 0x290), (2048, 64), (table + inodeBytes, inodeBytes), (table + (10L * inodeBytes), 16L * inodeBytes), (table + (10L * inodeBytes), 86L * inodeBytes)];
        regions.AddRange(BlocksOf(path, "/").Concat(BlocksOf(path, "/many")).Concat(BlocksOf(path, "/a")).Concat(BlocksOf(path, "/sparse")).Select(b => (b * 1024, 128L)));
        if (journal)
        {
            long start = BlocksOf(path, "<8>")[0] * 1024;
            regions.AddRange([(start, 0x60), (start + 1024, 64 << 10), (start + 1024, 12 << 10), (table + (7L * inodeBytes), inodeBytes)]);
        }

        Assert.NotEmpty(ReadAll(image, new ReadContext(new ScanBudget(64 << 20), new GapList())));
        Mutations.Check(image, (bytes, context) => ReadAll(bytes, context), regions, Mutations.PerFormat / 2, repair: bytes => ExtRepair.Checksums(bytes));
    }

    internal static long[] BlocksOf(string image, string file) =>
        [.. Tool.Run("debugfs", "-R", $"blocks {file}", image).Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries).Select(b => long.Parse(b, CultureInfo.InvariantCulture))];

    internal static List<GuestFile> ReadAll(byte[] image, ReadContext context)
    {
        const int MostBytes = 64 << 10;
        const int MostExtents = 200;
        using var source = new MemorySource(image);
        var format = new ExtFormat();
        _ = format.Probe(source) || format.ProbeCopy(source);
        List<GuestFile> files = [];
        byte[] buffer = new byte[MostBytes];
        using IFileSystem system = format.Open(source, context);
        foreach (GuestFile file in system.Walk())
        {
            files.Add(file);
            Assert.NotEmpty(file.Links);
            _ = file.Links[0].Path();
            try
            {
                using IBlockSource content = system.OpenContent(file);
                long at = 0;
                for (int i = 0; i < MostExtents && at < content.Length; i++)
                {
                    StoredExtent extent = content.Locate(at, content.Length - at);
                    if (extent.IsStored)
                    {
                        content.Read(at, buffer.AsSpan(0, (int)Math.Min(extent.Length, MostBytes)));
                    }

                    at += extent.Length;
                }

                content.Read(0, buffer.AsSpan(0, (int)Math.Min(content.Length, MostBytes)));
            }
            catch (DiskFormatException)
            {
            }
        }

        return files;
    }
}
