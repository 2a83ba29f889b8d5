using System.Security.Cryptography;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Tests.Hostile;

public sealed class ContentHasherTests
{
    [Fact]
    public void Claims_beyond_all_numbers_are_gaps_and_cost_the_others_nothing()
    {
        var gaps = new GapList();
        var coverage = new Coverage("v1");
        byte[] content = [.. Enumerable.Range(0, 700_000).Select(i => (byte)(i * 7))];
        List<ContentItem> items = [];
        for (int i = 0; i < 200; i++)
        {
            // The largest file that a file system can claim, nothing of it stored, and an honest one beside it.
            items.Add(new AreaContent($"v1/huge{i}", new Zeros(long.MaxValue)) { Coverage = coverage, SizeBytes = long.MaxValue });
            items.Add(new AreaContent($"v1/sparse{i}", new Zeros(1000)) { Coverage = coverage, SizeBytes = 1000 });
        }

        items.Add(new AreaContent("v1/stored", new MemorySource(content)) { Coverage = coverage, SizeBytes = content.Length });
        var hashes = new System.Collections.Concurrent.ConcurrentDictionary<string, byte[]>();
        new ContentHasher(4, gaps, mostZeros: 1 << 20, () => { }, TestContext.Current.CancellationToken).Run(items, (item, hash) => Assert.True(hashes.TryAdd(item.Path, hash)));
        Assert.Equal(201, hashes.Count);
        Assert.Equal(SHA256.HashData(content), hashes["v1/stored"]);
        Assert.All(Enumerable.Range(0, 200), i => Assert.Equal(SHA256.HashData(new byte[1000]), hashes[$"v1/sparse{i}"]));
        Assert.Equal(Enumerable.Range(0, 200).Select(i => $"v1/huge{i}").Order(StringComparer.Ordinal), gaps.ToList().Select(g => g.Path).Order(StringComparer.Ordinal));
        Assert.All(gaps.ToList(), g => Assert.Equal(Fault.Limit, g.Fault));
    }

    [Fact]
    public void A_content_that_breaks_off_has_no_hash_and_leaves_nothing_in_the_next()
    {
        var gaps = new GapList();
        var coverage = new Coverage("v1");
        byte[] content = [1, 2, 3];
        List<ContentItem> items =
        [
            new AreaContent("v1/broken", new Broken(600_000, goodBytes: 300_000)) { Coverage = coverage, SizeBytes = 600_000 },
            new AreaContent("v1/next", new MemorySource(content)) { Coverage = coverage, SizeBytes = 3 },
        ];
        Dictionary<string, byte[]> hashes = [];
        new ContentHasher(1, gaps, mostZeros: 0, () => { }, TestContext.Current.CancellationToken).Run(items, (item, hash) => hashes.Add(item.Path, hash));
        Assert.Equal(("v1/next", Convert.ToHexString(SHA256.HashData(content))), hashes.Select(h => (h.Key, Convert.ToHexString(h.Value))).Single());
        Assert.Equal(("v1/broken", Fault.Corrupt), gaps.ToList().Select(g => (g.Path, g.Fault)).Single());
    }

    private sealed class Zeros(long length) : IBlockSource
    {
        public long Length => length;

        public void Read(long offset, Span<byte> destination) => destination.Clear();

        public StoredExtent Locate(long offset, long count) => new(ExtentKind.Hole, count);

        public void Dispose()
        {
        }
    }

    private sealed class Broken(long length, long goodBytes) : IBlockSource
    {
        public long Length => length;

        public void Read(long offset, Span<byte> destination)
        {
            if (offset + destination.Length > goodBytes)
            {
                throw new DiskFormatException(Fault.Corrupt, "content", offset, "made so");
            }

            destination.Fill(9);
        }

        public StoredExtent Locate(long offset, long count) => new(ExtentKind.Data, count);

        public void Dispose()
        {
        }
    }
}
