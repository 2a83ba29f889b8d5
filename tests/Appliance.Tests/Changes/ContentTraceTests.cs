using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Pipeline.Changes;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Tests.Changes;

/// <summary>What makes two contents the same, and which layer a content is of.</summary>
public sealed class ContentTraceTests
{
    private const int Unit = 1000;

    [Fact]
    public void A_content_is_of_the_deepest_layer_that_has_all_of_it()
    {
        using DiskSource disk = Disk();
        Assert.Equal((2, 9), LayerOf(new SliceSource(disk, 3 * Unit, Unit)));
        Assert.Equal((1, 5), LayerOf(new SliceSource(disk, 2 * Unit, Unit)));
        Assert.Equal((1, 5), LayerOf(new SliceSource(disk, 2 * Unit, 2 * Unit)));
        Assert.Equal((0, 0), LayerOf(new SliceSource(disk, 0, Unit)));
        Assert.Equal((0, 0), LayerOf(new SliceSource(disk, Unit, Unit)));

        // The last byte is the clone's, or lies where the base has ended: so is the file.
        Assert.Equal((0, 0), LayerOf(new SliceSource(disk, (2 * Unit) - 1, Unit)));
        Assert.Equal((0, 0), LayerOf(new SliceSource(disk, 3 * Unit, Unit + 1)));
        Assert.Null(ContentPlaces.Of(new MemorySource(new byte[10])));
        Assert.Equal(-1, ContentPlaces.Of(new SliceSource(disk, 0, 0))!.Disk);

        static (int, int) LayerOf(IBlockSource source) => ContentPlaces.Of(source) is { Disk: 0, Layer: var layer } ? (layer.Depth, layer.File) : default;
    }

    [Fact]
    public void What_an_image_copied_beside_what_was_written_is_the_layers_still()
    {
        byte[] below = [.. Enumerable.Range(0, 4 * Unit).Select(i => (byte)(i % 251))];
        byte[] top = [.. below];
        top[(2 * Unit) + 17] ^= 1;
        var parent = new LayerSource(new MemorySource(below), 1, 5);
        using var disk = new DiskSource(new MappedSource(new UnitMap("HHDZ"), [new MemorySource(top)], parent: parent), 0, tellsLayers: true);
        Dictionary<int, DiskSource> disks = new() { [0] = disk };
        Assert.Equal(1, DepthOf(Unit, Unit + 17));
        Assert.Equal(0, DepthOf(Unit, Unit + 18));
        Assert.Equal(0, DepthOf((2 * Unit) - 1, 2 * Unit));
        Assert.Equal(0, DepthOf((3 * Unit) - 1, 2));

        // Nothing shows through: whose it was is not asked.
        Assert.Equal(0, DepthOf(2 * Unit, 10));

        int DepthOf(long offset, long length) => ContentPlaces.Of(new SliceSource(disk, offset, length), disks)!.Layer.Depth;
    }

    [Fact]
    public void Names_order_length_and_place_are_parts_of_what_is_the_same()
    {
        using DiskSource disk = Disk();
        var ledger = new TraceLedger(new byte[32], [new byte[32]], null, 0, _ => { });
        IBlockSource[] contents =
        [
            new SliceSource(disk, 2 * Unit, Unit),
            new SliceSource(disk, 2 * Unit, Unit - 1),
            new SliceSource(disk, 2 * Unit, Unit + 1),
            new SliceSource(disk, (2 * Unit) + 1, Unit),
            Joined(new SliceSource(disk, 2 * Unit, 500), new SliceSource(disk, (2 * Unit) + 500, 499)),
            Joined(new SliceSource(disk, (2 * Unit) + 500, 500), new SliceSource(disk, 2 * Unit, 500)),
            Joined(new SliceSource(disk, 2 * Unit, 500), new SliceSource(disk, 2 * Unit, 500)),
        ];
        UInt128[] traces = [.. contents.Select(c => Trace(c, "v1/a")), Trace(contents[0], "v1/b"), Trace(contents[0], "v2/a")];

        // The second and the fifth are the same bytes, told in one piece and in two.
        Assert.Equal(traces[1], traces[4]);
        Assert.Equal(traces.Length - 1, traces.Distinct().Count());
        Assert.NotEqual(traces[0], new TraceLedger([.. Enumerable.Repeat((byte)1, 32)], [new byte[32]], null, 0, _ => { }).Trace(Item("v1/a", contents[0]), Unit, ContentPlaces.Of(contents[0])!));

        UInt128 Trace(IBlockSource content, string path) => ledger.Trace(Item(path, content), content.Length, ContentPlaces.Of(content)!);
        static JoinedSource Joined(params IBlockSource[] parts) => new(0, parts, []);
    }

    [Fact]
    public void What_another_worker_kept_is_believed_only_of_the_content_itself()
    {
        AreaContent item = Item("v1/x", new MemorySource(new byte[5]));
        FindingReport finding = new() { Path = "v1/x", SizeBytes = 5, Sha256 = new string('a', 64), Engine = "yara", Rule = "r", Namespace = "n", Severity = "low" };
        byte[] sha256 = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];
        KnownContent known = TracedPayload.Read(TracedPayload.Write([finding], sha256), item)!;
        Assert.Equal((finding.Rule, 1), (Assert.Single(known.Findings).Rule, known.Sha256![1]));
        Assert.Null(TracedPayload.Read(TracedPayload.Write([finding], null), item)!.Sha256);
        Assert.Empty(TracedPayload.Write([], null));
        Assert.Equal(sha256, TracedPayload.Read(TracedPayload.Write([], sha256), item)!.Sha256);
        foreach (FindingReport wrong in (FindingReport[])
        [
            finding with { Path = "v1/y" },
            finding with { AlsoAt = ["v1/z"] },
            finding with { Severity = "none" },
            finding with { Sha256 = "\u001b[31m" },
            finding with { Suppressed = new SuppressedReport("", "", default, "") },
            finding with { SizeBytes = -1 },
        ])
        {
            Assert.Null(TracedPayload.Read(TracedPayload.Write([wrong], null), item));
        }

        byte[] sound = TracedPayload.Write([finding], sha256);
        for (int length = 1; length < sound.Length; length++)
        {
            KnownContent? cut = TracedPayload.Read(sound.AsSpan(0, length), item);
            Assert.True(cut is null || length == 33, $"{length} bytes");
        }

        Assert.Null(TracedPayload.Read([2], item));
        Assert.Null(TracedPayload.Read([0, .. "[null]"u8], item));
    }

    [Fact]
    public void Layers_and_what_is_disproved_are_told_and_held_to_their_form()
    {
        var disproved = Assert.IsType<DisprovedEvent>(MessageText.Event(MessageText.Of(new DisprovedEvent([-1, 3]))));
        Assert.Equal([-1, 3], disproved.Layers);
        Assert.Equal(3, Assert.IsType<TracedEvent>(MessageText.Event(MessageText.Of(new TracedEvent(new byte[24], []) { Layer = 3 }))).Layer);
    }

    private static AreaContent Item(string path, IBlockSource content) => new(path, content) { Coverage = new Coverage("v1"), SizeBytes = content.Length };

    /// <summary>A top image with data, zeros and two holes; below it one with data in the first of these; below that a base that ends before the disk does.</summary>
    private static DiskSource Disk()
    {
        var bottom = new LayerSource(new MemorySource(new byte[4 * Unit]), 2, 9);
        var middle = new LayerSource(new MappedSource(new UnitMap("HHDHH"), [new MemorySource(new byte[5 * Unit])], parent: bottom), 1, 5);
        return new DiskSource(new MappedSource(new UnitMap("DZHHD"), [new MemorySource(new byte[5 * Unit])], parent: middle), 0, tellsLayers: true);
    }

    private sealed class UnitMap(string kinds) : IExtentMap
    {
        public long Length => kinds.Length * Unit;

        public Extent Map(long offset, long count) => new(
            kinds[(int)(offset / Unit)] switch { 'D' => ExtentKind.Data, 'Z' => ExtentKind.Zero, _ => ExtentKind.Hole }, Math.Min(count, Unit - (offset % Unit)), offset);
    }
}
