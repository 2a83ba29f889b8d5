using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Ova;

public sealed class TarReaderTests
{
    private const string LongName = "folder-of-a-long-name-folder-of-a-long-name-folder-of-a-long-name/another-long-name-another-long-name-another-long-name/disk1.vmdk";

    public static TheoryData<string, Action<byte[]>, Fault> Hostile() => new()
    {
        { "no header at all", b => b.AsSpan(0, 512).Fill(0xAA), Fault.Corrupt },
        { "a bad checksum", b => b[148] ^= 1, Fault.Corrupt },
        { "a size that is no number", b => Resized(b, "zzzzzzzzzzz"), Fault.Corrupt },
        { "a negative size in base-256", b => Resized(b, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFE"), Fault.Corrupt },
        { "a size of more than 63 bits", b => Resized(b, "\x80\x00\x00\x00\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), Fault.Corrupt },
        { "a size beyond the end", b => Resized(b, "\x80\x00\x00\x00\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), Fault.Truncated },
        { "a link with bytes", b => Typed(b, '2'), Fault.Corrupt },
        { "a device with bytes", b => Typed(b, '3'), Fault.Corrupt },
        { "a long name that is all of the file", b => Typed(b, 'L'), Fault.Truncated },
        { "a record without a length", b => Typed(b, 'x'), Fault.Corrupt },
        { "a global record without a length", b => Typed(b, 'g'), Fault.Corrupt },
    };

    [Theory]
    [MemberData(nameof(Hostile))]
    public void What_is_no_archive_ends_the_walk_with_its_reason(string what, Action<byte[]> damage, Fault fault)
    {
        Assert.NotEmpty(what);
        byte[] archive = [.. TarWriter.Member("a", Encoding.ASCII.GetBytes("some bytes that are no record")), .. new byte[1024]];
        damage(archive);
        var reader = new TarReader(new MemorySource(archive));
        while (reader.Next() is not null)
        {
        }

        Assert.Equal(fault, reader.Ended?.Fault);
    }

    [Theory]
    [InlineData("1 path=x\n")]
    [InlineData("99 path=x\n")]
    [InlineData("99999999999 path=x\n")]
    [InlineData("10 path=xx")]
    [InlineData("9 path.x\n\n")]
    [InlineData("20 size=-1\n")]
    [InlineData("30 size=99999999999999999999\n\n")]
    public void A_record_of_wrong_length_is_corrupt(string record)
    {
        var reader = new TarReader(new MemorySource(TarWriter.Archive(TarWriter.Member("x", Encoding.ASCII.GetBytes(record), 'x'), TarWriter.Member("a", []))));
        Assert.Null(reader.Next());
        Assert.Equal(Fault.Corrupt, reader.Ended?.Fault);
    }

    [Fact]
    public void A_name_without_end_is_a_limit()
    {
        var reader = new TarReader(new MemorySource(TarWriter.Archive(TarWriter.Member("x", new byte[300 << 10], 'L'))));
        Assert.Null(reader.Next());
        Assert.Equal(Fault.Limit, reader.Ended?.Fault);
    }

    [Fact]
    public void A_global_record_that_renames_all_members_is_not_believed()
    {
        var reader = new TarReader(new MemorySource(TarWriter.Archive(TarWriter.Member("x", "9 path=x\n"u8.ToArray(), 'g'), TarWriter.Member("a", []))));
        Assert.Null(reader.Next());
        Assert.Equal(Fault.Unsupported, reader.Ended?.Fault);
    }

    [Fact]
    public void A_last_member_that_is_cut_off_is_given_with_what_is_there()
    {
        byte[] archive = TarWriter.Member("a", new byte[2000]);
        var reader = new TarReader(new MemorySource(archive.AsMemory(0, 1500)));
        TarMember member = reader.Next()!;
        Assert.Equal((2000, 988), (member.SizeBytes, member.StoredBytes));
        Assert.Null(reader.Next());
        Assert.Equal(Fault.Truncated, reader.Ended?.Fault);
    }

    [Theory]
    [InlineData("ustar")]
    [InlineData("gnu")]
    [InlineData("oldgnu")]
    [InlineData("pax")]
    [InlineData("v7")]
    public void Members_lie_where_tar_puts_them(string format)
    {
        using var scratch = new Scratch();
        string name = format == "v7" ? "disk1.vmdk" : LongName;
        Tool.Shell($"""
            mkdir -p "$(dirname {name})" sub; head -c 70000 /dev/urandom > {name}; printf x > sub/y; : > empty; ln -s sub/y link; ln sub/y hard
            tar --format={format} -cf a.tar {name} sub empty link hard
            """, scratch.Folder);
        using var file = new FileSource(scratch["a.tar"]);
        Assert.True(TarReader.Probe(file));
        var reader = new TarReader(file);
        Dictionary<string, TarMember> members = [];
        while (reader.Next() is { } member)
        {
            members.Add(member.Name, member);
        }

        Assert.Null(reader.Ended);
        Assert.Equal(6, members.Count);
        Assert.Equal(TarMemberKind.Other, members["link"].Kind);
        Assert.Equal(TarMemberKind.Other, members["sub/"].Kind);
        Assert.Equal(0, members["empty"].SizeBytes);
        Assert.Equal(Content.Sha256OfFile(scratch[name]), new SliceSource(file, members[name].OffsetBytes, members[name].SizeBytes).Sha256());
    }

    [Fact]
    public void Sizes_above_8_GiB_are_read_in_base_256_and_from_pax_records()
    {
        using var scratch = new Scratch();
        // The headers are tar's; the zeros behind them need not be written.
        Tool.Shell("""
            truncate -s 9G big
            for format in gnu posix; do
              (set +o pipefail; tar --format=$format -cf - big 2>/dev/null | head -c 1M > $format.tar)
              truncate -s $((9 * 1024 * 1024 * 1024 + 10240)) $format.tar
              tar --format=$format -cSf $format.sparse.tar big
            done
            """, scratch.Folder);
        foreach (string name in (string[])["gnu.tar", "posix.tar", "gnu.sparse.tar", "posix.sparse.tar"])
        {
            using var file = new FileSource(scratch[name]);
            var reader = new TarReader(file);
            TarMember member = reader.Next()!;
            Assert.Null(reader.Next());
            Assert.Null(reader.Ended);
            bool isSparse = name.Contains("sparse", StringComparison.Ordinal);
            Assert.Equal(isSparse ? TarMemberKind.Sparse : TarMemberKind.Regular, member.Kind);
            Assert.True(isSparse || member.SizeBytes == 9L << 30);
        }
    }

    [Fact]
    public void A_million_members_are_walked_in_seconds_and_without_memory_for_them()
    {
        byte[] header = TarWriter.Member("a", []);
        byte[] archive = new byte[(200_000 * header.Length) + 1024];
        for (int i = 0; i < 200_000; i++)
        {
            header.CopyTo(archive, i * header.Length);
        }

        var reader = new TarReader(new MemorySource(archive));
        int count = 0;
        while (reader.Next() is not null)
        {
            count++;
        }

        Assert.Equal(200_000, count);
    }

    [Fact]
    public void Mutated_archives_give_members_or_a_reason()
    {
        using var scratch = new Scratch();
        Tool.Shell($"mkdir -p \"$(dirname {LongName})\"; printf abc > {LongName}; printf d > d; tar --format=pax -cf a.tar {LongName} d; tar --format=gnu -cf b.tar {LongName} d; cat b.tar >> c.tar", scratch.Folder);
        foreach (string name in (string[])["a.tar", "b.tar"])
        {
            Mutations.Check(File.ReadAllBytes(scratch[name])[..6144], Walk, [(0, 5120)], Mutations.PerFormat, repair: TarWriter.Repair);
        }
    }

    internal static void Walk(byte[] bytes, ReadContext context)
    {
        var source = new MemorySource(bytes);
        var reader = new TarReader(source, context.Cancellation);
        while (reader.Next() is { } member)
        {
            Bounds.Check(member.OffsetBytes, member.StoredBytes, source.Length, "member");
        }
    }

    private static void Resized(byte[] block, string size)
    {
        Encoding.Latin1.GetBytes(size).CopyTo(block, 124);
        TarWriter.Repair(block);
    }

    private static void Typed(byte[] block, char type)
    {
        block[156] = (byte)type;
        if (type == 'L')
        {
            Encoding.ASCII.GetBytes("00000200000").CopyTo(block, 124);
        }

        TarWriter.Repair(block);
    }
}
