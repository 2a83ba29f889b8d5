using System.Buffers.Binary;
using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.DiskReaders.Volumes.Lvm2;
using static Vmsweep.DiskReaders.Tests.Volumes.Lvm2.LvmWriter;

namespace Vmsweep.DiskReaders.Tests.Volumes.Lvm2;

/// <summary>
/// One small physical volume with every kind of volume that is read. The metadata of the thin pool and of the cache come from
/// thin_restore and cache_restore.
/// </summary>
internal static class LvmEverything
{
    public const int Extents = 200;

    // Where each part begins, in extents of 4 KiB.
    public const int ThinMetadata = 20;
    public const int ThinData = 52;
    public const int CacheMetadata = 84;
    public const int CacheData = 116;
    public const int Store = 128;
    public const int WriteCache = 136;
    public const int RaidMetadata = 145;

    /// <summary>Blocks of 64 KiB in the original order of the device, and where the pool has them.</summary>
    public static readonly (int Device, int Block, int Data)[] ThinBlocks = [(1, 0, 1), (2, 3, 0)];

    /// <summary>Blocks of 4 KiB: of the origin, and of the cache.</summary>
    public static readonly (int Origin, int Cache)[] CachedBlocks = [(3, 0), (0, 2), (7, 5)];

    private static readonly Lazy<byte[]> Made = new(Make);

    /// <summary>Not to be changed.</summary>
    public static byte[] Disk => Made.Value;

    /// <summary>Where damage leads somewhere.</summary>
    public static List<(long Offset, long Length)> Regions { get; } =
    [
        (LabelAt, 160),
        (AreaAt, 64),
        (AreaAt + 512, 5000),
        (AreaAt + 512, 5000),
        (At(ThinMetadata), 400),
        (At(ThinMetadata) + 4096, 12 * 4096),
        (At(CacheMetadata), 400),
        (At(CacheMetadata) + 4096, 12 * 4096),
        (At(Store), 16),
        (At(Store + 1), 64),
        (At(WriteCache), 128),
        (At(RaidMetadata), 128),
    ];

    /// <summary>Recomputes all checksums.</summary>
    public static void Repair(byte[] disk)
    {
        foreach (int first in (ReadOnlySpan<int>)[ThinMetadata, CacheMetadata])
        {
            for (int block = 0; block < 32; block++)
            {
                Span<byte> bytes = disk.AsSpan(At(first + block), 4096);
                uint salt = block == 0 ? (first == ThinMetadata ? 160774u : 9031977u)
                    : BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]) == (ulong)block ? 121107u : 595846735u;
                BinaryPrimitives.WriteUInt32LittleEndian(bytes, Crc32C.Update(uint.MaxValue, bytes[4..]) ^ salt);
            }
        }

        LvmWriter.Repair(disk);
    }

    /// <summary>Assembles, and reads something of all that can be read.</summary>
    public static void Read(byte[] disk, ReadContext context)
    {
        using var source = new MemorySource(disk);
        Read(source, context);
    }

    public static void Read(IBlockSource source, ReadContext context)
    {
        const int MostExtents = 40;
        var format = new Lvm2Format();
        if (!format.Probe(source))
        {
            return;
        }

        VolumeAssembly all = format.Assemble([new VolumeMember("disk", source, 512)], context);
        try
        {
            foreach (AssembledVolume volume in all.Volumes)
            {
                if ((volume.Content is null) != (volume.Fault is not null) || volume.Place != 0)
                {
                    throw new InvalidOperationException($"{volume} has both a content and a fault, or neither");
                }

                if (volume.Content is { } content)
                {
                    Read(content, MostExtents);
                }
            }

            if (all.Volumes.Count == 0 || all.Leftovers.Any(a => a.OffsetBytes < 0 || a.SizeBytes <= 0 || a.SizeBytes > source.Length - a.OffsetBytes))
            {
                throw new InvalidOperationException("a member without a volume, or a leftover outside of it");
            }
        }
        finally
        {
            foreach (AssembledVolume volume in all.Volumes)
            {
                volume.Dispose();
            }
        }
    }

    private static void Read(IBlockSource content, int most)
    {
        Span<byte> buffer = stackalloc byte[1024];
        long at = 0;
        for (int i = 0; i < most && at < content.Length; i++)
        {
            try
            {
                StoredExtent extent = content.Locate(at, content.Length - at);
                if (extent.Length <= 0 || extent.Length > content.Length - at)
                {
                    throw new InvalidOperationException($"an extent of {extent.Length} bytes at {at}");
                }

                content.Read(at, buffer[..(int)Math.Min(buffer.Length, extent.Length)]);
                at += extent.Length;
            }
            catch (DiskFormatException)
            {
                at += 4096;
            }
        }
    }

    private static int At(int extent) => DataAt + (extent * ExtentBytes);

    private static byte[] Make()
    {
        string[] volumes =
        [
            Logical("linear", Linear(2, 0), Linear(1, 4, number: 2, start: 2), Segment(2 + 1, 3, 1, "zero", "")),
            Logical("striped", Segment(1, 0, 4, "striped", "stripe_count = 2\nstripe_size = 2\nstripes = [\"pv0\", 2, \"pv0\", 5]")),
            Logical("mirror", Segment(1, 0, 2, "mirror", "mirrors = [\"pv0\", 7, \"pv0\", 9]")),
            Logical("raid5", Segment(1, 0, 4, "raid5_ls", "stripe_size = 2\nraids = [\"m0\", \"i0\", \"m1\", \"i1\", \"m2\", \"i2\"]")),
            Hidden("m0", Linear(1, RaidMetadata)), Hidden("m1", Linear(1, RaidMetadata + 1)), Hidden("m2", Linear(1, RaidMetadata + 2)),
            Hidden("i0", Linear(2, 11)), Hidden("i1", Linear(2, 13)), Hidden("i2", Linear(2, 15)),
            Logical("pool", Segment(1, 0, 32, "thin-pool", "metadata = \"tmeta\"\npool = \"tdata\"\ntransaction_id = 2\nchunk_size = 128")),
            Hidden("tmeta", Linear(32, ThinMetadata)), Hidden("tdata", Linear(32, ThinData)),
            Logical("thin1", Segment(1, 0, 96, "thin", "thin_pool = \"pool\"\ndevice_id = 1")),
            Logical("thin2", Segment(1, 0, 80, "thin", "thin_pool = \"pool\"\ndevice_id = 2\nexternal_origin = \"linear\"")),
            Logical("cached", Segment(1, 0, 8, "cache", "cache_pool = \"fast\"\norigin = \"corig\"")),
            Hidden("fast", Segment(1, 0, 8, "cache-pool+METADATA_FORMAT", "data = \"cdata\"\nmetadata = \"cmeta\"\ncache_mode = \"writeback\"")),
            Hidden("cdata", Linear(8, CacheData)), Hidden("cmeta", Linear(32, CacheMetadata)), Hidden("corig", Linear(8, 150)),
            Hidden("cow", Linear(8, Store)), Logical("snapshot0", Segment(1, 0, 4, "snapshot", "chunk_size = 8\norigin = \"linear\"\ncow_store = \"cow\"")),
            Logical("written", Segment(1, 0, 8, "writecache", "writecache = \"wc\"\norigin = \"worig\"\nwritecache_block_size = 4096")),
            Hidden("wc", Linear(8, WriteCache)), Hidden("worig", Linear(8, 160)),
        ];
        byte[] disk = LvmWriter.Disk(0, Text(string.Concat(volumes), extents: Extents), Extents);
        Restore("thin_restore", $"""
            <superblock uuid="" time="1" transaction="2" data_block_size="128" nr_data_blocks="2">
            {string.Concat(ThinBlocks.Select(b => string.Create(CultureInfo.InvariantCulture, $"<device dev_id=\"{b.Device}\" mapped_blocks=\"1\" transaction=\"0\" creation_time=\"0\" snap_time=\"0\"><single_mapping origin_block=\"{b.Block}\" data_block=\"{b.Data}\" time=\"1\"/></device>")))}
            </superblock>
            """).CopyTo(disk, At(ThinMetadata));
        Restore("cache_restore", $"""
            <superblock uuid="" block_size="8" nr_cache_blocks="8" policy="smq" hint_width="4"><mappings>
            {string.Concat(CachedBlocks.Select(b => string.Create(CultureInfo.InvariantCulture, $"<mapping cache_block=\"{b.Cache}\" origin_block=\"{b.Origin}\" dirty=\"true\"/>")))}
            </mappings><hints></hints></superblock>
            """).CopyTo(disk, At(CacheMetadata));

        // dm-snap-persistent.c: header, exceptions of old to new chunk, of 4 KiB.
        Words(At(Store), 0x7041_6E53 | (1L << 32), 1 | (8L << 32));
        Words(At(Store + 1), 1, 2, 3, 3, 0, 0);

        // dm-writecache.c: header of 64 bytes, then for each block where it belongs and its sequence number. Block 0 is older than 1.
        Words(At(WriteCache), 0x2348_9321 | (1L << 32), 4096, 7, 10);
        Words(At(WriteCache) + 64, 16, 4, 16, 5, 0, 10, -1, -1, 56, 1, -1, -1, -1, -1);
        for (int i = 0; i < 3; i++)
        {
            // dm-raid.c: sound, in step, all there.
            Words(At(RaidMetadata + i), 0x6452_6D44, 3 | ((long)i << 32), 5, 0, -1, -1, 5 | (2L << 32), 2, -1, 5 | (2L << 32), 2);
        }

        return disk;

        void Words(int at, params long[] words)
        {
            for (int i = 0; i < words.Length; i++)
            {
                BinaryPrimitives.WriteInt64LittleEndian(disk.AsSpan(at + (8 * i)), words[i]);
            }
        }
    }
}
