using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Btrfs;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Trees;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Btrfs;

/// <summary>Images made to hurt: nodes, chunks, items and names changed on purpose, their checksums made good again.</summary>
public sealed class BtrfsHostileTests : IClassFixture<BtrfsHostileTests.Sound>
{
    private const long BudgetBytes = 64 << 20;
    private const byte NameRef = 12;
    private const byte InodeType = 1;
    private const byte ExtentType = 108;

    private readonly byte[] _sound;

    public BtrfsHostileTests(Sound sound) => _sound = sound.Packed;

    [Theory]
    [InlineData(0xBC, 8, 1UL << 13 | 0x341, "extent tree v2")]
    [InlineData(0xBC, 8, 1UL << 14 | 0x341, "raid stripe tree")]
    [InlineData(0xBC, 8, 1UL << 40 | 0x341, "0x10000000000")]
    [InlineData(0x38, 8, 1UL << 33, "metadata dump")]
    [InlineData(0xC4, 2, 9UL, "csum_type 9")]
    public void What_no_reader_here_knows_is_refused_by_name(int at, int width, ulong value, string named)
    {
        byte[] image = Super(at, width, value);
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => Files(image, out _));
        Assert.Equal(Fault.Unsupported, e.Fault);
        Assert.Contains(named, e.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0x90, 4, 3UL)]                        // sectorsize
    [InlineData(0x90, 4, 0x8000_0000UL)]
    [InlineData(0x94, 4, 0UL)]                        // nodesize
    [InlineData(0x94, 4, 1UL << 20)]
    [InlineData(0xA0, 4, 0xFFFF_FFFFUL)]              // sys_chunk_array_size
    [InlineData(0xA0, 4, 5UL)]
    [InlineData(0xC6, 1, 255UL)]                      // root_level
    [InlineData(0xC7, 1, 255UL)]                      // chunk_root_level
    [InlineData(0x50, 8, ulong.MaxValue)]             // root
    [InlineData(0x58, 8, 0x7FFF_FFFF_FFFF_FFFFUL)]    // chunk_root
    [InlineData(0x32B + 17, 8, ulong.MaxValue)]       // length of the first chunk
    [InlineData(0x32B + 17, 8, 0UL)]
    [InlineData(0x32B + 17 + 0x10, 8, 0UL)]           // stripe_len
    [InlineData(0x32B + 17 + 0x18, 8, 0xFFFUL)]       // type
    [InlineData(0x32B + 17 + 0x2C, 2, 0UL)]           // num_stripes
    [InlineData(0x32B + 17 + 0x2C, 2, 0xFFFFUL)]
    [InlineData(0x32B + 17 + 0x38, 8, ulong.MaxValue)] // stripe offset
    public void A_superblock_of_absurd_values_is_refused(int at, int width, ulong value)
    {
        byte[] image = Super(at, width, value);
        Assert.Throws<DiskFormatException>(() => Files(image, out _));
    }

    [Fact]
    public void A_damaged_first_superblock_is_replaced_by_its_copy_and_reported()
    {
        using var scratch = new Scratch();
        string image = BtrfsImages.Make(scratch, 1, "", "echo text > file", "", "130M")[0];
        using (FileStream file = File.OpenWrite(image))
        {
            file.Position = 65536 + 0x48;
            file.WriteByte(0xEE);
        }

        using var source = new FileSource(image);
        var gaps = new GapList();
        using IFileSystem system = new BtrfsFormat().Open(source, new ReadContext(new ScanBudget(BudgetBytes), gaps));
        Assert.Contains(system.Walk(), f => Name(f) == "file");
        Assert.Contains("67108864", Assert.Single(gaps.ToList()).Detail, StringComparison.Ordinal);
        Assert.True(new BtrfsFormat().ProbeCopy(source));
    }

    [Fact]
    public void A_node_that_leads_to_itself_or_its_parent_ends()
    {
        foreach (bool toItself in (bool[])[true, false])
        {
            byte[] image = Copy();
            (int at, _) = Nodes(image).First(n => n.Owner == 5 && n.Level > 0);
            ulong to = BinaryPrimitives.ReadUInt64LittleEndian(image.AsSpan(at + (toItself ? 0x30 : 0x65 + 33 + 17)));
            BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan(at + 0x65 + 17), to);
            BtrfsImages.Repair(image);
            _ = Files(image, out IReadOnlyList<CoverageGap> gaps);
            Assert.True(gaps.Any(g => g.Fault == Fault.Corrupt && g.Detail.Contains("inodes", StringComparison.Ordinal)), $"{toItself}: {string.Join("; ", gaps)}");
        }
    }

    [Theory]
    [InlineData(0x60, 4, 0xFFFF_FFFFUL)]   // nritems
    [InlineData(0x60, 4, 0UL)]
    [InlineData(0x64, 1, 255UL)]           // level
    [InlineData(0x50, 8, 1UL)]             // generation
    [InlineData(0x30, 8, 4096UL)]          // bytenr
    [InlineData(0x20, 8, 1UL)]             // fsid
    [InlineData(0x65 + 25, 8, 1UL)]        // the second key
    [InlineData(0x65 + 17, 4, 0xFFFF_FFF0UL)] // the first item's offset
    [InlineData(0x65 + 21, 4, 0xFFFF_FFFFUL)] // and size
    public void A_leaf_that_contradicts_itself_costs_its_files_alone_and_is_reported(int at, int width, ulong value)
    {
        byte[] image = Copy();
        (int leaf, _) = Nodes(image).Where(n => n is { Owner: 5, Level: 0 }).Skip(1).First();
        Write(image, leaf + at, width, value);
        if (at != 0x20)
        {
            BtrfsImages.Repair(image);
        }

        List<GuestFile> files = Files(image, out IReadOnlyList<CoverageGap> gaps);
        Assert.Contains(gaps, g => g.Detail.Contains("may be missing", StringComparison.Ordinal));
        Assert.Contains(files, f => Name(f) == "sub/file");
    }

    [Theory]
    [InlineData(8, 8, 1UL << 40)]              // ram_bytes
    [InlineData(8, 8, ulong.MaxValue)]
    [InlineData(16, 1, 77UL)]                  // compression
    [InlineData(17, 1, 1UL)]                   // encryption
    [InlineData(20, 1, 9UL)]                   // type
    [InlineData(21, 8, ulong.MaxValue - 4095)] // disk_bytenr
    [InlineData(21, 8, 1UL << 50)]
    [InlineData(29, 8, 1UL << 40)]             // disk_num_bytes
    [InlineData(37, 8, 1UL << 62)]             // offset
    [InlineData(45, 8, ulong.MaxValue)]        // num_bytes
    [InlineData(45, 8, 0UL)]
    public void An_extent_of_absurd_values_is_a_fault_of_its_file(int at, int width, ulong value)
    {
        byte[] image = Copy();
        int item = ItemAt(image, ExtentType, InodeOf("text"));
        Write(image, item + at, width, value);
        BtrfsImages.Repair(image);
        GuestFile file = Assert.Single(Files(image, out _), f => Name(f) == "text");
        Assert.True(file.Fault is not null || IsFaulty(image, "text"));
    }

    [Fact]
    public void A_file_as_large_as_can_be_said_is_mapped_and_not_read()
    {
        byte[] image = Copy();
        Write(image, ItemAt(image, InodeType, InodeOf("text")) + 0x10, 8, long.MaxValue);
        Write(image, ItemAt(image, InodeType, InodeOf("large")) + 0x10, 8, ulong.MaxValue);
        BtrfsImages.Repair(image);
        List<GuestFile> files = Files(image, out _);
        Assert.Equal(long.MaxValue, files.Single(f => Name(f) == "text").SizeBytes);
        Assert.NotNull(files.Single(f => Name(f) == "large").Fault);
    }

    [Fact]
    public void Folders_that_lie_in_each_other_stand_below_OrphanFiles()
    {
        byte[] image = Copy();

        // The only reference of a/b, whose key's offset names its folder, now names b itself; /a says it lies in b.
        ulong b = InodeOf("a/b");
        int key = KeyAt(image, NameRef, b);
        byte[] was = image.AsSpan(key, BtrfsKey.Size).ToArray();
        foreach ((int at, _) in Nodes(image).Where(n => n.Owner == 5))
        {
            // Where it begins a leaf, its parent has the key too.
            for (int found; (found = image.AsSpan(at, PackedImage.BlockBytes).IndexOf(was)) >= 0;)
            {
                Write(image, at + found + 9, 8, b);
            }
        }

        BtrfsImages.Repair(image);
        List<GuestFile> files = Files(image, out IReadOnlyList<CoverageGap> gaps);
        Assert.Contains(files, f => Name(f).StartsWith("$OrphanFiles/#", StringComparison.Ordinal));
        Assert.Contains(gaps, g => g.Detail.Contains("not those of its files", StringComparison.Ordinal));
    }

    [Fact]
    public void A_name_that_holds_a_separator_is_written_without_it()
    {
        byte[] image = Copy();
        int item = ItemAt(image, NameRef, InodeOf("text"));
        image[item + 10 + 1] = (byte)'/';
        BtrfsImages.Repair(image);
        GuestFile file = Assert.Single(Files(image, out _), f => Name(f) == "t%2Fxt");
        Assert.NotNull(file.Fault);
    }

    [Fact]
    public void Subvolumes_that_lie_in_each_other_are_listed_once_as_orphans()
    {
        byte[] image = Copy();

        // ROOT_REF of the top level over both subvolumes: the parent becomes the first of them, so it lies in itself.
        foreach ((int at, _) in Nodes(image).Where(n => n is { Owner: 1, Level: 0 }).ToList())
        {
            int count = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(at + 0x60));
            for (int i = 0; i < count; i++)
            {
                int key = at + 0x65 + (i * 25);
                if (image[key + 8] == 156)
                {
                    Write(image, key, 8, 5);
                    int data = at + 0x65 + BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(key + 17));
                    Write(image, data, 8, 0xFFFF);    // a folder that is not there
                }
            }
        }

        BtrfsImages.Repair(image);
        List<GuestFile> files = Files(image, out _);
        Assert.Single(files, f => Name(f) == "$OrphanFiles/#subvolume256/file");
        Assert.Single(files, f => Name(f) == "$OrphanFiles/#subvolume257/file");
    }

    [Fact]
    public void A_lost_leaf_makes_the_file_it_shares_a_fault_and_never_zeros()
    {
        using var scratch = new Scratch();
        string path = BtrfsImages.Make(scratch, 1, "-n 4096 -M -m single -d single", "for i in $(seq 1 300); do dd if=/dev/urandom of=pieces bs=4096 seek=$((i * 2)) count=1 conv=notrunc status=none; done; sync; echo x > other", "", "16M")[0];
        byte[] image = BtrfsImages.Pack(path);
        (int leaf, _) = Nodes(image).Where(n => n is { Owner: 5, Level: 0 }).Skip(2).First();
        image[leaf + 200] ^= 1;
        Assert.NotNull(Files(image, out _).Single(f => Name(f) == "pieces").Fault);
    }

    private byte[] Copy() => (byte[])_sound.Clone();

    private byte[] Super(int at, int width, ulong value)
    {
        byte[] image = Copy();
        int super = PackedImage.HeadBytes(BinaryPrimitives.ReadInt32LittleEndian(image));
        while (!image.AsSpan(super + 0x40).StartsWith("_BHRfS_M"u8))
        {
            super += PackedImage.BlockBytes;
        }

        Write(image, super + at, width, value);
        BtrfsImages.Repair(image);
        return image;
    }

    // The root tree's nodes, then those of each tree that it names, from the root down and by key: what earlier commits left is not in use.
    private static List<Found> Nodes(byte[] image)
    {
        var byPlace = new Dictionary<(ulong Logical, ulong Generation), int>();
        foreach ((long offset, _) in BtrfsImages.Metadata(image).Where(r => r.Length == PackedImage.BlockBytes - 0x65))
        {
            int at = (int)offset - 0x65;
            byPlace[(U64(image, at + 0x30), U64(image, at + 0x50))] = at;
        }

        int super = image.AsSpan().IndexOf("_BHRfS_M"u8) - 0x40;
        List<Found> nodes = [];
        Add(1, U64(image, super + 0x50), U64(image, super + 0x48));
        return nodes;

        void Add(ulong tree, ulong logical, ulong generation)
        {
            if (!byPlace.TryGetValue((logical, generation), out int at))
            {
                return;
            }

            int level = image[at + 0x64];
            nodes.Add(new Found(at, tree, level));
            for (int i = 0; i < BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(at + 0x60)); i++)
            {
                int entry = at + 0x65 + (i * (level > 0 ? 33 : 25));
                if (level > 0)
                {
                    Add(tree, U64(image, entry + 17), U64(image, entry + 25));
                }
                else if (tree == 1 && image[entry + 8] == 132)
                {
                    int data = at + 0x65 + BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(entry + 17));
                    Add(U64(image, entry), U64(image, data + 0xB0), U64(image, data + 0xA0));
                }
            }
        }
    }

    private static ulong U64(byte[] image, int at) => BinaryPrimitives.ReadUInt64LittleEndian(image.AsSpan(at));

    private static int KeyAt(byte[] image, byte type, ulong id)
    {
        foreach ((int at, _) in Nodes(image).Where(n => n is { Owner: 5, Level: 0 }))
        {
            int count = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(at + 0x60));
            for (int i = 0; i < count; i++)
            {
                var key = BtrfsKey.Read(image.AsSpan(at + 0x65 + (i * 25)));
                if (key.Id == id && key.Type == type)
                {
                    return at + 0x65 + (i * 25);
                }
            }
        }

        throw new InvalidOperationException($"no item {type} of {id}");
    }

    private static int ItemAt(byte[] image, byte type, ulong id)
    {
        int key = KeyAt(image, type, id);
        int leaf = Nodes(image).Where(n => n.At < key).Max(n => n.At);
        return leaf + 0x65 + BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(key + 17));
    }

    private ulong InodeOf(string name) => Files(Copy(), out _).Single(f => f.Links.Any(l => Encoding.UTF8.GetString(l.Path()) == name)).Id;

    private static bool IsFaulty(byte[] image, string name)
    {
        using var source = new PackedImage(image);
        using IFileSystem system = new BtrfsFormat().Open(source, new ReadContext(new ScanBudget(BudgetBytes), new GapList()));
        return Record.Exception(() =>
        {
            using IBlockSource content = system.OpenContent(system.Walk().Single(f => Name(f) == name));
            content.ReadAll();
        }) is DiskFormatException;
    }

    private static void Write(byte[] image, int at, int width, ulong value)
    {
        for (int i = 0; i < width; i++)
        {
            image[at + i] = (byte)(value >> (8 * i));
        }
    }

    private static string Name(GuestFile file) => Encoding.UTF8.GetString(file.Links[0].Path());

    private static List<GuestFile> Files(byte[] image, out IReadOnlyList<CoverageGap> found)
    {
        var gaps = new GapList();
        var context = new ReadContext(new ScanBudget(BudgetBytes), gaps);
        try
        {
            using var source = new PackedImage(image);
            List<GuestFile> files = BtrfsMutationTests.ReadAll(source, context);
            found = gaps.ToList();
            return files;
        }
        finally
        {
            Assert.Equal(0, context.Budget.InUse);
        }
    }

    public sealed class Sound
    {
        public Sound()
        {
            using var scratch = new Scratch();
            Packed = BtrfsImages.Pack(BtrfsImages.Make(scratch, 1, "-n 4096 -M -m single -d single", BtrfsImages.Small, "compress-force=zlib", "16M")[0]);
        }

        public byte[] Packed { get; }
    }

    private readonly record struct Found(int At, ulong Owner, int Level)
    {
        public void Deconstruct(out int at, out ulong owner) => (at, owner) = (At, Owner);
    }
}
