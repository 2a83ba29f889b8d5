using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ntfs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs;

/// <summary>One damage or malice each, on a volume that mkntfs and ntfs-3g wrote.</summary>
public sealed class NtfsHostileTests
{
    private static readonly Lazy<byte[]> Sound = new(() =>
    {
        using var scratch = new Scratch();
        return File.ReadAllBytes(NtfsImage.Make(
            scratch.Folder,
            "1280K",
            "-c 512",
            """
            mkdir -p a/b c; setfattr -h -v 0x00000800 -n system.ntfs_attrib_be c
            printf first > a/first; head -c 9000 /dev/urandom > a/b/data; seq 1 3000 > c/packed; printf last > last
            head -c 4000 /dev/zero > gone; truncate -s 9000 hole; printf x > stream; head -c 5000 /dev/urandom > stream:s
            for i in $(seq 1 12); do ln a/first "a/a rather long name for a hard link $i"; done
            """,
            "streams_interface=windows,compression"));
    });

    private static readonly string[] Paths = ["a/first", "a/b/data", "c/packed", "last", "gone", "hole", "stream", "stream:s"];

    /// <summary>What the last listing could not read.</summary>
    private IReadOnlyList<CoverageGap> _gaps = [];

    [Fact]
    public void The_sound_volume_has_no_gap()
    {
        SortedSet<string> lines = List(Sound.Value);
        Assert.Empty(_gaps);
        Assert.All(Paths, path => Assert.Contains(lines, l => l.StartsWith(path + "\t", StringComparison.Ordinal)));
    }

    [Fact]
    public void A_torn_record_is_a_gap_and_the_others_are_listed()
    {
        NtfsPatch patch = Open();
        int number = patch.Number("data");
        byte[] image = patch.Sealed();
        image[patch.Record(number) + 1022] ^= 1;
        Missing(image, "a/b/data", Fault.Corrupt, $"record {number}");
    }

    [Fact]
    public void A_record_marked_bad_is_a_gap()
    {
        NtfsPatch patch = Open();
        int number = patch.Number("data");
        byte[] image = patch.Sealed();
        "BAAD"u8.CopyTo(image.AsSpan(patch.Record(number)));
        Missing(image, "a/b/data", Fault.Corrupt, $"record {number}");
    }

    [Fact]
    public void An_empty_record_that_the_bitmap_has_in_use_is_a_gap()
    {
        NtfsPatch patch = Open();
        int number = patch.Number("data");
        byte[] image = patch.Sealed();
        image.AsSpan(patch.Record(number), NtfsPatch.RecordBytes).Clear();
        Missing(image, "a/b/data", Fault.Corrupt, $"record {number}");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    [InlineData(-8)]
    [InlineData(0x7FFF_FFF8)]
    [InlineData(1016)]
    public void An_attribute_with_a_bad_length_is_a_gap(int length)
    {
        NtfsPatch patch = Open();
        int number = patch.Number("data");
        int at = patch.Find(number, 0x80);
        byte[] image = patch.Set(at + 4, BitConverter.GetBytes(length)).Sealed();
        List(image);
        Assert.Contains(_gaps, g => g.Path == "a/b/data" && g.Fault == Fault.Corrupt);
    }

    [Theory]
    [InlineData("21FFFF0000", "run past the volume")]
    [InlineData("1101FF00", "hole by LCN -1 is short")]
    [InlineData("1101FE00", "negative LCN")]
    [InlineData("18FFFFFFFFFFFFFF7F0100", "length overflow")]
    [InlineData("81010000000000000080", "LCN overflow")]
    [InlineData("1100FF", "empty run")]
    [InlineData("0101000000", "hole is short")]
    [InlineData("F1", "bad sizes")]
    [InlineData("00", "nothing mapped")]
    public void Bad_mapping_pairs_are_a_fault_of_the_file(string pairs, string what)
    {
        NtfsPatch patch = Open();
        byte[] image = patch.Set(patch.MappingPairs(patch.Number("data")), Convert.FromHexString(pairs)).Sealed();
        Assert.True(List(image).Contains("a/b/data\t9000\tfault Corrupt"), what);
    }

    [Fact]
    public void A_compression_unit_beyond_reason_is_a_fault_of_the_file()
    {
        NtfsPatch patch = Open();
        byte[] image = patch.Set(patch.Find(patch.Number("packed"), 0x80) + 34, 255).Sealed();
        Assert.Contains(List(image), l => l.StartsWith("c/packed\t", StringComparison.Ordinal) && l.EndsWith("\tfault Corrupt", StringComparison.Ordinal));
    }

    [Fact]
    public void Another_compression_is_a_fault_of_the_file()
    {
        NtfsPatch patch = Open();
        byte[] image = patch.Set(patch.Find(patch.Number("packed"), 0x80) + 12, 2).Sealed();
        Assert.Contains(List(image), l => l.StartsWith("c/packed\t", StringComparison.Ordinal) && l.EndsWith("\tfault Unsupported", StringComparison.Ordinal));
    }

    [Fact]
    public void Compressed_data_that_ends_early_is_an_error_and_not_zeros()
    {
        NtfsPatch patch = Open();
        int number = patch.Number("packed");
        int pairs = patch.MappingPairs(number);
        Assert.Equal(0x21, patch.Image[pairs]);
        int lcn = patch.U16(pairs + 2);
        byte[] image = patch.Set((lcn * 512) + 0, 0, 0).Sealed();
        Assert.Contains(List(image), l => l.StartsWith("c/packed\t", StringComparison.Ordinal) && l.Contains("error LZNT1", StringComparison.Ordinal));
    }

    [Fact]
    public void Encrypted_content_is_a_fault_of_the_file()
    {
        NtfsPatch patch = Open();
        byte[] image = patch.Set(patch.Find(patch.Number("data"), 0x80) + 13, 0x40).Sealed();
        Assert.Contains("a/b/data\t9000\tfault Encrypted", List(image));
    }

    [Fact]
    public void Bytes_behind_the_valid_length_read_as_zeros()
    {
        NtfsPatch patch = Open();
        byte[] image = patch.Set64(patch.Find(patch.Number("data"), 0x80) + 56, 5000).Sealed();
        using var source = new MemorySource(image);
        using IFileSystem fileSystem = new NtfsFormat().Open(source, new ReadContext(new ScanBudget(1 << 20), new GapList()));
        GuestFile file = fileSystem.Walk().Single(f => NtfsImage.PathOf(f.Links[0], f) == "a/b/data");
        using IBlockSource content = fileSystem.OpenContent(file);
        byte[] bytes = content.ReadAll();
        Assert.Equal(-1, bytes.AsSpan(5000).IndexOfAnyExcept((byte)0));
        Assert.NotEqual(0, bytes.AsSpan(4900, 100).ToArray().Max());
    }

    [Fact]
    public void Sizes_of_eight_exbibytes_cost_nothing()
    {
        NtfsPatch patch = Open();
        int data = patch.Find(patch.Number("hole"), 0x80);
        byte[] image = patch.Set64(data + 48, long.MaxValue).Set64(data + 56, long.MaxValue).Sealed();
        List<GuestFile> files = NtfsImage.Files(new MemorySource(image), out _);
        GuestFile file = files.Single(f => NtfsImage.PathOf(f.Links[0], f) == "hole");
        Assert.Equal(long.MaxValue, file.SizeBytes);
        Assert.Equal(Fault.Corrupt, file.Fault!.Fault);
    }

    [Fact]
    public void Folders_in_each_other_end_below_orphan_files()
    {
        NtfsPatch patch = Open();
        int a = patch.Number("a");
        int b = patch.Number("b");
        byte[] image = patch.Set64(patch.FileName(a), patch.Reference(b)).Sealed();
        SortedSet<string> lines = List(image);
        Assert.Contains(lines, l => l.StartsWith("$OrphanFiles/", StringComparison.Ordinal) && l.Contains("/data\t9000\t", StringComparison.Ordinal));
        Assert.Contains(lines, l => l.StartsWith("$OrphanFiles/", StringComparison.Ordinal) && l.Contains("/first\t", StringComparison.Ordinal));
    }

    [Fact]
    public void A_folder_in_itself_ends_below_orphan_files()
    {
        NtfsPatch patch = Open();
        int b = patch.Number("b");
        SortedSet<string> lines = List(patch.Set64(patch.FileName(b), patch.Reference(b)).Sealed());
        Assert.Contains(lines, l => l.StartsWith("$OrphanFiles/b/data\t9000\t", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(0x0001_0000_0000_0FFFUL)]
    [InlineData(0x7777_0000_0000_0040UL)]
    [InlineData(0xFFFF_FFFF_FFFF_FFFFUL)]
    [InlineData(0x0001_0000_0000_0000UL)]
    public void A_file_whose_folder_is_gone_is_listed_below_orphan_files(ulong parent)
    {
        NtfsPatch patch = Open();
        SortedSet<string> lines = List(patch.Set64(patch.FileName(patch.Number("data")), parent).Sealed());
        Assert.Contains(lines, l => l.StartsWith("$OrphanFiles/data\t9000\t", StringComparison.Ordinal));
        Assert.Empty(_gaps);
    }

    [Theory]
    [InlineData("0061 002F 0062 0065", @"a\xC0\xAFbe")]
    [InlineData("0061 0000 0062 0065", @"a\xC0\x80be")]
    [InlineData("002E 002E 002F 0065", @"..\xC0\xAFe")]
    [InlineData("D800 0061 0062 DC00", @"\xED\xA0\x80ab\xED\xB0\x80")]
    [InlineData("0061 000A 0062 0009", @"a\nb\t")]
    public void A_name_stays_one_name(string units, string escaped)
    {
        NtfsPatch patch = Open();
        byte[] utf16 = units.Split(' ').SelectMany(u => Convert.FromHexString(u).Reverse()).ToArray();
        int at = patch.FileName(patch.Number("data"));
        Assert.Contains(List(patch.Set(at + 0x42, utf16).Sealed()), l => l.StartsWith($"a/b/{escaped}\t9000\t", StringComparison.Ordinal));
    }

    [Fact]
    public void An_attribute_list_that_names_itself_ends()
    {
        NtfsPatch patch = Open();
        int number = patch.NumberWithList();
        int list = ListValue(patch, number, out int bytes);
        for (int at = list; at < list + bytes; at += patch.U16(at + 4))
        {
            patch.Set(at, 0x20, 0, 0, 0).Set64(at + 16, patch.Reference(number));
        }

        List(patch.Sealed());
        Assert.NotEmpty(_gaps);
    }

    [Fact]
    public void A_record_that_continues_another_file_is_not_taken()
    {
        NtfsPatch patch = Open();
        int number = patch.NumberWithList();
        int list = ListValue(patch, number, out int bytes);
        int other = patch.Number("data");
        for (int at = list; at < list + bytes; at += patch.U16(at + 4))
        {
            if ((int)patch.U64(at + 16) != number)
            {
                patch.Set64(at + 16, patch.Reference(other));
            }
        }

        List(patch.Sealed());
        Assert.Contains(_gaps, g => g.Detail.Contains($"does not continue record {number}", StringComparison.Ordinal));
        Assert.Contains(_gaps, g => g.Detail.Contains("continues a file that does not name it", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3)]
    public void A_damaged_first_record_is_read_from_the_mirror(int number)
    {
        NtfsPatch patch = Open();
        SortedSet<string> sound = List(Sound.Value);
        byte[] image = patch.Sealed();
        image.AsSpan(patch.Record(number), 600).Fill(0x5A);
        Assert.Equal(sound, List(image));
        Assert.Empty(_gaps);
    }

    [Fact]
    public void Without_record_0_and_its_copy_nothing_is_opened()
    {
        NtfsPatch patch = Open();
        byte[] image = patch.Sealed();
        image.AsSpan(patch.Record(0), 4).Clear();
        image.AsSpan(patch.MirrorOffset, 4).Clear();
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => List(image));
        Assert.Equal("$MFT", e.Structure);
    }

    [Fact]
    public void A_damaged_boot_sector_is_read_from_its_copy_and_said()
    {
        byte[] image = (byte[])Sound.Value.Clone();
        SortedSet<string> sound = List(image);
        image.AsSpan(0, 512).Fill(0xF6);
        Assert.Equal(sound, List(image));
        using IFileSystem fileSystem = new NtfsFormat().Open(new MemorySource(image), new ReadContext(new ScanBudget(1 << 20), new GapList()));
        Assert.Contains(fileSystem.Facts.Notes, n => n.Contains("copy", StringComparison.Ordinal));
    }

    [Fact]
    public void A_volume_that_ends_early_is_a_gap_and_the_rest_is_listed()
    {
        byte[] image = Sound.Value[..^100_000];
        List(image);
        Assert.Contains(_gaps, g => g.Fault == Fault.Truncated);
    }

    [Fact]
    public void A_table_whose_runs_hold_the_same_clusters_is_refused()
    {
        NtfsPatch patch = Open();
        int data = patch.Find(0, 0x80);
        int pairs = patch.MappingPairs(0);
        Assert.Equal(0x12, patch.Image[pairs]);
        byte[] image = patch.Set(pairs, [0x11, 0x04, patch.Image[pairs + 3], 0x11, 0x04, 0x00, 0x00]).Set64(data + 24, 7).Set64(data + 48, 4096).Set64(data + 56, 4096).Sealed();
        Assert.Throws<DiskFormatException>(() => List(image));
    }

    [Fact]
    public void A_log_that_was_not_closed_is_a_gap()
    {
        NtfsPatch patch = Open();
        int pairs = patch.MappingPairs(2);
        int lcnBytes = patch.Image[pairs] >> 4;
        int lengthBytes = patch.Image[pairs] & 15;
        int log = (int)(patch.U64(pairs + 1 + lengthBytes) & ((1UL << (8 * lcnBytes)) - 1)) * 512;
        byte[] page = new byte[4096];
        "RSTR"u8.CopyTo(page);
        new byte[] { 0x1E, 0, 9, 0 }.CopyTo(page, 4);
        new byte[] { 0, 0x10, 0, 0, 0, 0x10, 0, 0, 0x30, 0 }.CopyTo(page, 0x10);
        foreach ((ushort client, ushort flags, bool dirty) in new[] { ((ushort)0, (ushort)0, true), ((ushort)0, (ushort)2, false), ((ushort)0xFFFF, (ushort)0, false) })
        {
            BitConverter.TryWriteBytes(page.AsSpan(0x30 + 12), client);
            BitConverter.TryWriteBytes(page.AsSpan(0x30 + 14), flags);
            byte[] image = (byte[])Sound.Value.Clone();
            page.CopyTo(image, log);
            List(image);
            Assert.Equal(dirty, _gaps.Any(g => g is { Structure: "$LogFile", Fault: Fault.Unsupported }));
        }
    }

    [Fact]
    public void What_hides_in_Extend_is_listed_and_streams_of_metafiles_are_scanned()
    {
        NtfsPatch patch = Open();
        patch.Set64(patch.FileName(patch.Number("data")), patch.Reference(11));
        Assert.Contains(List(patch.Sealed()), l => l.StartsWith("$Extend/data\t9000\t", StringComparison.Ordinal));

        // The file with a stream takes the place of $AttrDef.
        NtfsPatch other = Open();
        int number = other.Number("stream");
        other.Image.AsSpan(other.Record(number), NtfsPatch.RecordBytes).CopyTo(other.Image.AsSpan(other.Record(4)));
        List<GuestFile> files = NtfsImage.Files(new MemorySource(other.Sealed()), out _);
        Assert.Contains(files, f => f is { Kind: GuestFileKind.System, Id: 4, SizeBytes: 5000 });
    }

    [Fact]
    public void Clusters_said_to_be_bad_are_scanned()
    {
        NtfsPatch patch = Open();
        int bad = patch.Find(8, 0x80);
        bad += patch.Image[bad + 8] == 0 ? (int)patch.U32(bad + 4) : 0;
        Assert.Equal(4, patch.Image[bad + 9]);
        patch.Set(bad + patch.U16(bad + 32), 0x01, 3, 0x21, 1, 0x58, 2, 0).Set64(bad + 24, 3);
        using IFileSystem fileSystem = new NtfsFormat().Open(new MemorySource(patch.Sealed()), new ReadContext(new ScanBudget(4 << 20), new GapList()));
        GuestFile file = fileSystem.Walk().Single(f => f.Id == 8);
        using IBlockSource content = fileSystem.OpenContent(file);
        Assert.Equal(GuestFileKind.System, file.Kind);
        Assert.Equal(patch.Image.AsSpan(600 * 512, 512).ToArray(), content.ReadAll());
        Assert.DoesNotContain(NtfsImage.Files(new MemorySource(Sound.Value), out _), f => f.Id == 8);
    }

    [Fact]
    public void Extended_attributes_are_scanned()
    {
        using var scratch = new Scratch();
        string image = NtfsImage.Make(scratch.Folder, "16M", "", """
            echo x > f; setfattr -h -n system.ntfs_ea -v 0x1400000000040600544553540061626364656600 f
            """);
        using var source = new FileSource(image);
        GuestFile ea = NtfsImage.Files(source, out _).Single(f => NtfsImage.PathOf(f.Links[0], f) == "f:$EA");
        Assert.Equal(GuestFileKind.System, ea.Kind);
        Assert.Equal(20, ea.SizeBytes);
    }

    [Fact]
    public void A_part_of_the_table_that_cannot_be_read_is_a_gap_and_the_rest_is_listed()
    {
        NtfsPatch patch = Open();
        int number = patch.Number("data");
        byte[] image = patch.Sealed();
        (SortedSet<string> lines, IReadOnlyList<CoverageGap> gaps) = NtfsImage.List(new HoledSource(image, patch.Record(number)));
        Assert.Contains(gaps, g => g.Fault == Fault.MissingParent);
        Assert.DoesNotContain(lines, l => l.StartsWith("a/b/data\t", StringComparison.Ordinal));
        Assert.Contains(lines, l => l.StartsWith("last\t", StringComparison.Ordinal));
    }

    [Fact]
    public void A_walk_that_is_left_early_returns_its_memory()
    {
        var budget = new ScanBudget(4 << 20);
        using (IFileSystem fileSystem = new NtfsFormat().Open(new MemorySource(Sound.Value), new ReadContext(budget, new GapList())))
        {
            Assert.NotNull(fileSystem.Walk().First());
        }

        Assert.Equal(0, budget.InUse);
    }

    [Theory]
    [InlineData(0x0C, 0)]
    [InlineData(0x0B, 1)]
    [InlineData(0x0C, 0x40)]
    [InlineData(0x0D, 0)]
    [InlineData(0x0D, 3)]
    [InlineData(0x0D, 0x81)]
    [InlineData(0x2F, 0xFF)]
    [InlineData(0x33, 1)]
    [InlineData(0x40, 0)]
    [InlineData(0x40, 0xE1)]
    [InlineData(0x40, 0x81)]
    [InlineData(3, 0)]
    public void A_bad_boot_sector_is_no_NTFS(int at, byte value)
    {
        byte[] image = (byte[])Sound.Value.Clone();
        image[at] = value;
        image.AsSpan(image.Length - 512).Clear();
        bool probed = new NtfsFormat().Probe(new MemorySource(image));
        Exception? e = Record.Exception(() => new NtfsFormat().Open(new MemorySource(image), new ReadContext(new ScanBudget(1 << 20), new GapList())));
        Assert.True(e is DiskFormatException, e?.ToString());
        Assert.True(!probed);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(511)]
    [InlineData(512)]
    [InlineData(100_000)]
    public void Empty_and_random_volumes_are_no_NTFS(int length)
    {
        byte[] bytes = new byte[length];
        Assert.False(new NtfsFormat().Probe(new MemorySource(bytes)));
        new Random(length).NextBytes(bytes);
        Assert.False(new NtfsFormat().Probe(new MemorySource(bytes)));
    }

    private static NtfsPatch Open() => new NtfsPatch(Sound.Value).Opened();

    private static int ListValue(NtfsPatch patch, int number, out int bytes)
    {
        int list = patch.Find(number, 0x20);
        Assert.True(list >= 0, "the file has no attribute list");
        if (patch.Image[list + 8] == 0)
        {
            bytes = (int)patch.U32(list + 16);
            return list + patch.U16(list + 20);
        }

        int pairs = list + patch.U16(list + 32);
        int lengthBytes = patch.Image[pairs] & 15;
        int lcnBytes = patch.Image[pairs] >> 4;
        bytes = (int)patch.U64(list + 48);
        return (int)(patch.U64(pairs + 1 + lengthBytes) & ((1UL << (8 * lcnBytes)) - 1)) * patch.ClusterBytes;
    }

    private SortedSet<string> List(byte[] image)
    {
        (SortedSet<string> lines, IReadOnlyList<CoverageGap> gaps) = NtfsImage.List(new MemorySource(image));
        _gaps = gaps;
        return lines;
    }

    private void Missing(byte[] image, string path, Fault fault, string gap)
    {
        SortedSet<string> lines = List(image);
        Assert.DoesNotContain(lines, l => l.StartsWith(path + "\t", StringComparison.Ordinal));
        Assert.Contains(_gaps, g => g.Fault == fault && g.Path == gap);
        Assert.All(Paths.Where(p => p != path), p => Assert.Contains(lines, l => l.StartsWith(p + "\t", StringComparison.Ordinal)));
    }

    /// <summary>Fails for one sector, as a disk with a missing extent does.</summary>
    private sealed class HoledSource(byte[] bytes, long hole) : IBlockSource
    {
        private readonly MemorySource _inner = new(bytes);

        public long Length => _inner.Length;

        public void Read(long offset, Span<byte> destination)
        {
            if (offset < hole + 512 && offset + destination.Length > hole)
            {
                throw new DiskFormatException(Fault.MissingParent, "extent", hole, "missing");
            }

            _inner.Read(offset, destination);
        }

        public StoredExtent Locate(long offset, long count) => _inner.Locate(offset, count);

        public void Dispose() => _inner.Dispose();
    }
}
