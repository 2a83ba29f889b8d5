using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.DiskReaders.Volumes.Md;
using Vmsweep.DiskReaders.Volumes.Raid;
using Vmsweep.Golden;
using Xunit;

namespace Vmsweep.DiskReaders.Tests.Volumes.Md;

/// <summary>Against mdadm and the kernel: what they wrote is what is read, whole and with members missing.</summary>
[Trait("Category", "Slow")]
public sealed class MdKernelTests(MdArrays arrays) : IClassFixture<MdArrays>
{
    public static TheoryData<string> Names => [.. MdArrays.Plain.Select(a => a.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public void An_array_reads_as_the_kernel_read_it(string name)
    {
        IReadOnlyList<VolumeMember> members = arrays.Members(name);
        Assert.All(members, m => Assert.True(new MdFormat().Probe(m.Content)));
        AssertReads(name, [.. members.Reverse()], degraded: false);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void An_array_without_members_reads_the_same_as_far_as_its_level_allows(string name)
    {
        IReadOnlyList<VolumeMember> members = arrays.Members(name);
        int spare = name.Split('-')[0] switch
        {
            "raid1" => members.Count - 1,
            "raid4" or "raid5" => 1,
            "raid6" => 2,
            "raid10" => name.Contains('3', StringComparison.Ordinal) ? 2 : 1,
            _ => 0,
        };
        for (int bits = 1; bits < 1 << members.Count; bits++)
        {
            VolumeMember[] left = [.. members.Where((_, i) => (bits >> i & 1) == 0)];
            int missing = members.Count - left.Length;
            if (left.Length == 0 || (name.StartsWith("raid10", StringComparison.Ordinal) && missing > spare))
            {
                continue;
            }

            if (missing <= spare)
            {
                AssertReads(name, left, degraded: true);
            }
            else if (missing == spare + 1)
            {
                var context = new ReadContext(new ScanBudget(16 << 20), new GapList());
                AssembledVolume volume = Assert.Single(new MdFormat().Assemble(left, context).Volumes);
                Assert.Equal(Fault.MissingParent, volume.Fault?.Fault);
                Assert.Null(volume.Content);
            }
        }
    }

    [Fact]
    public void Names_identities_and_shapes_are_those_that_mdadm_shows()
    {
        foreach ((string name, _, _) in MdArrays.Plain)
        {
            var context = new ReadContext(new ScanBudget(16 << 20), new GapList());
            foreach ((int index, string file) in arrays.Files(name).Index())
            {
                Dictionary<string, string> shown = Tool.Run("mdadm", "--examine", "--export", file).Split('\n').Select(l => l.Split('=', 2)).Where(p => p.Length == 2)
                    .ToDictionary(p => p[0], p => p[1], StringComparer.Ordinal);
                using var source = new FileSource(file);
                MdSuperblock superblock = MdPlaces.Read(source, context);
                Assert.Equal(shown["MD_UUID"], superblock.ArrayId);
                Assert.Equal(shown["MD_EVENTS"], superblock.Events.ToString(System.Globalization.CultureInfo.InvariantCulture));
                Assert.Equal(superblock.Version == "0.90" ? "" : "rig:" + name, superblock.Name);
                Assert.Equal(index, superblock.RoleOf(superblock));
            }
        }
    }

    [Theory]
    [InlineData("raid5-stale", "md-stale", "member1 failed")]
    [InlineData("raid1-090-stale", "md-stale", "member0 was removed")]
    [InlineData("raid5-spare", "md-spare", null)]
    [InlineData("raid5-bad", null, "member1 lists 12288 bytes as bad")]
    [InlineData("raid1-bad", null, "member0 lists 12288 bytes as bad")]
    [InlineData("raid5-recovering", null, "member3 is recovered up to byte")]
    [InlineData("raid5-replacing", "md-stale", "member3 is to replace member1")]
    public void An_array_in_trouble_reads_as_the_kernel_read_it(string name, string? area, string? note)
    {
        (AssembledVolume volume, VolumeAssembly assembly, IReadOnlyList<CoverageGap> gaps) = Read(name, arrays.Members(name));
        Assert.Null(volume.Fault);
        Assert.Equal(arrays.Sha256Of(name), volume.Content!.Sha256());
        Assert.Empty(gaps);
        Assert.True(note is null || volume.Notes.Any(n => n.StartsWith(note, StringComparison.Ordinal)), string.Join("; ", volume.Notes));
        Assert.Equal(area is null ? [] : [area], assembly.Leftovers.Select(l => l.Name).Where(n => n is not ("md-reserved" or "md-superblock")));
        volume.Dispose();
    }

    [Fact]
    public void A_replacement_half_written_stands_in_for_its_original_as_far_as_it_goes()
    {
        IReadOnlyList<VolumeMember> members = arrays.Members("raid5-replacing");
        (AssembledVolume volume, _, _) = Read("raid5-replacing", [members[0], members[2], members[3]]);
        using (volume)
        {
            Assert.Equal(arrays.Sha256Of("raid5-replacing"), volume.Content!.Sha256());
            Assert.Contains(volume.Notes, n => n.StartsWith("member3 is recovered up to byte", StringComparison.Ordinal));
        }

        // Without a second one the part that was not copied is lost, and only that.
        (volume, _, _) = Read("raid5-replacing", [members[0], members[3]]);
        using (volume)
        {
            Assert.NotNull(volume.Content);
            volume.Content.Read(0, new byte[100]);
            DiskFormatException e = Assert.Throws<DiskFormatException>(() => volume.Content.Read(volume.Content.Length - 100_000, new byte[100_000]));
            Assert.Equal("RAID members", e.Structure);
        }
    }

    [Fact]
    public void A_bad_block_on_the_only_copy_left_is_a_fault_for_its_range()
    {
        (AssembledVolume volume, _, _) = Read("raid1-bad", [arrays.Members("raid1-bad")[0]]);
        using (volume)
        {
            volume.Content!.Read(0, new byte[(200 - 128) * 512]);
            volume.Content.Read((224 - 128) * 512, new byte[4096]);
            Assert.Throws<DiskFormatException>(() => volume.Content.Read((200 - 128) * 512, new byte[1]));
            Assert.Throws<DiskFormatException>(() => volume.Content.Read((224 - 128) * 512 - 1, new byte[1]));
        }
    }

    [Fact]
    public void An_array_being_reshaped_is_unsupported_and_not_misread()
    {
        (AssembledVolume volume, VolumeAssembly assembly, _) = Read("raid5-reshaping", arrays.Members("raid5-reshaping"));
        Assert.Equal(Fault.Unsupported, volume.Fault?.Fault);
        Assert.Contains("reshaped", volume.Fault!.Detail, StringComparison.Ordinal);
        Assert.Equal(4, assembly.Leftovers.Count(l => l is { Name: "md-member", OffsetBytes: 0, SizeBytes: 6000 << 10 }));
    }

    [Fact]
    public void A_write_journal_is_a_gap()
    {
        (AssembledVolume volume, VolumeAssembly assembly, IReadOnlyList<CoverageGap> gaps) = Read("raid5-journal", arrays.Members("raid5-journal"));
        using (volume)
        {
            Assert.Equal(arrays.Sha256Of("raid5-journal"), volume.Content!.Sha256());
        }

        Assert.Contains("write journal", Assert.Single(gaps).Detail, StringComparison.Ordinal);
        Assert.Contains(assembly.Leftovers, l => l is { Name: "md-journal", Member: 3 });
    }

    [Theory]
    [InlineData(0x2_0201)]
    [InlineData(0x4_0201)]
    [InlineData(0x5_0201)]
    public void Far_sets_read_as_the_kernel_read_them(int layout)
    {
        string name = string.Create(System.Globalization.CultureInfo.InvariantCulture, $"far-{layout}");
        IBlockSource[] members = [.. arrays.Members(name).Select(m => m.Content)];
        for (int missing = -1; missing < members.Length; missing++)
        {
            var context = new ReadContext(new ScanBudget(16 << 20), new GapList());
            using IBlockSource array = RaidSource.Open(
                new RaidGeometry(RaidLevel.Raid10, layout, 16 << 10, 5, 896 << 10), [.. members.Select((m, i) => i == missing ? null : m)], context);
            Assert.Equal(arrays.BytesOf(name), array.Length);
            Assert.Equal(arrays.Sha256Of(name), array.Sha256());
        }
    }

    [Fact]
    public void Several_arrays_come_apart_by_their_identity_and_stand_where_their_first_member_is()
    {
        IReadOnlyList<VolumeMember> a = arrays.Members("raid5-11");
        IReadOnlyList<VolumeMember> b = arrays.Members("raid1-10");
        IReadOnlyList<VolumeMember> c = arrays.Members("raid10-090");
        var context = new ReadContext(new ScanBudget(16 << 20), new GapList());
        VolumeAssembly assembly = new MdFormat().Assemble([c[2], a[0], b[1], a[3], b[0], c[0], c[1], a[1], c[3], a[2]], context);
        Assert.Equal([0, 1, 2], assembly.Volumes.Select(v => v.Place));
        Assert.Equal([arrays.Sha256Of("raid10-090"), arrays.Sha256Of("raid5-11"), arrays.Sha256Of("raid1-10")], assembly.Volumes.Select(v => v.Content!.Sha256()));
    }

    [Fact]
    public void Superblocks_of_the_other_byte_order_read_the_same()
    {
        // mdadm shows these with the metadata name 0.swap; the sum of the words stays what it was.
        using var scratch = new Scratch();
        List<VolumeMember> swapped = [];
        foreach (string file in arrays.Files("raid6-090"))
        {
            byte[] bytes = File.ReadAllBytes(file);
            int at = (bytes.Length & ~0xFFFF) - 0x1_0000;
            for (int i = at; i < at + 4096; i += 4)
            {
                bytes.AsSpan(i, 4).Reverse();
            }

            // 64-bit fields are the machine's too: events and cp_events.
            for (int i = at + (39 * 4); i < at + (43 * 4); i += 8)
            {
                byte[] low = bytes[i..(i + 4)];
                bytes.AsSpan(i + 4, 4).CopyTo(bytes.AsSpan(i));
                low.CopyTo(bytes, i + 4);
            }

            swapped.Add(new VolumeMember("swapped", new MemorySource(bytes), 512));
            File.WriteAllBytes(scratch["swapped"], bytes);
            Assert.Contains("correct", Tool.Run("mdadm", "--examine", "--metadata=0.swap", scratch["swapped"]), StringComparison.Ordinal);
        }

        Assert.All(swapped, m => Assert.True(new MdFormat().Probe(m.Content)));
        AssertReads("raid6-090", [.. swapped.Skip(1)], degraded: true);
    }

    [Fact]
    public void Slices_of_a_degraded_array_are_those_of_one_read()
    {
        (AssembledVolume volume, _, _) = Read("raid6-left-symmetric", [.. arrays.Members("raid6-left-symmetric").Skip(2)]);
        using (volume)
        {
            IBlockSource content = volume.Content!;
            byte[] whole = content.ReadAll();
            var random = new Random(3);
            for (int i = 0; i < 500; i++)
            {
                int at = random.Next(whole.Length);
                byte[] part = new byte[random.Next(Math.Min(100_000, whole.Length - at))];
                content.Read(at, part);
                Assert.True(whole.AsSpan(at, part.Length).SequenceEqual(part));
            }
        }
    }

    [Fact]
    public void Leftovers_and_data_cover_each_member_once()
    {
        foreach ((string name, _, _) in MdArrays.Plain)
        {
            IReadOnlyList<VolumeMember> members = arrays.Members(name);
            (AssembledVolume volume, VolumeAssembly assembly, _) = Read(name, members);
            volume.Dispose();
            foreach ((int index, VolumeMember member) in members.Index())
            {
                List<MemberArea> areas = [.. assembly.Leftovers.Where(l => l.Member == index).OrderBy(l => l.OffsetBytes)];
                long end = 0;
                long data = 0;
                foreach (MemberArea area in areas)
                {
                    Assert.True(area.OffsetBytes >= end, name);
                    data += area.OffsetBytes - end;
                    end = area.OffsetBytes + area.SizeBytes;
                }

                Assert.True(end <= member.Content.Length);
                data += member.Content.Length - end;
                Assert.InRange(data, 700 << 10, member.Content.Length);
                Assert.Contains(areas, a => a is { Name: "md-superblock", SizeBytes: 4096 });
            }
        }
    }

    private static (AssembledVolume Volume, VolumeAssembly Assembly, IReadOnlyList<CoverageGap> Gaps) Read(string name, IReadOnlyList<VolumeMember> members)
    {
        Assert.All(members, m => Assert.True(new MdFormat().Probe(m.Content), name));
        var gaps = new GapList();
        VolumeAssembly assembly = new MdFormat().Assemble(members, new ReadContext(new ScanBudget(16 << 20), gaps));
        return (Assert.Single(assembly.Volumes), assembly, gaps.ToList());
    }

    private void AssertReads(string name, IReadOnlyList<VolumeMember> members, bool degraded)
    {
        var gaps = new GapList();
        var context = new ReadContext(new ScanBudget(16 << 20), gaps);
        VolumeAssembly assembly = new MdFormat().Assemble(members, context);
        using (AssembledVolume volume = Assert.Single(assembly.Volumes))
        {
            Assert.Null(volume.Fault);
            Assert.Equal(arrays.BytesOf(name), volume.Content!.Length);
            Assert.Equal(arrays.Sha256Of(name), volume.Content.Sha256(step: 100_000));
            Assert.Equal(degraded, volume.Notes.Any(n => n.StartsWith("degraded", StringComparison.Ordinal)));
            Assert.Equal(degraded, volume.Layout.EndsWith("degraded", StringComparison.Ordinal));
        }

        Assert.Empty(gaps.ToList());
        Assert.Equal(0, context.Budget.InUse);
    }
}
