using System.Text.Json;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.DiskReaders.Volumes.Ldm;
using Vmsweep.Golden;
using Xunit;

namespace Vmsweep.DiskReaders.Tests.Volumes.Ldm;

public sealed class LdmTests
{
    private readonly LdmImages _images = new();

    [Fact]
    public void Volumes_of_every_kind_read_as_they_were_written()
    {
        VolumeAssembly assembly = Assemble([2, 0, 1], out IReadOnlyList<CoverageGap> gaps);
        Assert.Empty(gaps);
        Assert.Equal(5, assembly.Volumes.Count);
        foreach (AssembledVolume volume in assembly.Volumes)
        {
            using (volume)
            {
                Assert.Null(volume.Fault);
                byte[] content = _images.Contents[volume.Name["ScanDg0/".Length..]];
                Assert.Equal(content, volume.Content!.ReadAll());
                volume.Content!.CheckSlices(content);
            }
        }

        Assert.Equal(
            ["raid5 of 3, chunks of 4 KiB", "simple", "simple, mirrored 2 times", "spanned over 2", "striped over 2, chunks of 4 KiB"],
            assembly.Volumes.Select(v => v.Layout).Order(StringComparer.Ordinal));
        Assert.Contains("drive hint R:", assembly.Volumes.Single(v => v.Name == "ScanDg0/Raid").Notes);
    }

    [Theory]
    [InlineData(0, "Raid Mirrored")]
    [InlineData(1, "Simple Raid Mirrored")]
    [InlineData(2, "Simple Spanned Striped Raid Mirrored")]
    public void With_a_disk_missing_mirrors_and_parity_stand_in_and_the_rest_is_named(int missing, string readable)
    {
        VolumeAssembly assembly = Assemble([.. Enumerable.Range(0, 3).Where(i => i != missing)], out _);
        Assert.Equal(5, assembly.Volumes.Count);
        foreach (AssembledVolume volume in assembly.Volumes)
        {
            string name = volume.Name["ScanDg0/".Length..];
            using (volume)
            {
                if (readable.Split(' ').Contains(name))
                {
                    Assert.Equal(_images.Contents[name], volume.Content!.ReadAll());
                    volume.Content!.CheckSlices(_images.Contents[name]);
                }
                else
                {
                    Assert.Equal(Fault.MissingParent, volume.Fault?.Fault);
                    Assert.Null(volume.Content);
                }
            }
        }

        using AssembledVolume raid = Assemble([.. Enumerable.Range(0, 3).Where(i => i != missing)], out _).Volumes.Single(v => v.Name == "ScanDg0/Raid");
        Assert.EndsWith("degraded", raid.Layout, StringComparison.Ordinal);
    }

    [Fact]
    public void Ldmtool_sees_the_same_group_and_volumes()
    {
        using var scratch = new Scratch();
        for (int i = 0; i < 3; i++)
        {
            File.WriteAllBytes(scratch["disk" + i], _images.Disks[i]);
        }

        Tool.Find("ldmtool");
        Assert.Contains(LdmImages.Group.ToString("D"), Tool.Shell("ldmtool scan disk0 disk1 disk2 2>/dev/null", scratch.Folder), StringComparison.Ordinal);
        foreach ((string name, byte[] content) in _images.Contents)
        {
            string shown = Tool.Shell($"printf 'scan disk0 disk1 disk2\\nshow volume {LdmImages.Group:D} {name}\\n' | ldmtool 2>/dev/null | sed -n '/^{{/,/^}}/p'", scratch.Folder);
            using JsonDocument volume = JsonDocument.Parse(shown);
            Assert.Equal(content.Length / 512, volume.RootElement.GetProperty("size").GetInt64());
            Assert.Equal(name == "Raid" ? "RAID5" : name, volume.RootElement.GetProperty("type").GetString(), ignoreCase: true);
        }
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Volumes_read_as_the_devices_that_ldmtool_makes_of_them()
    {
        using var scratch = new Scratch();
        for (int i = 0; i < 3; i++)
        {
            File.WriteAllBytes(scratch["disk" + i], _images.Disks[i]);
        }

        // Device mapper brings mirrors and parity into step, so that it is given copies.
        LinuxGuest.Run(
            scratch["made"],
            """
            for d in c d e; do cp /dev/vd$d /tmp/$d; losetup /dev/loop$(($(printf %d "'$d") - 99)) /tmp/$d; done
            printf 'scan /dev/loop0 /dev/loop1 /dev/loop2\ncreate all\n' | ldmtool
            ls /dev/mapper
            for v in /dev/mapper/ldm_vol_*; do cat $v > ${v##*_}; done
            """,
            ["dm-mod", "dm-raid", "raid1", "raid456"],
            ["ldmtool", "dmsetup"],
            scratch["disk0"], scratch["disk1"], scratch["disk2"]);
        foreach ((string name, byte[] content) in _images.Contents)
        {
            Assert.Equal(content, File.ReadAllBytes(Assert.Single(Directory.GetFiles(scratch["made"], "*" + name))));
        }
    }

    [Fact]
    public void The_database_with_the_newest_commit_is_followed_and_an_unfinished_update_is_a_gap()
    {
        _images.Rewrite(1, 12, 2);
        Assemble([0, 1, 2], out IReadOnlyList<CoverageGap> gaps).Volumes.ToList().ForEach(v => v.Dispose());
        Assert.Equal(3, gaps.Count);
        Assert.Equal(2, gaps.Count(g => g.Detail.Contains("9 of 12", StringComparison.Ordinal)));
        Assert.Single(gaps, g => g.Detail.Contains("middle of an update", StringComparison.Ordinal));
    }

    [Fact]
    public void A_broken_private_header_is_replaced_by_its_copy_and_a_broken_table_by_the_next()
    {
        _images.Disks[0][(6 * 512) + 0x0D] = 9;
        _images.Disks[1][((LdmImages.ConfigAt + 1) * 512) + 0x2E] = 9;
        VolumeAssembly assembly = Assemble([0, 1, 2], out IReadOnlyList<CoverageGap> gaps);
        Assert.Equal(["PRIVHEAD", "TOCBLOCK"], gaps.Select(g => g.Structure));
        Assert.All(assembly.Volumes, v => Assert.Null(v.Fault));
    }

    [Fact]
    public void Leftovers_and_volumes_cover_each_disk_once()
    {
        VolumeAssembly assembly = Assemble([0, 1, 2], out _);
        int[] used = [40 + 20 + 32 + 20 + 32, 30 + 32 + 20 + 32, 32];
        for (int i = 0; i < 3; i++)
        {
            long end = 0;
            long sum = 0;
            foreach (MemberArea area in assembly.Leftovers.Where(l => l.Member == i).OrderBy(l => l.OffsetBytes))
            {
                Assert.True(area.OffsetBytes >= end);
                end = area.OffsetBytes + area.SizeBytes;
                sum += area.SizeBytes;
            }

            Assert.Equal((LdmImages.Sectors - used[i]) * 512, sum);
        }
    }

    [Fact]
    public void A_gpt_disk_is_known_by_its_metadata_partition_and_keeps_its_basic_partitions()
    {
        byte[] disk = TableImages.Gpt(1, "-n", "1:34:145", "-t", "1:5808C8AA-7E8F-42E0-85D2-E1E90434CFB3", "-n", "2:400:1000", "-t", "2:AF9B60A0-1431-4F62-BC68-3311714A69AD", "-n", "3:1200:1300", "-t", "3:EF00");
        byte[] from = _images.Disks[0];
        from.AsSpan(LdmImages.ConfigAt * 512, LdmImages.ConfigSectors * 512).CopyTo(disk.AsSpan(34 * 512));
        byte[] header = from[(6 * 512)..(7 * 512)];
        header[0x12B + 6] = 0;
        header[0x12B + 7] = 34;
        header[0x11B + 6] = 1;
        header[0x11B + 7] = 144;
        header.CopyTo(disk, 145 * 512);
        from.AsSpan(63 * 512, 40 * 512).CopyTo(disk.AsSpan(400 * 512));
        Assert.True(new LdmFormat().Probe(new MemorySource(disk)));
        var context = new ReadContext(new ScanBudget(4 << 20), new GapList());
        VolumeAssembly assembly = new LdmFormat().Assemble([new VolumeMember("disk", new MemorySource(disk), 512)], context);
        using AssembledVolume simple = assembly.Volumes.Single(v => v.Name == "ScanDg0/Simple");
        Assert.Equal(_images.Contents["Simple"], simple.Content!.ReadAll());
        using AssembledVolume basic = assembly.Volumes.Single(v => v.Name == "partition 3");
        Assert.Equal(101 * 512, basic.Content!.Length);
    }

    [Fact]
    public void A_disk_without_a_dynamic_partition_is_no_member_whatever_lies_in_sector_6()
    {
        _images.Disks[0][450] = 0x07;
        Assert.False(new LdmFormat().Probe(new MemorySource(_images.Disks[0])));
        Assert.False(new LdmFormat().Probe(new MemorySource(new byte[100])));
        Assert.False(new LdmFormat().Probe(new MemorySource(ReadOnlyMemory<byte>.Empty)));
    }

    [Fact]
    public void Damaged_disks_give_data_or_a_fault()
    {
        List<(long, long)> regions = [.. Enumerable.Range(0, 3).SelectMany(i => LdmImages.Regions(i, _images.RecordCount))];
        Mutations.Check([.. _images.Disks.SelectMany(d => d)], (image, context) =>
        {
            VolumeMember[] members =
            [
                .. image.Chunk(LdmImages.Sectors * 512).Select(c => new MemorySource(c)).Where(new LdmFormat().Probe).Select((s, i) => new VolumeMember("m" + i, s, 512)),
            ];
            VolumeAssembly assembly = new LdmFormat().Assemble(members, context);
            byte[] buffer = new byte[8192];
            foreach (AssembledVolume volume in assembly.Volumes)
            {
                using (volume)
                {
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
        }, regions, Mutations.PerFormat);
    }

    private VolumeAssembly Assemble(int[] disks, out IReadOnlyList<CoverageGap> gaps)
    {
        var list = new GapList();
        VolumeAssembly assembly = new LdmFormat().Assemble(
            [.. disks.Select(d => new VolumeMember("disk" + d, new MemorySource(_images.Disks[d]), 512))], new ReadContext(new ScanBudget(4 << 20), list));
        gaps = list.ToList();
        return assembly;
    }
}
