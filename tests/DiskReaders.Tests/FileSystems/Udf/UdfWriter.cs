using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.FileSystems.Udf;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Udf;

/// <summary>Writes small UDF volumes with what no tool here makes: every kind of partition map, allocation and entry.</summary>
internal sealed class UdfWriter
{
    public const int Block = 512;
    public const int Blocks = 1024;
    public const int SetBlocks = 48;

    private const int PartitionStart = 300;
    private const int PacketBlocks = 16;
    private const int SparePacket = 500;
    private const int SetAt = 110;
    private const int MainSequence = 260;
    private const int ReserveSequence = 268;

    private readonly string _map;

    /// <param name="map">plain, metadata, virtual or sparable.</param>
    public UdfWriter(string map)
    {
        _map = map;
        Image = new byte[Blocks * Block];
        foreach ((string id, int i) in new[] { ("BEA01", 0), ("NSR03", 1), ("TEA01", 2) })
        {
            Encoding.ASCII.GetBytes(id).CopyTo(Image, 0x8001 + (i * 2048));
        }

        foreach (int sequence in (int[])[MainSequence, ReserveSequence])
        {
            Volume(sequence);
        }

        foreach (int at in map == "virtual" ? (int[])[256] : [256, Blocks - 1])
        {
            Tagged(at, UdfTag.AnchorVolumePointer, at, b =>
            {
                I32(b, 16, 8 * Block);
                I32(b, 20, MainSequence);
                I32(b, 24, 8 * Block);
                I32(b, 28, ReserveSequence);
            });
        }

        Maps();
        Files();
    }

    public byte[] Image { get; }

    /// <summary>What the files hold.</summary>
    public SortedDictionary<string, byte[]> Content { get; } = new(StringComparer.Ordinal);

    /// <summary>Where a block of the file set lies on the volume.</summary>
    public int At(int block) => Block * _map switch
    {
        "metadata" => PartitionStart + SetAt + block,
        "virtual" => PartitionStart + SetAt + SetBlocks - 1 - block,
        "sparable" when block < PacketBlocks => SparePacket + block,
        _ => PartitionStart + block,
    };

    /// <summary>Makes checksums and CRCs right wherever a tag is.</summary>
    public static void Repair(byte[] image)
    {
        for (int at = 0; at + UdfTag.Size <= image.Length; at += 4)
        {
            if (image[at] == 1 && image[at + 1] == 1 && image[at + 2] == 3)
            {
                Seal(image.AsSpan(at, Math.Min(Block, image.Length - at)));
            }
        }

        for (int at = 0; at + Block <= image.Length; at += Block)
        {
            if (image[at + 2] is 2 or 3 && image[at + 3] == 0 && (image[at] | (image[at + 1] << 8)) is > 0 and < 300)
            {
                Seal(image.AsSpan(at, Block));
            }
        }
    }

    private static void Seal(Span<byte> descriptor)
    {
        int length = BinaryPrimitives.ReadUInt16LittleEndian(descriptor[10..]);
        if (length <= descriptor.Length - UdfTag.Size)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(descriptor[8..], UdfTag.Crc(descriptor.Slice(UdfTag.Size, length)));
        }

        descriptor[4] = UdfTag.Checksum(descriptor);
    }

    private static void I32(byte[] b, int at, long value) => BinaryPrimitives.WriteUInt32LittleEndian(b.AsSpan(at), (uint)value);

    private static void I16(byte[] b, int at, int value) => BinaryPrimitives.WriteUInt16LittleEndian(b.AsSpan(at), (ushort)value);

    private static byte[] Describe(int tag, int location, int length, Action<byte[]> fill)
    {
        byte[] b = new byte[length];
        I16(b, 0, tag);
        I16(b, 2, 3);
        I32(b, 12, location);
        fill(b);
        I16(b, 10, length - UdfTag.Size);
        Seal(b);
        return b;
    }

    private int SetPartition => _map == "plain" ? 0 : 1;

    private void Tagged(int block, int tag, int location, Action<byte[]> fill) => Describe(tag, location, Block, fill).CopyTo(Image, block * Block);

    private void Volume(int at)
    {
        Tagged(at, UdfTag.PrimaryVolume, at, b => I32(b, 16, 1));
        Tagged(at + 1, UdfTag.Partition, at + 1, b =>
        {
            I32(b, 16, 2);
            I32(b, 188, PartitionStart);
            I32(b, 192, Blocks - PartitionStart);
        });
        Tagged(at + 2, UdfTag.LogicalVolume, at + 2, b =>
        {
            I32(b, 16, 3);
            "\u0008LABEL"u8.CopyTo(b.AsSpan(84));
            b[84 + 127] = 6;
            I32(b, 212, Block);
            I16(b, 240, 0x0250);
            Ad(2 * Block, 0, SetPartition).CopyTo(b, 248);
            I32(b, 264, _map == "plain" ? 6 : 70);
            I32(b, 268, _map == "plain" ? 1 : 2);
            byte[] plain = [1, 6, 1, 0, 0, 0];
            plain.CopyTo(b, 440);
            if (_map != "plain")
            {
                byte[] map = new byte[64];
                map[0] = 2;
                map[1] = 64;
                Encoding.ASCII.GetBytes($"*UDF {char.ToUpperInvariant(_map[0])}{_map[1..]} Partition").CopyTo(map, 5);
                I16(map, 36, 1);
                I32(map, 40, _map == "sparable" ? PacketBlocks : 100);
                if (_map == "sparable")
                {
                    map[42] = 1;
                    I32(map, 44, Block);
                    I32(map, 48, 280);
                }
                else
                {
                    I32(map, 44, 101);
                }

                map.CopyTo(b, 446);
            }
        });
        Tagged(at + 3, UdfTag.Terminating, at + 3, _ => { });
    }

    private void Maps()
    {
        switch (_map)
        {
            case "metadata":
                foreach ((int block, int type) in new[] { (100, 250), (101, 251) })
                {
                    Entry(block, (PartitionStart + block) * Block, type, SetBlocks * Block, 0, Short((SetBlocks * Block, SetAt)));
                }

                break;
            case "virtual":
                byte[] table = new byte[152 + (4 * SetBlocks)];
                I16(table, 0, 152);
                for (int i = 0; i < SetBlocks; i++)
                {
                    I32(table, 152 + (4 * i), SetAt + SetBlocks - 1 - i);
                }

                table.CopyTo(Image, (PartitionStart + 90) * Block);
                Entry(Blocks - 1 - PartitionStart, (Blocks - 1) * Block, 248, table.Length, 0, Short((table.Length, 90)));
                break;
            case "sparable":
                Tagged(280, 0, 280, b =>
                {
                    "*UDF Sparing Table"u8.CopyTo(b.AsSpan(17));
                    I16(b, 48, 2);
                    I32(b, 56, 0);
                    I32(b, 60, SparePacket);
                    I32(b, 64, 0xFFFF_FFFF);
                });
                break;
        }
    }

    private void Files()
    {
        var random = new Random(5);
        byte[] Noise(int count)
        {
            byte[] bytes = new byte[count];
            random.NextBytes(bytes);
            return bytes;
        }

        void Data(int block, byte[] bytes)
        {
            for (int at = 0; at < bytes.Length; at += Block)
            {
                bytes.AsSpan(at, Math.Min(Block, bytes.Length - at)).CopyTo(Image.AsSpan(At(block + (at / Block))));
            }
        }

        Describe(UdfTag.FileSet, 0, Block, b => Ad(Block, 1, SetPartition).CopyTo(b, 400)).CopyTo(Image, At(0));
        File(1, 4, 3, Folder(("", 1, 10), ("inline", 2, 0), ("short", 3, 0), ("d", 4, 2)));

        Content["inline"] = Noise(100);
        File(2, 5, 3, Content["inline"]);

        // Two recorded extents with a hole of each kind between.
        byte[] first = Noise(2 * Block);
        byte[] last = Noise(300);
        Data(20, first);
        Data(30, last);
        Content["short"] = [.. first, .. new byte[3 * Block], .. last];
        File(3, 5, 0, Short((2 * Block, 20), (Block | 0x4000_0000, 24), (2 * Block | unchecked((int)0x8000_0000), 0), (300, 30)), Content["short"].Length);

        byte[] folder = Folder(("", 1, 10), ("long", 6, 0), ("ext", 7, 0), ("aed", 8, 0), ("chained", 10, 0), ("streams", 14, 0), ("link", 17, 0), ("gone", 6, 4));
        Data(18, folder);
        File(4, 4, 0, Short((folder.Length, 18)), folder.Length);

        Content["d/long"] = first;
        File(6, 5, 1, [.. Ad(Block, 20, SetPartition), .. Ad(Block, 21, SetPartition)], first.Length);
        byte[] extended = new byte[20];
        I32(extended, 0, 300);
        I32(extended, 12, 30);
        I16(extended, 16, SetPartition);
        Content["d/ext"] = last;
        File(7, 5, 2, extended, 300);

        Content["d/aed"] = [.. first, .. last];
        File(8, 5, 0, Short((2 * Block, 20), (Block | unchecked((int)0xC000_0000), 9)), first.Length + last.Length);
        Describe(UdfTag.AllocationExtent, 9, Block, b =>
        {
            I32(b, 20, 8);
            Short((300, 30)).CopyTo(b, 24);
        }).CopyTo(Image, At(9));

        Content["d/chained"] = Noise(50);
        File(10, 5, 3, Noise(70), strategy: 4096);
        Describe(UdfTag.Indirect, 11, Block, b => Ad(2 * Block, 12, SetPartition).CopyTo(b, 36)).CopyTo(Image, At(11));
        File(12, 5, 3, Content["d/chained"], strategy: 4096);

        Content["d/streams"] = Noise(20);
        File(14, 5, 3, Content["d/streams"], streams: 15);
        File(15, 13, 3, Folder(("", 14, 10), ("s", 16, 0)));
        Content["d/streams:s"] = Noise(60);
        File(16, 5, 3, Content["d/streams:s"]);
        File(17, 12, 3, [3, 0, 0, 0, 5, 7, 0, 0, 8, .. "inline"u8]);
    }

    private static byte[] Ad(int length, int block, int partition)
    {
        byte[] ad = new byte[16];
        I32(ad, 0, length);
        I32(ad, 4, block);
        I16(ad, 8, partition);
        return ad;
    }

    private static byte[] Short(params (int Length, int Block)[] extents)
    {
        byte[] ads = new byte[8 * extents.Length];
        for (int i = 0; i < extents.Length; i++)
        {
            I32(ads, 8 * i, extents[i].Length);
            I32(ads, (8 * i) + 4, extents[i].Block);
        }

        return ads;
    }

    private byte[] Folder(params (string Name, int Block, int Flags)[] entries) => [.. entries.SelectMany(e =>
    {
        byte[] name = e.Name.Length == 0 ? [] : [8, .. Encoding.Latin1.GetBytes(e.Name)];
        return Describe(UdfTag.FileIdentifier, 0, (38 + name.Length + 3) & ~3, b =>
        {
            I16(b, 16, 1);
            b[18] = (byte)e.Flags;
            b[19] = (byte)name.Length;
            Ad(Block, e.Block, SetPartition).CopyTo(b, 20);
            name.CopyTo(b, 38);
        });
    })];

    private void File(int block, int type, int kind, byte[] ads, int length = -1, int streams = 0, int strategy = 4) =>
        Entry(block, At(block), type, length < 0 ? ads.Length : length, kind, ads, streams, strategy);

    private void Entry(int block, int at, int type, int length, int kind, byte[] ads, int streams = 0, int strategy = 4) =>
        Describe(UdfTag.ExtendedFileEntry, block, Block, b =>
        {
            I16(b, 20, strategy);
            b[27] = (byte)type;
            I16(b, 34, kind);
            I32(b, 36, 1000);
            I32(b, 56, length);
            if (streams != 0)
            {
                Ad(Block, streams, SetPartition).CopyTo(b, 152);
            }

            I32(b, 212, ads.Length);
            ads.CopyTo(b, 216);
        }).CopyTo(Image, at);
}
