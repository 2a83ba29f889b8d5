using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ntfs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs;

/// <summary>Files deleted as Windows does it: the record is freed with all that it says, and its clusters are.</summary>
public sealed class DeletedFileTests
{
    private static readonly Lazy<byte[]> Sound = new(() =>
    {
        using var scratch = new Scratch();
        return File.ReadAllBytes(NtfsImage.Make(
            scratch.Folder,
            "2M",
            "-c 512",
            """
            mkdir -p a/b packed; setfattr -h -v 0x00000800 -n system.ntfs_attrib_be packed
            printf 'a resident value' > a/small; head -c 9000 /dev/urandom > a/b/large; printf stream > a/b/large:s; seq 1 3000 > packed/text
            printf kept > kept; printf deeper > a/b/deeper
            """,
            "streams_interface=windows,compression"));
    });

    [Fact]
    public void Nothing_deleted_is_listed_unless_asked_for()
    {
        byte[] image = Deleted("small", "large", "text");
        Assert.DoesNotContain(List(image, deleted: false), f => f.Path.StartsWith("$Deleted", StringComparison.Ordinal));
        Assert.DoesNotContain(List(Sound.Value, deleted: true), f => f.Path.StartsWith("$Deleted", StringComparison.Ordinal));
    }

    [Fact]
    public void Deleted_files_stand_below_Deleted_where_they_were_with_their_content()
    {
        List<Listed> before = List(Sound.Value, deleted: false);
        List<Listed> after = List(Deleted("small", "large", "text"), deleted: true);
        foreach (string path in (string[])["a/small", "a/b/large", "a/b/large:s", "packed/text"])
        {
            Assert.Equal(before.Single(f => f.Path == path).Sha256, after.Single(f => f.Path == "$Deleted/" + path).Sha256);
            Assert.DoesNotContain(after, f => f.Path == path);
        }

        Assert.Contains(after, f => f.Path == "kept");
    }

    [Fact]
    public void Files_that_ntfs_3g_deleted_equal_what_they_were()
    {
        using var scratch = new Scratch();
        byte[] before = File.ReadAllBytes(NtfsImage.Make(scratch.Folder, "8M", "", "head -c 60000 /dev/urandom > x; printf small > y; mkdir dir; head -c 9000 /dev/urandom > dir/q; printf kept > dir2"));
        NtfsImage.Mounted(scratch.Folder, scratch["ntfs.img"], "streams_interface=windows", "rm -r x y dir");
        List<Listed> then = List(before, deleted: false);
        List<Listed> now = List(File.ReadAllBytes(scratch["ntfs.img"]), deleted: true);
        Assert.Equal(
            then.Select(f => f.Path == "dir2" ? f : f with { Path = "$Deleted/" + f.Path }).OrderBy(f => f.Path, StringComparer.Ordinal),
            now.OrderBy(f => f.Path, StringComparer.Ordinal));
    }

    [Fact]
    public void A_deleted_file_of_a_deleted_folder_keeps_its_path()
    {
        List<Listed> after = List(Deleted("deeper", "b", "a"), deleted: true);
        Assert.Contains(after, f => f.Path == "$Deleted/a/b/deeper");
        Assert.Contains(after, f => f.Path == "$OrphanFiles/large");
    }

    [Fact]
    public void A_deleted_file_whose_folder_was_used_again_is_an_orphan()
    {
        NtfsPatch patch = new NtfsPatch(Deleted("deeper", "b")).Opened();
        int folder = Number(patch, "b");
        patch.Set16(patch.Record(folder) + 0x10, patch.U16(patch.Record(folder) + 0x10) + 1);
        Assert.Contains(List(patch.Sealed(), deleted: true), f => f.Path == "$Deleted/$OrphanFiles/deeper");
    }

    [Fact]
    public void Folders_deleted_in_each_other_end()
    {
        NtfsPatch patch = new NtfsPatch(Deleted("deeper", "b", "a")).Opened();
        int a = Number(patch, "a");
        int b = Number(patch, "b");
        patch.Set64(patch.FileName(a), patch.Reference(b));
        patch.Set64(patch.FileName(b), patch.Reference(a));
        Assert.Contains(List(patch.Sealed(), deleted: true), f => f.Path.StartsWith("$Deleted/$OrphanFiles", StringComparison.Ordinal) && f.Path.EndsWith("/deeper", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("large")]
    [InlineData("text")]
    public void Clusters_that_are_in_use_again_are_a_fault_and_not_another_files_bytes(string name)
    {
        byte[] image = Deleted(name);
        NtfsPatch sound = new NtfsPatch(Sound.Value).Opened();
        long first = Runs(sound, Number(sound, name))[0].First;
        SetBit(image, first + 1, used: true);
        using var source = new MemorySource(image);
        var budget = new ScanBudget(64 << 20);
        using (IFileSystem system = new NtfsFormat().Open(source, new ReadContext(budget, new GapList()) { IncludeDeleted = true }))
        {
            GuestFile file = system.Walk().Single(f => f.StreamName.Length == 0 && Encoding.ASCII.GetString(f.Links[0].Path()).EndsWith("/" + name, StringComparison.Ordinal));
            DiskFormatException fault = Assert.Throws<DiskFormatException>(() =>
            {
                using IBlockSource content = system.OpenContent(file);
                content.ReadAll();
            });
            Assert.Equal("deleted file", fault.Structure);
            if (name == "large")
            {
                // What is still its own is read.
                using IBlockSource content = system.OpenContent(file);
                content.Read(0, new byte[512]);
                content.Read(1024, new byte[9000 - 1024]);
                Assert.Throws<DiskFormatException>(() => content.Read(1023, new byte[2]));
            }
        }

        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void A_damaged_volume_with_deleted_files_gives_data_or_a_fault()
    {
        byte[] image = Deleted("small", "large", "text", "deeper", "b");
        var patch = new NtfsPatch(image);
        Mutations.Check(
            image,
            (bytes, context) => NtfsMutationTests.ReadAll(bytes, context with { IncludeDeleted = true }),
            [.. Enumerable.Range(24, 16).Select(n => ((long)patch.Record(n), 512L))],
            count: 5000,
            repair: NtfsMutationTests.Seal,
            budgetBytes: 16 << 20);
    }

    /// <summary>The volume with some of its files deleted.</summary>
    private static byte[] Deleted(params string[] names)
    {
        NtfsPatch patch = new NtfsPatch(Sound.Value).Opened();
        List<(long First, long Count)> free = [];
        foreach (int number in names.Select(n => Number(patch, n)).ToArray())
        {
            int record = patch.Record(number);
            free.AddRange(Runs(patch, number));
            patch.Image[record + 0x16] &= 0xFE;
            patch.Set16(record + 0x10, patch.U16(record + 0x10) + 1);
        }

        byte[] image = patch.Sealed();
        foreach ((long first, long count) in free)
        {
            for (long cluster = first; cluster < first + count; cluster++)
            {
                SetBit(image, cluster, used: false);
            }
        }

        return image;
    }

    /// <summary>The runs of the file's content; nothing in this volume has an attribute list.</summary>
    private static List<(long First, long Count)> Runs(NtfsPatch patch, int number)
    {
        List<(long First, long Count)> runs = [];
        int attribute = patch.Find(number, 0x80);
        if (attribute < 0 || patch.Image[attribute + 8] == 0)
        {
            return runs;
        }

        long lcn = 0;
        for (int at = patch.MappingPairs(number); patch.Image[at] != 0;)
        {
            int lengthBytes = patch.Image[at] & 15;
            int offsetBytes = patch.Image[at++] >> 4;
            long count = Signed(patch.Image.AsSpan(at, lengthBytes));
            if (offsetBytes > 0)
            {
                lcn += Signed(patch.Image.AsSpan(at + lengthBytes, offsetBytes));
                runs.Add((lcn, count));
            }

            at += lengthBytes + offsetBytes;
        }

        return runs;
    }

    private static long Signed(ReadOnlySpan<byte> bytes)
    {
        long value = (sbyte)bytes[^1];
        for (int i = bytes.Length - 2; i >= 0; i--)
        {
            value = (value << 8) | bytes[i];
        }

        return value;
    }

    private static void SetBit(byte[] image, long cluster, bool used)
    {
        NtfsPatch patch = new NtfsPatch(image).Opened();
        (long first, _) = Runs(patch, 6)[0];
        int at = (int)((first * patch.ClusterBytes) + (cluster / 8));
        image[at] = (byte)(used ? image[at] | (1 << (int)(cluster % 8)) : image[at] & ~(1 << (int)(cluster % 8)));
    }

    private static int Number(NtfsPatch patch, string name)
    {
        byte[] wanted = Encoding.Unicode.GetBytes(name);
        return Enumerable.Range(24, 60).First(n => patch.Image.AsSpan(patch.Record(n), 4).SequenceEqual("FILE"u8) && patch.Find(n, 0x30) >= 0
            && patch.Image[patch.FileName(n) + 0x40] == name.Length && patch.Image.AsSpan(patch.FileName(n) + 0x42, wanted.Length).SequenceEqual(wanted));
    }

    private static List<Listed> List(byte[] image, bool deleted)
    {
        using var source = new MemorySource(image);
        var budget = new ScanBudget(64 << 20);
        List<Listed> files = [];
        using (IFileSystem system = new NtfsFormat().Open(source, new ReadContext(budget, new GapList()) { IncludeDeleted = deleted }))
        {
            foreach (GuestFile file in system.Walk().Where(f => f.Kind == GuestFileKind.Regular))
            {
                using IBlockSource content = system.OpenContent(file);
                files.Add(new Listed(NtfsImage.PathOf(file.Links[0], file), content.Sha256()));
            }
        }

        Assert.Equal(0, budget.InUse);
        return files;
    }

    private sealed record Listed(string Path, string Sha256);
}
