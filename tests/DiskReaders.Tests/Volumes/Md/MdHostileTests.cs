using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.DiskReaders.Volumes.Md;
using Vmsweep.Golden;
using Xunit;

namespace Vmsweep.DiskReaders.Tests.Volumes.Md;

public sealed class MdHostileTests
{
    private const int Super = 4096;

    public static TheoryData<string, int, ulong, int, Fault> BadFields => new()
    {
        { "max_dev beyond the superblock's area", 220, 1921, 4, Fault.Corrupt },
        { "data beyond the member", 136, 1000, 8, Fault.Corrupt },
        { "data far beyond the member", 128, ulong.MaxValue >> 10, 8, Fault.Corrupt },
        { "data_offset that overflows", 128, ulong.MaxValue, 8, Fault.Corrupt },
        { "size over data_size", 80, 17, 8, Fault.Corrupt },
        { "size that overflows", 80, ulong.MaxValue, 8, Fault.Corrupt },
        { "no raid_disks", 92, 0, 4, Fault.Corrupt },
        { "raid_disks without end", 92, 0xFFFF_FFFF, 4, Fault.Corrupt },
        { "level unknown", 72, 3, 4, Fault.Unsupported },
        { "multipath", 72, unchecked((uint)-4), 4, Fault.Unsupported },
        { "container", 72, unchecked((uint)-100), 4, Fault.Unsupported },
        { "layout unknown", 76, 77, 4, Fault.Unsupported },
        { "no chunk size", 88, 0, 4, Fault.Corrupt },
        { "chunk size over all bounds", 88, 0xFFFF_FFFF, 4, Fault.Corrupt },
        { "being reshaped", 8, 4, 4, Fault.Unsupported },
        { "feature unknown", 8, 0x8000, 4, Fault.Unsupported },
        { "bad-block log without size", 8, 8, 4, Fault.Corrupt },
        { "role beyond the array", 256, 200, 2, Fault.Corrupt },
    };

    [Theory]
    [MemberData(nameof(BadFields))]
    public void A_bad_field_is_a_fault_of_its_array_and_no_exception(string name, int at, ulong value, int width, Fault fault)
    {
        Assert.NotEmpty(name);
        byte[][] members = [.. Enumerable.Range(0, 3).Select(i => MdImages.V1(i, 3, 5, change: m => Put(m, Super + at, value, width)))];
        VolumeAssembly assembly = Assemble(members, out ReadContext context);
        Assert.All(assembly.Volumes, v => Assert.Equal(fault, v.Fault?.Fault));
        Assert.NotEmpty(assembly.Volumes);
        Assert.Equal(0, context.Budget.InUse);
        for (int i = 0; i < members.Length; i++)
        {
            Assert.Contains(assembly.Leftovers, l => l.Member == i && l.OffsetBytes == 0 && l.SizeBytes == MdImages.SmallBytes);
        }
    }

    [Fact]
    public void A_wrong_checksum_is_a_fault_and_the_rest_of_the_array_goes_on_without_the_member()
    {
        byte[][] members = [.. Enumerable.Range(0, 3).Select(i => MdImages.V1(i, 3, 5))];
        using AssembledVolume whole = Assert.Single(Assemble(members, out _).Volumes);
        byte[] expected = whole.Content!.ReadAll();
        members[1][Super + 40] ^= 1;
        VolumeAssembly assembly = Assemble(members, out _);
        Assert.Equal(2, assembly.Volumes.Count);
        Assert.Equal("sb_csum", assembly.Volumes.Single(v => v.Fault is not null).Fault!.Detail[4..]);
        using AssembledVolume array = assembly.Volumes.Single(v => v.Fault is null);
        Assert.Equal("host:array", array.Name);
        Assert.Contains("degraded", array.Layout, StringComparison.Ordinal);
        Assert.Equal(expected.Length, array.Content!.Length);
    }

    [Fact]
    public void A_degraded_array_that_was_not_stopped_is_a_gap()
    {
        byte[][] members = [.. Enumerable.Range(0, 3).Select(i => MdImages.V1(i, 3, 5, change: m => MdImages.Put64(m, Super + 208, 0)))];
        Assemble(members, out ReadContext context).Volumes.Single().Dispose();
        Assert.Empty(((GapList)context.Gaps).ToList());
        Assemble(members[1..], out context).Volumes.Single().Dispose();
        Assert.Equal(Fault.Corrupt, Assert.Single(((GapList)context.Gaps).ToList()).Fault);
    }

    [Theory]
    [InlineData(10UL, 9UL, false)]
    [InlineData(10UL, 8UL, true)]
    [InlineData(ulong.MaxValue, ulong.MaxValue - 1, false)]
    [InlineData(0UL, 0UL, false)]
    public void A_member_more_than_one_event_behind_is_left_out(ulong newest, ulong other, bool isLeftOut)
    {
        byte[][] members = [MdImages.V1(0, 2, 1, events: newest), MdImages.V1(1, 2, 1, events: other)];
        VolumeAssembly assembly = Assemble(members, out _);
        using AssembledVolume volume = Assert.Single(assembly.Volumes);
        Assert.Equal(isLeftOut, volume.Notes.Any(n => n.Contains("fell behind", StringComparison.Ordinal)));
        Assert.Equal(isLeftOut, assembly.Leftovers.Any(l => l is { Member: 1, Name: "md-stale" }));
    }

    [Fact]
    public void A_twin_does_not_take_the_place_of_the_member_given_first()
    {
        byte[][] members = [MdImages.V1(0, 2, 1), MdImages.V1(0, 2, 1), MdImages.V1(1, 2, 1)];
        VolumeAssembly assembly = Assemble(members, out _);
        using AssembledVolume volume = Assert.Single(assembly.Volumes);
        Assert.Contains(volume.Notes, n => n == "m1 claims the place of m0 and is left out");
        Assert.Contains(assembly.Leftovers, l => l is { Member: 1, Name: "md-stale", OffsetBytes: 0 });
    }

    [Fact]
    public void A_superblock_at_the_end_that_belongs_to_the_last_partition_makes_no_member_of_the_disk()
    {
        byte[] disk = new byte[MdImages.OldBytes + (64 << 10)];
        MdImages.V090(0, 2, 0).CopyTo(disk, 64 << 10);
        Assert.True(new MdFormat().Probe(new MemorySource(disk)));
        disk[510] = 0x55;
        disk[511] = 0xAA;
        disk[450] = 0xFD;
        MdImages.Put32(disk, 454, 128);
        MdImages.Put32(disk, 458, (uint)MdImages.OldBytes / 512);
        Assert.False(new MdFormat().Probe(new MemorySource(disk)));
        Assert.True(new MdFormat().Probe(new SliceSource(new MemorySource(disk), 64 << 10, MdImages.OldBytes)));

        // A partition of the array itself ends before the superblock.
        MdImages.Put32(disk, 458, 64);
        Assert.True(new MdFormat().Probe(new MemorySource(disk)));
    }

    [Theory]
    [InlineData(0, 0, true)]
    [InlineData(4096, 8, true)]
    [InlineData((1 << 20) - 8192, 2032, true)]
    [InlineData((1 << 20) - 8192, 2031, false)]
    public void A_superblock_counts_where_it_says_that_it_lies(int at, long superOffset, bool isMember)
    {
        byte[] volume = new byte[1 << 20];
        Convert.FromHexString("FC4E2BA901").CopyTo(volume, at);
        BitConverter.TryWriteBytes(volume.AsSpan(at + 144), superOffset);
        Assert.Equal(isMember, new MdFormat().Probe(new MemorySource(volume)));
    }

    [Theory]
    [InlineData("FC4E2BA900000000", 900, true)]
    [InlineData("FC4E2BA900000000", 100_000, false)]
    [InlineData("A92B4EFC00000000", 0, true)]
    [InlineData("A92B4EFC00000001", 0, false)]
    public void The_old_superblock_counts_when_its_size_fits(string head, int kibibytes, bool isMember)
    {
        byte[] volume = new byte[1 << 20];
        Convert.FromHexString(head).CopyTo(volume, volume.Length - 65536);
        BitConverter.TryWriteBytes(volume.AsSpan(volume.Length - 65536 + 32), kibibytes);
        Assert.Equal(isMember, new MdFormat().Probe(new MemorySource(volume)));
    }

    [Fact]
    public void Mdadm_takes_the_images_of_these_tests_for_sound()
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["new"], MdImages.V1(1, 3, 5));
        File.WriteAllBytes(scratch["old"], MdImages.V090(1, 3, 0));
        string shown = Tool.Run("mdadm", "--examine", scratch["new"]);
        Assert.Contains("Checksum : ", shown, StringComparison.Ordinal);
        Assert.Contains(" - correct", shown, StringComparison.Ordinal);
        Assert.Contains("Active device 1", shown, StringComparison.Ordinal);
        shown = Tool.Run("mdadm", "--examine", scratch["old"]);
        Assert.Contains(" - correct", shown, StringComparison.Ordinal);
        Assert.Contains("Raid Level : raid0", shown, StringComparison.Ordinal);
    }

    [Fact]
    public void Raid0_of_version_090_alternates_chunks()
    {
        byte[][] members = [.. Enumerable.Range(0, 2).Select(i => MdImages.V090(i, 2, 0))];
        using AssembledVolume volume = Assert.Single(Assemble(members, out _).Volumes);
        Assert.Equal(128 << 10, volume.Content!.Length);
        byte[] read = volume.Content.ReadAll();
        for (int chunk = 0; chunk < 32; chunk++)
        {
            Assert.True(members[chunk % 2].AsSpan(chunk / 2 * 4096, 4096).SequenceEqual(read.AsSpan(chunk * 4096, 4096)));
        }
    }

    // The metadata is the same for all levels: they share its count.
    [Theory]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(10)]
    [InlineData(0)]
    public void Damaged_members_of_version_1_give_data_or_a_fault(int level)
    {
        int layout = level == 10 ? 0x102 : level == 0 ? 0 : 2;
        byte[][] members = [.. Enumerable.Range(0, 4).Select(i => MdImages.V1(i, 4, level, layout, features: 8, change: m =>
        {
            m[Super + 186] = 1;
            m[Super + 188] = 2;
            m.AsSpan(Super + 1024, 512).Fill(0xFF);
            MdImages.Put64(m, Super + 1024, (18UL << 10) | 3);
        }))];
        List<(long, long)> regions = [.. Enumerable.Range(0, 4).Select(i => ((long)(i * MdImages.SmallBytes) + Super, 330L)), (Super + 1024, 16)];
        Mutations.Check([.. members.SelectMany(m => m)], (image, context) => ReadAll(image, MdImages.SmallBytes, context), regions, Mutations.PerFormat / 4, repair: image =>
        {
            for (int i = 0; i < 4; i++)
            {
                MdImages.RepairV1(image.AsSpan(i * MdImages.SmallBytes, MdImages.SmallBytes));
            }
        });
    }

    [Fact]
    public void Damaged_members_of_version_090_give_data_or_a_fault()
    {
        byte[][] members = [.. Enumerable.Range(0, 3).Select(i => MdImages.V090(i, 3, 5))];
        List<(long, long)> regions = [.. Enumerable.Range(0, 3).SelectMany(i => new[] { (0L, 264L), (512, 400), (3968, 20) }.Select(r => ((i * MdImages.OldBytes) + (64L << 10) + r.Item1, r.Item2)))];
        Mutations.Check([.. members.SelectMany(m => m)], (image, context) => ReadAll(image, MdImages.OldBytes, context), regions, repair: image =>
        {
            for (int i = 0; i < 3; i++)
            {
                MdImages.RepairV090(image.AsSpan(i * MdImages.OldBytes, MdImages.OldBytes));
            }
        });
    }

    internal static void ReadAll(byte[] image, int memberBytes, ReadContext context)
    {
        MemorySource[] sources = [.. image.Chunk(memberBytes).Select(c => new MemorySource(c))];
        VolumeMember[] members = [.. sources.Where(new MdFormat().Probe).Select((s, i) => new VolumeMember("m" + i, s, 512))];
        VolumeAssembly assembly = new MdFormat().Assemble(members, context);
        byte[] buffer = new byte[8192];
        foreach (AssembledVolume volume in assembly.Volumes)
        {
            using (volume)
            {
                Assert.True(volume.Content is null != (volume.Fault is null));
                for (long at = 0; at < Math.Min(volume.Content?.Length ?? 0, 1 << 20); at += buffer.Length)
                {
                    try
                    {
                        volume.Content!.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, volume.Content.Length - at)));
                    }
                    catch (DiskFormatException)
                    {
                        // The next part may be sound.
                    }
                }
            }
        }

        foreach (MemberArea area in assembly.Leftovers)
        {
            _ = new SliceSource(members[area.Member].Content, area.OffsetBytes, area.SizeBytes);
        }
    }

    private static VolumeAssembly Assemble(byte[][] members, out ReadContext context)
    {
        context = new ReadContext(new ScanBudget(1 << 20), new GapList());
        return new MdFormat().Assemble([.. members.Select((m, i) => new VolumeMember("m" + i, new MemorySource(m), 512))], context);
    }

    private static void Put(byte[] member, int at, ulong value, int width)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        bytes[..width].CopyTo(member.AsSpan(at));
    }
}
