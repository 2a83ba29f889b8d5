using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes.Raid;
using Vmsweep.Golden;
using Xunit;

namespace Vmsweep.DiskReaders.Tests.Volumes.Raid;

/// <summary>
/// Each layout as a table, a row of chunks by member: a letter or digit is the array's chunk of that number, P and Q are parity,
/// a dot is not used. After md(4), mdadm(8) and the figures of the DDF specification; Linux itself is the judge in the MD tests.
/// </summary>
public sealed class RaidLayoutTests
{
    private const int Chunk = 512;
    private const string Digits = "0123456789abcdefghijklmno";

    public static TheoryData<string, int, int, string> Parity => new()
    {
        { "raid4", 4, 0, "012P 345P 678P" },
        { "raid5 left-asymmetric", 5, 0, "012P 34P5 6P78 P9ab cdeP" },
        { "raid5 right-asymmetric", 5, 1, "P012 3P45 67P8 9abP Pcde" },
        { "raid5 left-symmetric", 5, 2, "012P 45P3 8P67 P9ab cdeP" },
        { "raid5 right-symmetric", 5, 3, "P012 5P34 78P6 9abP Pcde" },
        { "raid5 parity-first", 5, 4, "P012 P345 P678" },
        { "raid5 parity-last", 5, 5, "012P 345P 678P" },
        { "raid6 left-asymmetric", 6, 0, "Q012P 345PQ 67PQ8 9PQab PQcde" },
        { "raid6 right-asymmetric", 6, 1, "PQ012 3PQ45 67PQ8 9abPQ QcdeP" },
        { "raid6 left-symmetric", 6, 2, "Q012P 345PQ 78PQ6 bPQ9a PQcde" },
        { "raid6 right-symmetric", 6, 3, "PQ012 5PQ34 78PQ6 9abPQ QcdeP" },
        { "raid6 parity-first", 6, 4, "PQ012 PQ345" },
        { "raid6 parity-last", 6, 5, "012PQ 345PQ" },
        { "raid6 ddf-zero-restart", 6, 8, "PQ012 3PQ45 67PQ8 9abPQ QcdeP" },
        { "raid6 ddf-N-restart", 6, 9, "012PQ 34PQ5 6PQ78 PQ9ab QcdeP" },
        { "raid6 ddf-N-continue", 6, 10, "012QP 45QP3 8QP67 QP9ab PcdeQ" },
        { "raid6 left-asymmetric-6", 6, 16, "012PQ 34P5Q 6P78Q P9abQ cdePQ" },
        { "raid6 right-asymmetric-6", 6, 17, "P012Q 3P45Q 67P8Q 9abPQ PcdeQ" },
        { "raid6 left-symmetric-6", 6, 18, "012PQ 45P3Q 8P67Q P9abQ cdePQ" },
        { "raid6 right-symmetric-6", 6, 19, "P012Q 5P34Q 78P6Q 9abPQ PcdeQ" },
        { "raid6 parity-first-6", 6, 20, "P012Q P345Q" },
    };

    public static TheoryData<string, int, string> Copies => new()
    {
        { "near=2", 0x102, "0011 2233 4455 6677" },
        { "near=2, odd", 0x102, "001 122 334 455" },
        { "near=3", 0x103, "0001 1122 2333" },
        { "far=2", 0x201, "0123 4567 3012 7456" },
        { "far=3", 0x301, "012 345 201 534 120 453" },
        { "offset=2", 0x1_0201, "0123 3012 4567 7456" },
        { "offset=2, odd", 0x1_0201, "012 201 345 534" },
        { "far=2, in sets", 0x4_0201, "0123 4567 1032 5476" },
        { "far=2, in sets, one left over", 0x4_0201, "01234 56789 10423 65978" },
        { "offset=2, in sets", 0x5_0201, "0123 1032 4567 5476" },
        { "near=2 far=2", 0x202, "0011 2233 1100 3322" },
    };

    [Theory]
    [MemberData(nameof(Parity))]
    public void Parity_layouts_read_as_their_table_with_any_members_missing_that_parity_covers(string name, int level, int layout, string table)
    {
        var raidLevel = name == "raid4" ? RaidLevel.Raid4 : (RaidLevel)level;
        (byte[] expected, byte[][] members) = Build(table, layout is 8 or 9 or 10);
        var geometry = new RaidGeometry(raidLevel, layout, Chunk, members.Length, members[0].Length);
        foreach (int[] missing in Subsets(members.Length, level == 6 ? 2 : 1))
        {
            Same(expected, geometry, members, missing);
        }

        foreach (int[] missing in Subsets(members.Length, 3).Where(m => m.Length == (level == 6 ? 3 : 2)))
        {
            Assert.Equal(Fault.MissingParent, Fails(geometry, members, missing).Fault);
        }
    }

    [Theory]
    [MemberData(nameof(Copies))]
    public void Copies_read_as_their_table_while_each_chunk_has_one_left(string name, int layout, string table)
    {
        Assert.NotEmpty(name);
        (byte[] expected, byte[][] members) = Build(table, isDdf: false);
        var geometry = new RaidGeometry(RaidLevel.Raid10, layout, Chunk, members.Length, members[0].Length);
        string[] rows = table.Split(' ');
        foreach (int[] missing in Subsets(members.Length, members.Length))
        {
            bool isWhole = Digits[..(expected.Length / Chunk)].All(digit => rows.Any(r => r.Index().Any(c => c.Item == digit && !missing.Contains(c.Index))));
            if (isWhole)
            {
                Same(expected, geometry, members, missing);
            }
            else
            {
                Assert.Equal(Fault.MissingParent, Fails(geometry, members, missing).Fault);
            }
        }
    }

    [Theory]
    [InlineData(2, "012 345 67 89 a b")]
    [InlineData(1, "012 345 67 89 a b")]
    public void Raid0_over_unequal_members_goes_on_over_the_longer_ones(int layout, string table)
    {
        (byte[] expected, byte[][] members) = Build(table, isDdf: false);
        members = [members[0], members[1][..(4 * Chunk)], members[2][..((2 * Chunk) + 100)]];
        Same(expected, new RaidGeometry(RaidLevel.Raid0, layout, Chunk, 3, 0), members, []);
    }

    [Fact]
    public void Raid0_of_old_kernels_goes_on_by_the_chunk_number_of_the_array()
    {
        // Chunk 3 begins the second zone of two members, and 3 modulo 2 is 1.
        (byte[] expected, byte[][] members) = Build("012 43 65", isDdf: false);
        members[2] = members[2][..Chunk];
        Same(expected, new RaidGeometry(RaidLevel.Raid0, RaidGeometry.Raid0Original, Chunk, 3, 0), members, []);
        Assert.Equal(Fault.Unsupported, Fails(new RaidGeometry(RaidLevel.Raid0, 0, Chunk, 3, 0), members, []).Fault);
    }

    [Fact]
    public void Linear_goes_from_member_to_member_and_lacks_none()
    {
        (byte[] expected, byte[][] members) = Build("036 147 258", isDdf: false);
        var geometry = new RaidGeometry(RaidLevel.Linear, 0, 0, 3, 0);
        Same(expected, geometry, members, []);
        Assert.Equal(Fault.MissingParent, Fails(geometry, members, [1]).Fault);
    }

    [Fact]
    public void A_mirror_reads_from_any_member_left()
    {
        (byte[] expected, byte[][] members) = Build("000 111 222", isDdf: false);
        var geometry = new RaidGeometry(RaidLevel.Raid1, 0, 0, 3, 3 * Chunk);
        foreach (int[] missing in Subsets(3, 2))
        {
            Same(expected, geometry, members, missing);
        }

        Assert.Equal(Fault.MissingParent, Fails(geometry, members, [0, 1, 2]).Fault);
    }

    [Fact]
    public void Distrusted_ranges_come_from_parity_and_fault_where_parity_does_not_reach()
    {
        (byte[] expected, byte[][] members) = Build("012P 45P3 8P67 P9ab cdeP", isDdf: false);

        // Member 0 is bad at its chunk 0, member 1 at its chunk 1 in part, member 2 from chunk 4 on; all are bad in chunk 2.
        List<DistrustedRange>[] ranges = [[new(0, Chunk)], [new(Chunk + 7, 100)], [new(4 * Chunk, Chunk)], []];
        foreach ((int member, List<DistrustedRange> list) in ranges.Index())
        {
            list.ForEach(r => members[member].AsSpan((int)r.Offset, (int)r.Length).Fill(0xEE));
            list.Add(new DistrustedRange(2 * Chunk, Chunk));
        }

        var context = new ReadContext(new ScanBudget(1 << 20), new GapList());
        using (IBlockSource source = RaidSource.Open(
            new RaidGeometry(RaidLevel.Raid5, 2, Chunk, 4, 5 * Chunk), [.. members.Select(m => new MemorySource(m))], context, ranges))
        {
            byte[] read = new byte[6 * Chunk];
            source.Read(0, read);
            Assert.Equal(expected[..read.Length], read);
            source.Read(9 * Chunk, read);
            Assert.Equal(expected[(9 * Chunk)..], read);
            DiskFormatException e = Assert.Throws<DiskFormatException>(() => source.Read(6 * Chunk, new byte[Chunk]));
            Assert.Equal(Fault.Corrupt, e.Fault);
        }

        Assert.Equal(0, context.Budget.InUse);
    }

    [Theory]
    [InlineData(5, 6, 512, 3)]
    [InlineData(5, -1, 512, 3)]
    [InlineData(5, 16, 512, 3)]
    [InlineData(6, 7, 512, 4)]
    [InlineData(6, 21, 512, 4)]
    [InlineData(5, 2, 0, 3)]
    [InlineData(5, 2, 511, 3)]
    [InlineData(5, 2, -512, 3)]
    [InlineData(6, 2, 512, 300)]
    [InlineData(10, 0, 512, 4)]
    [InlineData(10, 0x101, 512, 4)]
    [InlineData(10, 0x105, 512, 4)]
    [InlineData(10, 0xFFFF, 512, 4)]
    [InlineData(10, 0x8_0102, 512, 4)]
    [InlineData(10, -1, 512, 4)]
    [InlineData(0, 0, 0, 2)]
    [InlineData(3, 0, 512, 3)]
    [InlineData(1, 0, 0, 0)]
    public void Impossible_geometries_are_refused(int level, int layout, long chunk, int disks)
    {
        byte[][] members = [.. Enumerable.Range(0, disks).Select(_ => new byte[2048])];
        DiskFormatException e = Fails(new RaidGeometry((RaidLevel)level, layout, chunk, disks, 2048), members, []);
        Assert.True(e.Fault is Fault.Corrupt or Fault.Unsupported, e.Message);
    }

    [Fact]
    public void A_member_shorter_than_the_array_needs_is_refused()
    {
        byte[][] members = [new byte[1024], new byte[1023]];
        Assert.Equal(Fault.Truncated, Fails(new RaidGeometry(RaidLevel.Raid1, 0, 0, 2, 1024), members, []).Fault);
        Assert.Equal(Fault.Corrupt, Fails(new RaidGeometry(RaidLevel.Raid1, 0, 0, 2, long.MaxValue), members, []).Fault);
        Assert.Equal(Fault.Corrupt, Fails(new RaidGeometry(RaidLevel.Raid1, 0, 0, 3, 1024), members, []).Fault);
    }

    private static void Same(byte[] expected, RaidGeometry geometry, byte[][] members, int[] missing)
    {
        var context = new ReadContext(new ScanBudget(1 << 20), new GapList());
        using (IBlockSource source = RaidSource.Open(geometry, [.. members.Select((m, i) => missing.Contains(i) ? null : new MemorySource(m))], context))
        {
            Assert.True(expected.AsSpan().SequenceEqual(source.ReadAll()), $"missing {string.Join(',', missing)}");
            var random = new Random(missing.Length);
            for (int i = 0; i < 50; i++)
            {
                int at = random.Next(expected.Length);
                byte[] part = new byte[random.Next(expected.Length - at)];
                source.Read(at, part);
                Assert.True(expected.AsSpan(at, part.Length).SequenceEqual(part));
            }
        }

        Assert.Equal(0, context.Budget.InUse);
    }

    private static DiskFormatException Fails(RaidGeometry geometry, byte[][] members, int[] missing) =>
        Assert.Throws<DiskFormatException>(() => RaidSource.Open(
            geometry,
            [.. members.Select((m, i) => missing.Contains(i) ? null : new MemorySource(m))],
            new ReadContext(new ScanBudget(1 << 20), new GapList())));

    private static (byte[] Expected, byte[][] Members) Build(string table, bool isDdf)
    {
        string[] rows = table.Split(' ');
        int disks = rows[0].Length;
        int chunks = Digits.Count(d => table.Contains(d));
        byte[] expected = new byte[chunks * Chunk];
        new Random(7).NextBytes(expected);
        byte[][] members = [.. Enumerable.Range(0, disks).Select(_ => new byte[rows.Length * Chunk])];
        for (int row = 0; row < rows.Length; row++)
        {
            int p = rows[row].IndexOf('P');
            int q = rows[row].IndexOf('Q');
            foreach ((int disk, char c) in rows[row].Index())
            {
                if (Digits.IndexOf(c) is >= 0 and var number)
                {
                    expected.AsSpan(number * Chunk, Chunk).CopyTo(members[disk].AsSpan(row * Chunk));
                }
            }

            for (int i = row * Chunk; p >= 0 && i < (row + 1) * Chunk; i++)
            {
                members[p][i] = (byte)Enumerable.Range(0, disks).Where(d => d != p && d != q).Aggregate(0, (sum, d) => sum ^ members[d][i]);
                if (q < 0)
                {
                    continue;
                }

                // Horner's rule from the highest coefficient down; DDF counts P and Q as zeros.
                int[] order = isDdf
                    ? [.. Enumerable.Range(0, disks)]
                    : [.. Enumerable.Range(1, disks - 1).Select(n => (q + n) % disks).Where(d => d != p)];
                int value = 0;
                foreach (int d in order.Reverse())
                {
                    value <<= 1;
                    value = (value > 0xFF ? value ^ 0x11D : value) ^ (d == p || d == q ? 0 : members[d][i]);
                }

                members[q][i] = (byte)value;
            }
        }

        return (expected, members);
    }

    private static IEnumerable<int[]> Subsets(int count, int most) =>
        Enumerable.Range(0, 1 << count)
            .Select(bits => Enumerable.Range(0, count).Where(i => (bits >> i & 1) != 0).ToArray())
            .Where(s => s.Length <= most);
}
