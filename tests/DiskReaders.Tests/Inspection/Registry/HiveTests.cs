using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection.Registry;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Inspection.Registry;

public sealed class HiveTests
{
    /// <summary>All that hivex reads of a hive, in the form of <see cref="HiveReading.Lines"/>.</summary>
    private const string HivexListing = """
        import hivex, sys
        h = hivex.Hivex(sys.argv[1])
        def walk(node, path):
            values = h.node_values(node)
            for v in values:
                t, data = h.value_value(v)
                print(f"{path}|{h.value_key(v)}|{t}|{data.hex().upper()}")
            if not values: print(path)
            for child in h.node_children(node): walk(child, path + "\\" + h.node_name(child))
        walk(h.root(), "")
        """;

    private static readonly byte[] Noise = [.. Enumerable.Range(0, 40_000).Select(i => (byte)(i * 7 >> 3))];

    [Theory]
    [InlineData("lf", int.MaxValue, 3)]
    [InlineData("lh", int.MaxValue, 5)]
    [InlineData("li", int.MaxValue, 5)]
    [InlineData("lh", 3, 5)]
    [InlineData("li", 2, 5)]
    public void Every_kind_of_list_reads_as_hivex_reads_it(string list, int leaf, uint minor)
    {
        byte[] hive = Sample(new HiveWriter { List = list, KeysOfLeaf = leaf, MinorVersion = minor }).Build();
        Assert.Equal(Hivex(hive), HiveReading.Lines(hive));
    }

    [Fact]
    public void What_hivex_writes_is_read()
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["hive"], new HiveWriter { List = "lf", MinorVersion = 3 }.Key("Microsoft").Build());
        Tool.Find("hivexsh");
        Tool.Shell(
            """
            {
              for i in $(seq 1 40); do printf 'cd \\Microsoft\nadd Key%d\ncd Key%d\nsetval 2\nName\nstring:value %d\nNumber\ndword:%d\n' $i $i $i $i; done
              printf 'commit\n'
            } | hivexsh -w hive
            """,
            scratch.Folder);
        byte[] hive = File.ReadAllBytes(scratch["hive"]);
        List<string> lines = HiveReading.Lines(hive);
        Assert.Equal(Hivex(hive), lines);
        Assert.Contains(@"\Microsoft\Key17|Number|4|11000000", lines);
    }

    [Fact]
    public void A_hive_in_the_middle_of_a_write_reads_as_its_logs_say()
    {
        byte[] before = Sample(new HiveWriter()).Build();
        byte[] after = Sample(new HiveWriter()).Text(@"Microsoft\Windows NT\CurrentVersion", "ProductName", new string('x', 9000)).Build();
        List<string> expected = HiveReading.Lines(after);
        Assert.NotEqual(expected, HiveReading.Lines(before));
        byte[] dirty = HiveWriter.Dirty(before);
        byte[] log = HiveWriter.NewLog(before, after, 7);
        Assert.Equal(expected, HiveReading.Lines(dirty, log));

        // Split over two logs, in either order, with entries that are in the hive already, and with a base block that was cut off.
        byte[] first = HiveWriter.NewLog(before, after, 7, 2);
        byte[] rest = [.. log[..512], .. log[first.Length..]];
        Assert.Equal(expected, HiveReading.Lines(dirty, first, rest));
        Assert.Equal(expected, HiveReading.Lines(dirty, rest, first));
        Assert.Equal(expected, HiveReading.Lines(dirty, HiveWriter.OldLog(before, after)));
        byte[] torn = (byte[])dirty.Clone();
        torn[508] ^= 1;
        Assert.Equal(expected, HiveReading.Lines(torn, HiveWriter.OldLog(before, after)));

        // A clean hive has nothing to take from a log.
        Assert.Equal(HiveReading.Lines(before), HiveReading.Lines(before, log));
    }

    [Fact]
    public void An_entry_that_is_not_whole_ends_the_log()
    {
        byte[] before = Sample(new HiveWriter()).Build();
        byte[] after = Sample(new HiveWriter()).Text("Last", "Name", new string('x', 9000)).Build();
        byte[] log = HiveWriter.NewLog(before, after, 7);
        log[512 + 100] ^= 1;
        using Hive hive = PackedHive.Open(HiveWriter.Dirty(before), [log], Context());
        Assert.Equal(0, hive.LogEntriesApplied);
        log[512 + 100] ^= 1;
        using Hive whole = PackedHive.Open(HiveWriter.Dirty(before), [log], Context());
        Assert.True(whole.LogEntriesApplied > 2);
    }

    [Theory]
    [InlineData("signature", 0, 0x67666573u)]
    [InlineData("version", 20, 2u)]
    [InlineData("no bins", 40, 0u)]
    [InlineData("bins of all bytes there are", 40, 0xFFFF_F000u)]
    [InlineData("root beyond the end", 36, 0x7FFF_FFF8u)]
    [InlineData("root that is not aligned", 36, 0x25u)]
    [InlineData("root that is a bin's header", 36, 0u)]
    public void A_base_block_that_lies_is_refused(string _, int at, uint value)
    {
        byte[] hive = Sample(new HiveWriter()).Build();
        HiveWriter.U32(hive, at, value);
        HiveWriter.Repair(hive);
        Assert.Throws<DiskFormatException>(() => HiveReading.Lines(hive));
    }

    [Fact]
    public void A_list_that_leads_to_itself_ends()
    {
        byte[] hive = new HiveWriter { KeysOfLeaf = 1 }.Key("a").Key("b").Build();
        int root = 4096 + BitConverter.ToInt32(hive, 36) + 4;
        int list = BitConverter.ToInt32(hive, root + 28);
        HiveWriter.U32(hive, 4096 + list + 4 + 4, (uint)list);
        var fault = Assert.Throws<DiskFormatException>(() => HiveReading.Lines(hive));
        Assert.Equal(Fault.Corrupt, fault.Fault);
    }

    [Fact]
    public void A_key_that_is_its_own_child_is_found_once_for_each_name_asked_for()
    {
        byte[] hive = new HiveWriter().Key("a").Build();
        uint root = BitConverter.ToUInt32(hive, 36);
        int list = BitConverter.ToInt32(hive, 4096 + (int)root + 4 + 28);
        HiveWriter.U32(hive, 4096 + list + 8, root);
        using Hive opened = PackedHive.Open(hive, [], Context());
        Assert.Null(opened.Find("a"));
        Assert.Equal("ROOT", Assert.Single(Assert.Single(opened.Root.Children).Children).Name);
    }

    [Theory]
    [InlineData(0x4FB61A001BDBCCUL, "", 0x30ED35C100CD3C7DUL)]
    [InlineData(0x4FB61A001BDBCCUL, "AF", 0x48E73FC77D75DDC1UL)]
    [InlineData(0x4FB61A001BDBCCUL, "E70F", 0xB5F6E1FC485DBFF8UL)]
    [InlineData(0x4FB61A001BDBCCUL, "37F495", 0xF0B07C789B8CF7E8UL)]
    [InlineData(0x4FB61A001BDBCCUL, "8642DC59", 0x7008F2E87E9CF556UL)]
    [InlineData(0x4FB61A001BDBCCUL, "AB427EA8D10FC7", 0xE11847E4F0678C41UL)]
    public void Marvin32_gives_its_known_answers(ulong seed, string data, ulong expected) => Assert.Equal(expected, Marvin32.Of(Convert.FromHexString(data), seed));

    [Fact]
    public void A_damaged_hive_or_log_gives_data_or_a_format_exception()
    {
        byte[] before = PackedHive.Small("a").Build();
        byte[] after = PackedHive.Small("b").Text("Microsoft", "More", new string('x', 2000)).Build();
        byte[] packed = PackedHive.Pack(HiveWriter.Dirty(before), HiveWriter.NewLog(before, after, 7), HiveWriter.OldLog(before, after));
        Mutations.Check(packed, PackedHive.Read, [(12, 48), (12 + 4096, 2000), (12 + before.Length, 600), (12 + before.Length + 512, 2000)], repair: PackedHive.Repair, budgetBytes: 16 << 20);
    }

    [Fact]
    public void A_damaged_clean_hive_gives_data_or_a_format_exception() =>
        Mutations.Check(PackedHive.Pack(PackedHive.Small("a").Build(), [], []), PackedHive.Read, [(12, 48), (12 + 4096, 2000)], repair: PackedHive.Repair, budgetBytes: 16 << 20);

    private static HiveWriter Sample(HiveWriter writer)
    {
        writer.Text(@"Microsoft\Windows NT\CurrentVersion", "ProductName", "Windows 10 Pro").Number(@"Microsoft\Windows NT\CurrentVersion", "UBR", 3447)
            .Value("Values", "", 3, [1, 2]).Value("Values", "none", 0, []).Value("Values", "four", 3, [1, 2, 3, 4]).Value("Values", "five", 3, [1, 2, 3, 4, 5])
            .Value("Values", "edge", 3, Noise[..16344]).Text("Values", "many", "a\0b\0", 7);
        if (writer.MinorVersion > 3)
        {
            writer.Value("Values", "big", 3, Noise).Value("Values", "justBig", 3, Noise[..16345]);
        }

        for (int i = 0; i < 30; i++)
        {
            writer.Key($@"Many\Key{i}\Below");
        }

        return writer.Key(@"Many\Ключ");
    }

    private static ReadContext Context() => new(new ScanBudget(64 << 20), new GapList());

    private static List<string> Hivex(byte[] hive)
    {
        Tool.Find("hivexsh");
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["hive"], hive);
        File.WriteAllText(scratch["list.py"], HivexListing);
        List<string> lines = [.. Encoding.UTF8.GetString(Tool.RunRaw("/usr/bin/python3", scratch.Folder, "list.py", "hive")).Split('\n')[..^1]];
        lines.Sort(StringComparer.Ordinal);
        return lines;
    }
}
