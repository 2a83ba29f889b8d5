using System.Text;
using System.Text.Json;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Parallels;
using Vmsweep.DiskReaders.Containers.Raw;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Parallels;

/// <summary>Images and descriptors that lie; single images as qemu-img reads them, trees as the specification has them.</summary>
public sealed class ParallelsTests
{
    private const int Cluster = 4096;
    private const string Descriptor = "DiskDescriptor.xml";

    private static readonly Guid Root = new("11111111-0000-0000-0000-000000000001");
    private static readonly Guid Middle = new("11111111-0000-0000-0000-000000000002");
    private static readonly ParallelsFormat Format = new();

    [Theory]
    [InlineData(0, 0u, Fault.Corrupt)]
    [InlineData(16, 3u, Fault.Unsupported)]
    [InlineData(28, 0u, Fault.Corrupt)]
    [InlineData(28, 0xFFFF_FFFFu, Fault.Corrupt)]
    [InlineData(28, 1u, Fault.Corrupt)]
    [InlineData(32, 7u, Fault.Corrupt)]
    [InlineData(36, 0u, Fault.Corrupt)]
    [InlineData(36, 65u, Fault.Corrupt)]
    [InlineData(40, 0xFFFF_FFFFu, Fault.Corrupt)]
    [InlineData(40, 0x8u, Fault.Corrupt)]
    [InlineData(64, 0xFFFF_FFFFu, Fault.Truncated)]
    [InlineData(64, 3u, Fault.Truncated)]
    public void A_header_or_entry_that_lies_is_refused(int at, uint value, Fault fault) =>
        Assert.Equal(fault, FaultOf(("disk.hdd", ParallelsWriter.U32(Image().Build(), at, value))).Fault);

    [Fact]
    public void Clusters_over_the_table_are_refused()
    {
        byte[] image = new ParallelsWriter { Extended = false }.Cluster(1, ParallelsWriter.Noise(1, Cluster)).Build();
        ParallelsWriter.U32(image, 64, 0x1);
        Assert.Equal(ParallelsWriter.Noise(1, Cluster), Read(("disk.hdd", image))[Cluster..(2 * Cluster)]);
        ParallelsWriter.U32(image, 48, 9);
        Assert.Equal(Fault.Corrupt, FaultOf(("disk.hdd", image)).Fault);
        ParallelsWriter.U32(image, 48, 0);
        Array.Resize(ref image, 70);
        Assert.Equal(Fault.Truncated, FaultOf(("disk.hdd", image)).Fault);
    }

    [Theory]
    [InlineData(true, 8)]
    [InlineData(false, 8)]
    [InlineData(false, 63)]
    [InlineData(true, 63)]
    [InlineData(false, 504)]
    public void Clusters_of_any_size_are_read(bool extended, int sectors)
    {
        byte[] first = ParallelsWriter.Noise(1, sectors * 512);
        byte[] last = ParallelsWriter.Noise(2, sectors * 512);
        byte[] image = new ParallelsWriter { Extended = extended, ClusterSectors = sectors, Sectors = (4 * sectors) - 1 }.Cluster(3, last).Cluster(0, first).Cluster(1, last).Build();
        Assert.Equal([.. first, .. last, .. new byte[sectors * 512], .. last[..^512]], Read(("disk.hdd", image)));
    }

    [Theory]
    [InlineData(0u, 0u, 0)]
    [InlineData(0x312E_3276u, 0u, 0)]
    [InlineData(0x746F_6E59u, 0u, 1)]
    [InlineData(5u, 0u, 1)]
    [InlineData(0u, 1u, 1)]
    public void An_image_left_open_or_called_empty_is_read_and_told(uint inUse, uint flags, int gaps)
    {
        byte[] image = new ParallelsWriter { InUse = inUse, Flags = flags }.Cluster(0, ParallelsWriter.Noise(1, Cluster)).Build();
        Assert.Equal(ParallelsWriter.Noise(1, Cluster), Read(out IReadOnlyList<CoverageGap> found, ("disk.hdd", image))[..Cluster]);
        Assert.Equal(gaps, found.Count);
        Assert.All(found, g => Assert.Equal(Fault.Corrupt, g.Fault));
        Read(out found, ("disk.hdd", new ParallelsWriter { Flags = 1 }.Build()));
        Assert.Empty(found);
    }

    [Theory]
    [InlineData("cluster_size=1M", 3)]
    [InlineData("cluster_size=64k", 40)]
    public void Content_and_extents_equal_those_of_qemu(string options, int megabytes)
    {
        using var scratch = new Scratch();
        Tool.Shell(
            $"""
            qemu-img create -q -f parallels -o {options} d.hdd {megabytes}M
            qemu-io -f parallels -c 'write -P 1 0 5k' -c 'write -P 2 1023k 3k' -c 'write -P 3 2M 900k' d.hdd > /dev/null
            qemu-img convert -f parallels -O raw d.hdd expected; qemu-img map -f parallels --output=json d.hdd > map
            """,
            scratch.Folder);
        var context = new ReadContext(new ScanBudget(1 << 20), new GapList());
        using (var chain = new FolderChain(scratch.Folder, [Format], context))
        using (VirtualDisk disk = chain.Open("d.hdd"))
        using (JsonDocument map = JsonDocument.Parse(File.ReadAllText(scratch["map"])))
        {
            Assert.Equal(Content.Sha256OfFile(scratch["expected"]), disk.Content.Sha256(step: 100_003));
            foreach (JsonElement range in map.RootElement.EnumerateArray().Where(r => r.GetProperty("data").GetBoolean()))
            {
                long at = range.GetProperty("start").GetInt64();
                for (long end = at + range.GetProperty("length").GetInt64(); at < end;)
                {
                    StoredExtent extent = disk.Content.Locate(at, end - at);
                    Assert.True(extent.IsStored || !File.ReadAllBytes(scratch["expected"]).AsSpan((int)at, (int)extent.Length).ContainsAnyExcept((byte)0), $"qemu has data at {at}");
                    at += extent.Length;
                }
            }
        }

        Assert.Equal(0, context.Budget.InUse);
        Assert.Equal(0, ((GapList)context.Gaps).Count);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_tree_of_states_is_read_from_each_of_them_down(bool plainRoot)
    {
        byte[] model = new byte[64 * 512];
        byte[] RootImage()
        {
            ParallelsWriter.Noise(1, Cluster).CopyTo(model, 0);
            ParallelsWriter.Noise(2, Cluster).CopyTo(model, 5 * Cluster);
            return plainRoot ? (byte[])model.Clone() : new ParallelsWriter().Cluster(0, ParallelsWriter.Noise(1, Cluster)).Cluster(5, ParallelsWriter.Noise(2, Cluster)).Build();
        }

        byte[] root = RootImage();
        byte[] asRoot = (byte[])model.Clone();
        ParallelsWriter.Noise(3, Cluster).CopyTo(model, 5 * Cluster);
        byte[] asMiddle = (byte[])model.Clone();
        ParallelsWriter.Noise(4, Cluster).CopyTo(model, 7 * Cluster);
        (string, byte[])[] files =
        [
            (Descriptor, Xml([(0, 64, [(Root, plainRoot ? "Plain" : "Compressed", "root.hds"), (Middle, "Compressed", "/Users/x/y.hdd/middle.hds"), (ParallelsWriter.DefaultTop, "Compressed", "top.hds")])],
                [(ParallelsWriter.DefaultTop, Middle), (Middle, Root), (Root, Guid.Empty)])),
            ("root.hds", root),
            ("middle.hds", new ParallelsWriter().Cluster(5, ParallelsWriter.Noise(3, Cluster)).Build()),
            ("top.hds", new ParallelsWriter().Cluster(7, ParallelsWriter.Noise(4, Cluster)).Build()),
        ];
        Assert.Equal(model, Read(out IReadOnlyList<CoverageGap> gaps, files));
        Assert.Empty(gaps);
        ImageFile file = new(Descriptor, 0, new MemorySource(files[0].Item2));
        Assert.Equal(["root.hds", "middle.hds", "top.hds"], Format.References(file).Select(r => r.Candidates[0]));
        Assert.Equal([Root.ToString("D"), Middle.ToString("D")], Format.Snapshots(file).Select(s => s.Id));
        Assert.Equal(asRoot, ReadState(Root, files));
        Assert.Equal(asMiddle, ReadState(Middle, files));
        Assert.Equal(Fault.MissingParent, Assert.Throws<DiskFormatException>(() => ReadState(ParallelsWriter.DefaultTop, files)).Fault);
        Assert.Equal(Fault.MissingParent, FaultOf(files[..3]).Fault);
    }

    [Fact]
    public void A_split_disk_is_its_storages_one_after_the_other()
    {
        byte[] first = ParallelsWriter.Noise(1, Cluster);
        byte[] plain = ParallelsWriter.Noise(2, 30 * 512);
        byte[] content = Read(
            (Descriptor, Xml([(64, 94, [(Root, "Plain", "b")]), (0, 64, [(Root, "Compressed", "a")])], [], Root, 94)),
            ("a", new ParallelsWriter().Cluster(2, first).Build()),
            ("b", plain));
        Assert.Equal([.. new byte[2 * Cluster], .. first, .. new byte[5 * Cluster], .. plain], content);
    }

    [Fact]
    public void An_image_of_a_bundle_opened_without_its_descriptor_is_told()
    {
        Read(out IReadOnlyList<CoverageGap> gaps, ("x.hdd.0.{5fbaabe3-6958-40ff-92a7-860e329aab41}.hds", Image().Build()));
        Assert.Equal(Fault.MissingParent, Assert.Single(gaps).Fault);
    }

    [Theory]
    [InlineData("/etc/shadow")]
    [InlineData("../other/x.hds")]
    [InlineData("C:\\Windows\\x")]
    [InlineData("")]
    public void Files_are_opened_by_the_resolver_alone(string file)
    {
        Fault fault = FaultOf((Descriptor, Xml([(0, 64, [(Root, "Compressed", file)])], [], Root))).Fault;
        Assert.True(fault is Fault.Refused or Fault.MissingParent, fault.ToString());
    }

    [Theory]
    [InlineData("<Disk_size>64</Disk_size>", "<Disk_size>65</Disk_size>", Fault.Corrupt)]
    [InlineData("<Disk_size>64</Disk_size>", "<Disk_size>-1</Disk_size>", Fault.Corrupt)]
    [InlineData("<Disk_size>64</Disk_size>", "<Disk_size>99999999999999999999</Disk_size>", Fault.Corrupt)]
    [InlineData("<Padding>0</Padding>", "<Padding>1</Padding>", Fault.Unsupported)]
    [InlineData("<Engine>{00000000", "<Engine>{10000000", Fault.Encrypted)]
    [InlineData("<Type>Compressed</Type>", "<Type>Other</Type>", Fault.Unsupported)]
    [InlineData("<End>64</End>", "<End>0</End>", Fault.Corrupt)]
    [InlineData("<End>64</End>", "", Fault.Corrupt)]
    [InlineData("<Start>0</Start>", "<Start>1</Start>", Fault.Corrupt)]
    [InlineData("<TopGUID>{11111111", "<TopGUID>{21111111", Fault.Corrupt)]
    [InlineData("<ParentGUID>{00000000-0000-0000-0000-000000000000}", "<ParentGUID>{11111111-0000-0000-0000-000000000001}", Fault.Corrupt)]
    [InlineData("<ParentGUID>{00000000-0000-0000-0000-000000000000}", "<ParentGUID>{11111111-0000-0000-0000-000000000009}", Fault.Corrupt)]
    [InlineData("<Parallels_disk_image ", "<x ", Fault.Corrupt)]
    [InlineData("</Snapshots>", "</Snapshot>", Fault.Corrupt)]
    [InlineData("<?xml version='1.0' encoding='UTF-8'?>", "<!DOCTYPE a [<!ENTITY b 'c'>]>", Fault.Corrupt)]
    [InlineData("encoding='UTF-8'", "encoding='nothing'", Fault.Corrupt)]
    public void A_descriptor_that_lies_is_refused(string from, string to, Fault fault)
    {
        string text = ParallelsWriter.Descriptor(64, [(0, 64, [(Root, "Compressed", "a")])], [(Root, Guid.Empty)], Root);
        Assert.Contains(from, text, StringComparison.Ordinal);
        Assert.Equal(fault, FaultOf((Descriptor, Encoding.UTF8.GetBytes(text.Replace(from, to, StringComparison.Ordinal))), ("a", Image().Build())).Fault);
    }

    [Fact]
    public void A_descriptor_without_end_is_refused()
    {
        string deep = string.Concat(Enumerable.Repeat("<a>", 100_000));
        Assert.Equal(Fault.Limit, FaultOf((Descriptor, Encoding.UTF8.GetBytes("<Parallels_disk_image>" + deep))).Fault);
        string wide = string.Concat(Enumerable.Repeat("<a/>", 100_000));
        Assert.Equal(Fault.Limit, FaultOf((Descriptor, Encoding.UTF8.GetBytes("<Parallels_disk_image>" + wide))).Fault);
        Assert.Equal(Fault.Limit, FaultOf((Descriptor, Encoding.UTF8.GetBytes("<Parallels_disk_image>" + new string(' ', 5 << 20)))).Fault);
    }

    [Fact]
    public void Any_slicing_of_reads_equals_one_read()
    {
        var writer = new ParallelsWriter { ClusterSectors = 7, Sectors = 1000 };
        for (int i = 0; i < 143; i += 1 + (i % 3))
        {
            writer.Cluster(i, ParallelsWriter.Noise(i, 7 * 512));
        }

        byte[] image = writer.Build();
        byte[] whole = Read(("disk.hdd", image));
        With([("disk.hdd", image)], disk =>
        {
            var random = new Random(3);
            for (int i = 0; i < 3000; i++)
            {
                int at = random.Next(whole.Length);
                byte[] part = new byte[Math.Min(random.Next(1, 30_000), whole.Length - at)];
                disk.Content.Read(at, part);
                Assert.True(part.AsSpan().SequenceEqual(whole.AsSpan(at, part.Length)), $"other bytes at {at}");
            }
        });
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Damaged_images_give_data_or_a_fault() =>
        Mutations.Check(Image().Build(), (bytes, context) => ReadSome(context, ("disk.hdd", bytes)), [(0, 64), (64, 32)]);

    [Fact]
    [Trait("Category", "Slow")]
    public void Damaged_descriptors_give_data_or_a_fault()
    {
        byte[] xml = Xml([(0, 64, [(Root, "Compressed", "a"), (Middle, "Compressed", "b")])], [(Root, Guid.Empty), (Middle, Root)], Middle);
        byte[] image = Image().Build();
        Mutations.Check(xml, (bytes, context) => ReadSome(context, (Descriptor, bytes), ("a", image), ("b", image)), []);
    }

    private static ParallelsWriter Image() => new ParallelsWriter().Cluster(0, ParallelsWriter.Noise(1, Cluster)).Cluster(3, ParallelsWriter.Noise(2, Cluster));

    private static byte[] Xml((long, long, (Guid, string, string)[])[] storages, (Guid, Guid)[] shots, Guid? top = null, long sectors = 64) =>
        Encoding.UTF8.GetBytes(ParallelsWriter.Descriptor(sectors, storages, shots, top));

    private static void With((string Name, byte[] Bytes)[] files, Action<VirtualDisk> use, GapList? gaps = null)
    {
        var context = new ReadContext(new ScanBudget(4 << 20), gaps ?? new GapList());
        try
        {
            using var chain = new FolderChain(files.ToDictionary(f => f.Name, f => f.Bytes), [Format, new RawFormat()], context);
            using VirtualDisk disk = Format.Open(chain.Image(files[0].Name), chain, context);
            use(disk);
        }
        finally
        {
            Assert.Equal(0, context.Budget.InUse);
        }
    }

    private static byte[] Read(params (string Name, byte[] Bytes)[] files) => Read(out _, files);

    private static byte[] Read(out IReadOnlyList<CoverageGap> gaps, params (string Name, byte[] Bytes)[] files)
    {
        byte[] content = [];
        var list = new GapList();
        With(files, disk => content = disk.Content.ReadAll(), list);
        gaps = list.ToList();
        return content;
    }

    private static byte[] ReadState(Guid id, (string Name, byte[] Bytes)[] files)
    {
        var context = new ReadContext(new ScanBudget(4 << 20), new GapList());
        using var chain = new FolderChain(files.ToDictionary(f => f.Name, f => f.Bytes), [Format], context);
        using VirtualDisk disk = Format.OpenSnapshot(chain.Image(Descriptor), id.ToString("D"), chain, context);
        return disk.Content.ReadAll();
    }

    private static DiskFormatException FaultOf(params (string Name, byte[] Bytes)[] files) =>
        Assert.Throws<DiskFormatException>(() => With(files, disk => disk.Content.Read(0, new byte[Math.Min(disk.Content.Length, 1 << 20)])));

    private static void ReadSome(ReadContext context, params (string Name, byte[] Bytes)[] files)
    {
        using var chain = new FolderChain(files.ToDictionary(f => f.Name, f => f.Bytes), [Format], context);
        ImageFile file = chain.Image(files[0].Name);
        Format.Probe(file);
        Format.References(file);
        Format.Snapshots(file);
        using VirtualDisk disk = Format.Open(file, chain, context);
        disk.Content.Read(0, new byte[Math.Min(disk.Content.Length, 64 << 10)]);
    }
}
