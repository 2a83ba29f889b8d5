using System.Security.Cryptography;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ntfs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs.Dedup;

/// <summary>Files put together again from the chunk store of Windows Server Data Deduplication.</summary>
public sealed class DedupStoreTests : IDisposable
{
    private static readonly byte[] Abc = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat("abc", 100)));

    /// <summary>[MS-XCA] 3.1: 300 bytes "abc" in plain LZ77.</summary>
    private static readonly byte[] AbcPacked = Convert.FromHexString("FFFFFF1F61626317000FFF2601");

    private readonly Scratch _scratch = new();

    private static ReadOnlySpan<byte> Tag => [0x13, 0, 0, 0x80];

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("1.2")]
    [InlineData("2.1")]
    [InlineData("3.1")]
    public void A_file_is_put_together_from_plain_and_packed_chunks(string version)
    {
        var store = new DedupStore();
        byte[] first = Random(70_001, 1);
        byte[] zeros = new byte[8192];
        byte[] last = Random(333, 2);
        BuiltChunk shared = store.Add(first);
        BuiltChunk abc = store.Add(Abc, AbcPacked, packing: 2, container: 2);
        BuiltChunk empty = store.Add(zeros, Convert.FromHexString("03B00200FC0F03B00200FC0F"), packing: 1, container: 3, generation: 0x10000);
        BuiltChunk huffman = store.Add(first, HuffmanPacker.Literals(first), packing: 3, container: 2);
        BuiltChunk end = store.Add(last);
        byte[] one = [.. first, .. Abc, .. zeros, .. first, .. last];
        byte[] two = [.. Abc, .. first, .. Abc];
        using MemorySource volume = Volume(store, new()
        {
            ["one"] = (one.Length, store.Reparse(version, one.Length, store.Map([shared, abc, empty, huffman, end]))),
            ["two"] = (two.Length, store.Reparse(version, two.Length, store.Map([abc, shared, abc]))),
        });
        AssertContent(volume, "one", one);
        AssertContent(volume, "two", two);
    }

    [Theory]
    [InlineData("2.1")]
    [InlineData("3.1")]
    public void A_large_file_has_several_stream_maps(string version)
    {
        var store = new DedupStore();
        var content = new List<byte>();
        var parts = new List<BuiltPart>();
        for (int part = 0; part < 5; part++)
        {
            byte[][] chunks = [.. Enumerable.Range(0, 7).Select(i => Random(1000 + (i * 37) + part, (part * 10) + i))];
            parts.Add(store.Map(chunks.Select(c => store.Add(c, container: (uint)part + 1)).ToList(), content.Count, container: 0x10000u << (part % 2)));
            content.AddRange(chunks.SelectMany(c => c));
        }

        using MemorySource volume = Volume(store, new() { ["large"] = (content.Count, store.Reparse(version, content.Count, [.. parts])) });
        AssertContent(volume, "large", [.. content]);
    }

    [Fact]
    public void Chunks_that_moved_are_found_by_the_redirection_table_and_in_another_generation()
    {
        var store = new DedupStore();
        byte[] content = Random(50_000, 3);
        byte[] more = Random(900, 4);
        store.Add(Random(400, 5));
        BuiltChunk moved = store.Add(content);
        BuiltChunk other = store.Add(more, container: 2, generation: 1);
        store.Map([moved]);
        BuiltPart map = store.Map([moved with { Offset = 0x7000 }, other]);
        store.Redirect("Data/00000001.00000001.ccc", (1, 0x5000), (moved.LocalId, moved.Offset), (90, 0));
        store.Redirect("Stream/00010000.00000001.ccc", (map.LocalId, map.Offset));
        store.Rename("Data/00000002.00000001.ccc", "Data/00000002.00000007.ccc");
        store.Rename("Stream/00010000.00000001.ccc", "Stream/00010000.0000002a.ccc");
        long size = content.Length + more.Length;
        using MemorySource volume = Volume(store, new() { ["f"] = (size, store.Reparse("3.1", size, map with { Offset = 0x5000 })) });
        AssertContent(volume, "f", [.. content, .. more]);
    }

    [Theory]
    [InlineData("no store", "not in the chunk store: the stream map")]
    [InlineData("no container", "not in the chunk store: chunk 1 of Data/00000001.00000001")]
    [InlineData("another digest", "not in the chunk store: chunk 1")]
    [InlineData("another chunk", "not in the chunk store: chunk 1")]
    [InlineData("another length", "not in the chunk store: chunk 1")]
    [InlineData("another map", "not in the chunk store: the stream map")]
    [InlineData("no map signature", "not in the chunk store: the stream map")]
    [InlineData("cut off", "not in the chunk store: chunk 1")]
    [InlineData("unknown packing", "packed by method 9")]
    [InlineData("bad packing", "XPRESS")]
    [InlineData("backwards", "a chunk from")]
    [InlineData("short of the end", "a chunk from")]
    public void What_is_missing_is_a_fault_and_never_the_stub(string what, string detail)
    {
        const string Data = "Data/00000001.00000001.ccc";
        const string Stream = "Stream/00010000.00000001.ccc";
        var store = new DedupStore();
        BuiltChunk chunk = store.Add(Abc, AbcPacked, packing: what == "unknown packing" ? 9u : 2);
        BuiltChunk second = store.Add(Random(500, 6));
        BuiltPart map = store.Map([chunk, second]);
        const int FirstRecord = DedupStore.FirstChunk + 0x68 + 8;
        switch (what)
        {
            case "no store": store.Remove(Data); store.Remove(Stream); break;
            case "no container": store.Remove(Data); break;
            case "another digest": store.Patch(Data, DedupStore.FirstChunk + 0x28, 1, 2, 3); break;
            case "another chunk": store.Patch(Data, DedupStore.FirstChunk + 8, 99); break;
            case "another length": store.Patch(Data, DedupStore.FirstChunk + 12, 99); break;
            case "another map": store.Patch(Stream, DedupStore.FirstChunk + 0x38, 1, 2, 3); break;
            case "no map signature": store.Patch(Stream, DedupStore.FirstChunk + 0x68, 0); break;
            case "cut off": store.Patch(Stream, FirstRecord + 8, 0xFF, 0xFF, 0xFF, 0xFF); break;
            case "bad packing": store.Patch(Data, DedupStore.FirstChunk + 0x58 + 4, 0, 0, 0, 0xFF, 0xFF); store.Patch(Data, DedupStore.FirstChunk + 0x58, 0xFF, 0xFF, 0xFF, 0xFF); break;
            case "backwards": store.Patch(Stream, FirstRecord + 64 + 16, 10, 0); break;
            case "short of the end": store.Patch(Stream, FirstRecord + 64 + 16, 0x21, 3); break;
        }

        using MemorySource volume = Volume(store, new() { ["f"] = (800, store.Reparse("3.1", 800, map)) });
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => Content(volume, "f"));
        Assert.Contains(detail, e.Structure + " " + e.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_missing_takes_nothing_else_away()
    {
        var store = new DedupStore();
        BuiltChunk lost = store.Add(Random(4000, 7));
        byte[] kept = Random(5000, 8);
        BuiltChunk whole = store.Add(kept, container: 2);
        BuiltPart both = store.Map([whole, lost]);
        BuiltPart one = store.Map([whole]);
        store.Remove("Data/00000001.00000001.ccc");
        using MemorySource volume = Volume(store, new()
        {
            ["both"] = (9000, store.Reparse("2.1", 9000, both)),
            ["one"] = (5000, store.Reparse("1.2", 5000, one)),
        });
        AssertContent(volume, "one", kept);
        (SortedSet<string> lines, _) = NtfsImage.List(volume);
        Assert.Contains(lines, l => l.StartsWith("both\t9000\terror ", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("of another size")]
    [InlineData("a hole between parts")]
    [InlineData("no crc")]
    [InlineData("version")]
    public void A_reparse_point_that_does_not_fit_the_file_is_a_fault(string what)
    {
        var store = new DedupStore();
        BuiltChunk chunk = store.Add(Random(1000, 9));
        BuiltPart map = store.Map([chunk]);
        byte[] reparse = what == "a hole between parts"
            ? store.Reparse("3.1", 1500, map, map with { Begin = 1200, End = 1500 })
            : store.Reparse("3.1", 1000, map);
        if (what == "no crc")
        {
            reparse[50] ^= 1;
        }
        else if (what == "version")
        {
            reparse[8] = 7;
            DedupStore.Seal(reparse);
        }

        using MemorySource volume = Volume(store, new() { ["f"] = (what == "of another size" ? 1001 : what == "a hole between parts" ? 1500 : 1000, reparse) });
        GuestFile file = NtfsImage.Files(volume, out _).Single(f => NtfsImage.PathOf(f.Links[0], f) == "f");
        Assert.Equal("deduplication", file.Fault!.Structure);
    }

    [Fact]
    public void A_container_that_is_itself_deduplicated_is_none()
    {
        var store = new DedupStore();
        BuiltChunk chunk = store.Add(Random(1000, 10));
        BuiltPart map = store.Map([chunk]);
        byte[] reparse = store.Reparse("3.1", 1000, map);
        string container = $"System Volume Information/Dedup/ChunkStore/{{{store.Id.ToString().ToUpperInvariant()}}}.ddp/Stream/00010000.00000001.ccc";
        using MemorySource volume = Volume(store, new() { ["f"] = (1000, reparse), [container] = (1000, reparse) }, remove: container);
        Assert.Throws<DiskFormatException>(() => Content(volume, "f"));
        Assert.Throws<DiskFormatException>(() => Content(volume, container));
    }

    [Fact]
    public void Content_can_be_opened_before_the_walk_has_met_the_store()
    {
        var store = new DedupStore();
        byte[] content = Random(3000, 11);
        BuiltPart map = store.Map([store.Add(content)]);
        using MemorySource volume = Volume(store, new() { ["f"] = (3000, store.Reparse("3.1", 3000, map)) }, filesFirst: true);
        using IFileSystem fileSystem = new NtfsFormat().Open(volume, new ReadContext(new ScanBudget(64 << 20), new GapList()));
        foreach (GuestFile file in fileSystem.Walk())
        {
            if (NtfsImage.PathOf(file.Links[0], file) == "f")
            {
                using IBlockSource source = fileSystem.OpenContent(file);
                Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(content)), source.Sha256());
                return;
            }
        }

        Assert.Fail("not listed");
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void A_damaged_store_gives_data_or_a_fault()
    {
        var store = new DedupStore();
        byte[] noise = Random(3000, 12);
        BuiltChunk abc = store.Add(Abc, AbcPacked, packing: 2);
        BuiltChunk plain = store.Add(noise);
        BuiltChunk huffman = store.Add(noise, HuffmanPacker.Literals(noise), packing: 3, container: 2);
        BuiltPart first = store.Map([abc, plain, huffman]);
        BuiltPart second = store.Map([plain, abc], first.End);
        store.Redirect("Data/00000001.00000001.ccc", (1, 0x5000), (2, plain.Offset));
        using MemorySource volume = Volume(store, new()
        {
            ["one"] = (second.End, store.Reparse("3.1", second.End, first, second)),
            ["two"] = (second.End, store.Reparse("2.1", second.End, first, second)),
            ["three"] = (first.End, store.Reparse("1.2", first.End, first)),
        }, size: "1536K", format: "-c 512");
        byte[] image = new byte[volume.Length];
        volume.Read(0, image);
        List<(long, long)> regions = [];
        for (int at = 0; at + 4 <= image.Length; at += 4)
        {
            ReadOnlySpan<byte> four = image.AsSpan(at, 4);
            int length = four.SequenceEqual("Ckhr"u8) ? 0x68
                : four.SequenceEqual("Smap"u8) ? 8 + (3 * 64)
                : four.SequenceEqual("FeRp"u8) ? 0x1C0
                : four.SequenceEqual(Tag) ? 0x100
                : four.SequenceEqual("Rrtl"u8) ? 64 : 0;
            if (length > 0)
            {
                regions.Add((at, length));
            }
        }

        Assert.True(regions.Count > 10, $"{regions.Count} structures only");
        Mutations.Check(image, NtfsMutationTests.ReadAll, regions, Mutations.PerFormat / 2, repair: SealReparse, budgetBytes: 16 << 20);
    }

    private static void SealReparse(byte[] image)
    {
        for (int at = 0; at + 8 <= image.Length; at += 8)
        {
            if (image.AsSpan(at, 4).SequenceEqual(Tag))
            {
                DedupStore.Seal(image.AsSpan(at, 8 + BitConverter.ToUInt16(image, at + 4)));
            }
        }
    }

    private static byte[] Random(int bytes, int seed)
    {
        byte[] content = new byte[bytes];
        new Random(seed).NextBytes(content);
        return content;
    }

    private MemorySource Volume(DedupStore store, Dictionary<string, (long Size, byte[] Reparse)> files, string? remove = null, bool filesFirst = false, string size = "16M", string format = "")
    {
        string copy = store.CopyScript(_scratch.Folder) + (remove is null ? "" : $"; rm '{remove}'");
        string set = string.Join('\n', files.Select(f => DedupStore.SetScript(f.Key, f.Value.Size, f.Value.Reparse)));
        return new MemorySource(File.ReadAllBytes(NtfsImage.Make(_scratch.Folder, size, format, filesFirst ? $"{set}\n{copy}" : $"{copy}\n{set}")));
    }

    /// <summary>Whole, in odd pieces, and byte by byte around a chunk's end.</summary>
    private static void AssertContent(MemorySource volume, string name, byte[] expected)
    {
        Assert.Equal(expected, Content(volume, name));
        Assert.Equal(expected, Content(volume, name, 1021));
        Assert.Equal(expected, Content(volume, name, 65_537));
    }

    private static byte[] Content(MemorySource volume, string name, int piece = int.MaxValue)
    {
        var budget = new ScanBudget(64 << 20);
        byte[] content;
        using (IFileSystem fileSystem = new NtfsFormat().Open(volume, new ReadContext(budget, new GapList())))
        {
            GuestFile file = fileSystem.Walk().ToList().Single(f => f.StreamName.Length == 0 && string.Equals(NtfsImage.PathOf(f.Links[0], f), name, StringComparison.OrdinalIgnoreCase));
            Assert.Null(file.Fault);
            using IBlockSource source = fileSystem.OpenContent(file);
            content = new byte[source.Length];
            for (long at = 0; at < content.Length; at += piece)
            {
                source.Read(at, content.AsSpan((int)at, (int)Math.Min(piece, content.Length - at)));
                Assert.True(source.Locate(at, content.Length - at).IsStored);
            }
        }

        Assert.Equal(0, budget.InUse);
        return content;
    }
}
