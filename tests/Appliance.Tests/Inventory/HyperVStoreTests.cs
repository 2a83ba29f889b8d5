using System.Buffers.Binary;
using Vmsweep.Appliance.Connectors.HyperV;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Inventory;

/// <summary>Hyper-V's key-value store, built from its specification: no host of Hyper-V was at hand.</summary>
public sealed class HyperVStoreTests
{
    private const string Notes = "configuration/properties/notes";

    [Fact]
    public void Every_type_is_read_by_its_path()
    {
        byte[] image = new HyperVStoreWriter()
            .Add("configuration/properties/name", "wéb 01")
            .Add("configuration/properties/subtype", 1L)
            .Add("configuration/properties/version", 0x0A00UL)
            .Add("configuration/properties/ratio", 0.5)
            .Add("configuration/settings/vnuma/enabled", true)
            .Add("configuration/properties/creation_time", new byte[] { 1, 2, 3, 4, 5, 6, 7, 8 })
            .Add("top", "level")
            .Build();
        IReadOnlyDictionary<string, object> values = Read(image).Values;
        Assert.Equal("wéb 01", values["configuration/properties/name"]);
        Assert.Equal(1L, values["configuration/properties/subtype"]);
        Assert.Equal(0x0A00UL, values["configuration/properties/version"]);
        Assert.Equal(0.5, values["configuration/properties/ratio"]);
        Assert.Equal(true, values["CONFIGURATION/settings/vnuma/enabled"]);
        Assert.Equal(new byte[] { 1, 2, 3, 4, 5, 6, 7, 8 }, Assert.IsType<byte[]>(values["configuration/properties/creation_time"]));
        Assert.Equal("level", values["top"]);
        Assert.Equal(7, values.Count);
    }

    [Fact]
    public void Entries_of_many_tables_and_long_values_are_found()
    {
        var writer = new HyperVStoreWriter().Add(Notes, new string('n', 5000)).Add("configuration/blob", new byte[70_000]);
        for (int i = 0; i < 500; i++)
        {
            writer.Add(FormattableString.Invariant($"configuration/manifest/vdev{i:D3}/instance"), FormattableString.Invariant($"instance {i}"));
        }

        IReadOnlyDictionary<string, object> values = Read(writer.Build()).Values;
        Assert.Equal(new string('n', 5000), values[Notes]);
        Assert.Equal("instance 499", values["configuration/manifest/vdev499/instance"]);
        Assert.Equal(501, values.Count);
    }

    [Fact]
    public void A_damaged_header_leaves_it_to_the_other_and_the_newer_one_counts()
    {
        byte[] image = Sample();
        image[20] ^= 1;
        Assert.Equal("web", Read(image).Values["configuration/properties/name"]);
        image[HyperVStoreWriter.Page + 20] ^= 1;
        Fails(image, Fault.Corrupt, "neither");

        // Sequence numbers wrap: 1 comes after 65,535.
        image = Sample();
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(8), 65_535);
        BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan(26), 1);
        HyperVStoreWriter.Repair(image);
        Assert.Equal("web", Read(image).Values["configuration/properties/name"]);
    }

    [Fact]
    public void The_replay_log_is_applied()
    {
        var writer = new HyperVStoreWriter().Add("configuration/properties/name", "old");
        byte[] before = writer.Build();
        byte[] after = new HyperVStoreWriter().Add("configuration/properties/name", "new").Build();
        writer.Replay.Add((HyperVStoreWriter.FirstTableAt, after[HyperVStoreWriter.FirstTableAt..(HyperVStoreWriter.FirstTableAt + 1000)]));
        Assert.Equal("old", Read(before).Values["configuration/properties/name"]);
        byte[] dirty = writer.Build();
        Assert.Equal("new", Read(dirty).Values["configuration/properties/name"]);

        // What the log does not vouch for is not applied.
        dirty[HyperVStoreWriter.ReplayLogAt + HyperVStoreWriter.Page] ^= 1;
        Fails(dirty, Fault.Corrupt, "DataChecksum");
    }

    [Theory]
    [InlineData(0x0300)]
    [InlineData(0x0500)]
    public void Other_versions_are_not_guessed_at(uint version) =>
        Fails(new HyperVStoreWriter { Version = version }.Add("a", "b").Build(), Fault.Unsupported, "FormatVersion");

    [Theory]
    [InlineData("parent is itself", Fault.Corrupt)]
    [InlineData("parent is not there", Fault.Corrupt)]
    [InlineData("entry of no size that is not the last", null)]
    [InlineData("entry beyond its table", Fault.Corrupt)]
    [InlineData("name beyond its entry", Fault.Corrupt)]
    [InlineData("tables lead round", Fault.Corrupt)]
    [InlineData("millions of objects", Fault.Limit)]
    [InlineData("table of four gigabytes", Fault.Limit)]
    [InlineData("table beyond the file", Fault.Truncated)]
    [InlineData("string longer than its entry", Fault.Corrupt)]
    [InlineData("log beyond the file", Fault.Truncated)]
    [InlineData("log of a million entries", Fault.Corrupt)]
    public void Hostile_structures_are_refused(string what, Fault? fault)
    {
        byte[] image = Sample();
        const int Entry = HyperVStoreWriter.FirstTableAt + 10;
        const int Slot = HyperVStoreWriter.ObjectTableAt + 8;
        switch (what)
        {
            case "parent is itself":
                Put(image, Entry + 6, 1, 2);
                Put(image, Entry + 8, 10, 4);
                break;
            case "parent is not there":
                Put(image, Entry + 6, 77, 2);
                break;
            case "entry of no size that is not the last":
                Put(image, Entry + 2, 0, 4);
                break;
            case "entry beyond its table":
                Put(image, Entry + 2, 5000, 4);
                break;
            case "name beyond its entry":
                image[Entry + 20] = 255;
                break;
            case "tables lead round":
                image[Slot] = 1;
                Put(image, Slot + 5, HyperVStoreWriter.ObjectTableAt, 8);
                break;
            case "millions of objects":
                Put(image, HyperVStoreWriter.ObjectTableAt + 4, 10_000_000, 4);
                break;
            case "table of four gigabytes":
                Put(image, Slot + 13, uint.MaxValue, 4);
                break;
            case "table beyond the file":
                Put(image, Slot + 5, 1UL << 62, 8);
                break;
            case "string longer than its entry":
                int name = image.AsSpan().IndexOf("name\0"u8);
                Put(image, name + 5, uint.MaxValue, 4);
                break;
            case "log beyond the file":
                Put(image, 26, 1UL << 62, 8);
                break;
            default:
                Put(image, HyperVStoreWriter.ReplayLogAt + 8, 1_000_000, 4);
                break;
        }

        HyperVStoreWriter.Repair(image);
        if (fault is { } expected)
        {
            Fails(image, expected, "");
        }
        else
        {
            Assert.Empty(Read(image).Values);
        }
    }

    [Fact]
    public void A_damaged_store_gives_values_or_a_fault() => Damage(2_000, 1);

    [Fact]
    [Trait("Category", "Slow")]
    public void A_damaged_store_gives_values_or_a_fault_twenty_thousand_times() => Damage(Mutations.PerFormat, 2);

    private static void Damage(int count, int seed)
    {
        var writer = new HyperVStoreWriter().Add(Notes, new string('n', 3000));
        for (int i = 0; i < 60; i++)
        {
            writer.Add(FormattableString.Invariant($"configuration/_83f8638b-8dca-4152-9eda-2ca8b33039b4_/controller{i}/drive0/pathname"), "C:\\x.vhdx");
        }

        writer.Replay.Add((HyperVStoreWriter.FirstTableAt + 2000, new byte[8]));
        byte[] image = writer.Build();
        Mutations.Check(
            image,
            (bytes, _) =>
            {
                using var source = new MemorySource(bytes);
                Read(source);
            },
            [(0, 46), (HyperVStoreWriter.Page, 46), (HyperVStoreWriter.ObjectTableAt, 200), (HyperVStoreWriter.ReplayLogAt, 62), (HyperVStoreWriter.FirstTableAt, image.Length - HyperVStoreWriter.FirstTableAt)],
            count,
            seed,
            HyperVStoreWriter.Repair);
    }

    private static byte[] Sample() => new HyperVStoreWriter().Add("configuration/properties/name", "web").Build();

    private static void Put(byte[] image, int at, ulong value, int length)
    {
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        bytes.AsSpan(0, length).CopyTo(image.AsSpan(at));
    }

    private static HyperVStore Read(byte[] image)
    {
        using var source = new MemorySource(image);
        return Read(source);
    }

    private static HyperVStore Read(MemorySource source) => HyperVStore.Read(source);

    private static void Fails(byte[] image, Fault fault, string detail)
    {
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => Read(image));
        Assert.Equal(fault, e.Fault);
        Assert.Contains(detail, e.Detail, StringComparison.Ordinal);
    }
}
