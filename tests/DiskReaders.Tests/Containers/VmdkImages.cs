using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace Vmsweep.DiskReaders.Tests.Containers;

/// <summary>What a grain of a written image is: data of one repeated value, zeros, or nothing.</summary>
internal readonly record struct Grain(char Kind, byte Value = 0)
{
    public static readonly Grain Hole = new('h');

    public static readonly Grain Zero = new('z');

    public static Grain Data(byte value) => new('d', value);
}

/// <summary>
/// Writes the VMDK kinds that no free tool writes, byte by byte from the specification (VMware Virtual Disk Format 5.0), and
/// space-efficient sparse extents as QEMU reads them.
/// </summary>
internal static class VmdkImages
{
    public const int Sector = 512;
    public const int HostedGrain = 16 * Sector;

    public static string Descriptor(string createType, string extents, uint cid = 0x1234_5678, uint parentCid = 0xFFFF_FFFF, string? parent = null) =>
        $"""
        # Disk DescriptorFile
        version=1
        CID={cid:x8}
        parentCID={parentCid:x8}
        createType="{createType}"
        {(parent is null ? "" : $"parentFileNameHint=\"{parent}\"\n")}
        # Extent description
        {extents}

        # The Disk Data Base
        #DDB

        ddb.virtualHWVersion = "4"
        ddb.adapterType = "lsilogic"

        """;

    public static byte[] Text(string descriptor) => Encoding.UTF8.GetBytes(descriptor);

    /// <summary>A hosted sparse extent: header, descriptor, redundant directory and table, directory and table, grains of 8 KiB.</summary>
    public static byte[] Hosted(IReadOnlyList<Grain> grains, string? descriptor = null, bool zeroed = true, int? sectors = null)
    {
        const int DescriptorSectors = 4;
        const int TableSectors = 4;
        int rgd = 1 + DescriptorSectors;
        int gd = rgd + 1 + TableSectors;
        int data = gd + 1 + TableSectors;
        byte[] image = new byte[(data + (grains.Count(g => g.Kind == 'd') * HostedGrain / Sector)) * Sector];
        HostedHeader(image, sectors ?? grains.Count * HostedGrain / Sector, 0x3u | (zeroed ? 4u : 0), zeroed ? 2u : 1u, descriptor is null ? 0 : DescriptorSectors, rgd, (ulong)gd, data, 0);
        Text(descriptor ?? "").CopyTo(image, Sector);
        Put32(image, rgd * Sector, (uint)rgd + 1);
        Put32(image, gd * Sector, (uint)gd + 1);
        int next = data;
        for (int i = 0; i < grains.Count; i++)
        {
            uint entry = grains[i].Kind switch { 'd' => (uint)next, 'z' => 1, _ => 0 };
            Put32(image, ((rgd + 1) * Sector) + (4 * i), entry);
            Put32(image, ((gd + 1) * Sector) + (4 * i), entry);
            if (grains[i].Kind == 'd')
            {
                image.AsSpan(next * Sector, HostedGrain).Fill(grains[i].Value);
                next += HostedGrain / Sector;
            }
        }

        return image;
    }

    /// <summary>A stream-optimized extent with markers, the grain directory at the end and a footer.</summary>
    public static byte[] Stream(IReadOnlyList<Grain> grains, string descriptor, Func<int, byte[]>? content = null, int? sectors = null)
    {
        const int DescriptorSectors = 4;
        using var stream = new MemoryStream();
        byte[] head = new byte[(1 + DescriptorSectors) * Sector];
        int capacity = sectors ?? grains.Count * HostedGrain / Sector;
        HostedHeader(head, capacity, 0x3_0001, 3, DescriptorSectors, 0, ulong.MaxValue, 1 + DescriptorSectors, 1);
        Text(descriptor).CopyTo(head, Sector);
        stream.Write(head);
        byte[] table = new byte[512 * 4];
        for (int i = 0; i < grains.Count; i++)
        {
            if (grains[i].Kind != 'd')
            {
                continue;
            }

            Put32(table, 4 * i, (uint)(stream.Length / Sector));
            byte[] plain = content?.Invoke(i) ?? [.. Enumerable.Repeat(grains[i].Value, HostedGrain)];
            using var packed = new MemoryStream();
            using (var zlib = new ZLibStream(packed, CompressionLevel.Fastest, leaveOpen: true))
            {
                zlib.Write(plain);
            }

            byte[] marker = new byte[12];
            BinaryPrimitives.WriteUInt64LittleEndian(marker, (ulong)(i * HostedGrain / Sector));
            Put32(marker, 8, (uint)packed.Length);
            stream.Write(marker);
            stream.Write(packed.ToArray());
            Pad(stream);
        }

        Marker(stream, 4, 1);
        uint tableAt = (uint)(stream.Length / Sector);
        stream.Write(table);
        Marker(stream, 1, 2);
        ulong directoryAt = (ulong)(stream.Length / Sector);
        byte[] directory = new byte[Sector];
        Put32(directory, 0, tableAt);
        stream.Write(directory);
        Marker(stream, 1, 3);
        byte[] footer = new byte[Sector];
        HostedHeader(footer, capacity, 0x3_0001, 3, DescriptorSectors, 0, directoryAt, 1 + DescriptorSectors, 1);
        stream.Write(footer);
        Marker(stream, 0, 0);
        return stream.ToArray();
    }

    /// <summary>An ESXi host sparse extent: header, grain directory in the fifth sector, one grain table for each 4,096 grains, grains of one sector.</summary>
    public static byte[] CowDisk(IReadOnlyList<Grain> grains, int grainSectors = 1)
    {
        int tables = (grains.Count + 4095) / 4096;
        int directorySectors = ((tables * 4) + Sector - 1) / Sector;
        int next = 4 + directorySectors;
        bool[] present = [.. Enumerable.Range(0, tables).Select(t => grains.Skip(t * 4096).Take(4096).Any(g => g.Kind == 'd'))];
        int stored = grains.Count(g => g.Kind == 'd');
        byte[] image = new byte[(next + (present.Count(p => p) * 32) + (stored * grainSectors)) * Sector];
        "COWD"u8.CopyTo(image);
        Put32(image, 4, 1);
        Put32(image, 8, 3);
        Put32(image, 12, (uint)(grains.Count * grainSectors));
        Put32(image, 16, (uint)grainSectors);
        Put32(image, 20, 4);
        Put32(image, 24, (uint)tables);
        Put32(image, 28, (uint)(image.Length / Sector));
        for (int t = 0; t < tables; t++)
        {
            if (!present[t])
            {
                continue;
            }

            Put32(image, (4 * Sector) + (4 * t), (uint)next);
            int table = next * Sector;
            next += 32;
            for (int i = t * 4096; i < Math.Min(grains.Count, (t + 1) * 4096); i++)
            {
                if (grains[i].Kind == 'd')
                {
                    Put32(image, table + (4 * (i % 4096)), (uint)next);
                    image.AsSpan(next * Sector, grainSectors * Sector).Fill(grains[i].Value);
                    next += grainSectors;
                }
            }
        }

        return image;
    }

    /// <summary>A space-efficient sparse extent: constant and volatile header, directory, tables, grains of 4 KiB.</summary>
    public static byte[] SeSparse(IReadOnlyList<Grain> grains)
    {
        const int Directory = 4;
        const int Tables = 8;
        int tables = (grains.Count + 4095) / 4096;
        int data = Tables + (64 * tables);
        int stored = grains.Count(g => g.Kind == 'd');
        byte[] image = new byte[(data + (8 * stored)) * Sector];
        ulong[] header =
        [
            0xCAFE_BABE, 0x2_0000_0001, (ulong)grains.Count * 8, 8, 64, 0, 0, 0, 0, 0,
            1, 1, 2, 1, 3, 1, Directory, 1, Tables, (ulong)(64 * tables), 0, 0, 0, 0, (ulong)data, (ulong)(8 * stored),
        ];
        for (int i = 0; i < header.Length; i++)
        {
            Put64(image, 8 * i, header[i]);
        }

        Put64(image, Sector, 0xCAFE_CAFE);
        ulong next = 0;
        for (int i = 0; i < grains.Count; i++)
        {
            Put64(image, (Directory * Sector) + (8 * (i / 4096)), 0x1000_0000_0000_0000UL | (uint)(i / 4096));
            ulong entry = 0;
            switch (grains[i].Kind)
            {
                case 'd':
                    entry = 0x3000_0000_0000_0000UL | ((next & 0xFFF) << 48) | (next >> 12);
                    image.AsSpan((data * Sector) + ((int)next * 4096), 4096).Fill(grains[i].Value);
                    next++;
                    break;
                case 'z':
                    entry = i % 2 == 0 ? 0x1000_0000_0000_0000UL : 0x2000_0000_0000_0000UL;
                    break;
                default:
                    break;
            }

            Put64(image, (Tables * Sector) + (8 * i), entry);
        }

        return image;
    }

    /// <summary>What the grains read as over a parent.</summary>
    public static byte[] Expected(IReadOnlyList<Grain> grains, int grainBytes, byte parent = 0)
    {
        byte[] bytes = new byte[grains.Count * grainBytes];
        for (int i = 0; i < grains.Count; i++)
        {
            bytes.AsSpan(i * grainBytes, grainBytes).Fill(grains[i].Kind switch { 'd' => grains[i].Value, 'z' => 0, _ => parent });
        }

        return bytes;
    }

    /// <summary>A reproducible mixture of grains, with runs.</summary>
    public static Grain[] Mixture(int count, int seed, bool zeros)
    {
        var random = new Random(seed);
        var grains = new Grain[count];
        for (int at = 0; at < count;)
        {
            int run = random.Next(1, 9);
            int kind = random.Next(zeros ? 3 : 2);
            for (; run > 0 && at < count; run--, at++)
            {
                grains[at] = kind switch { 0 => Grain.Data((byte)random.Next(1, 256)), 1 => Grain.Hole, _ => Grain.Zero };
            }
        }

        return grains;
    }

    public static void Put32(byte[] image, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(at), value);

    public static void Put64(byte[] image, int at, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan(at), value);

    private static void HostedHeader(
        byte[] image, int capacity, uint flags, uint version, int descriptorSectors, int rgd, ulong gd, int overHead, byte compression)
    {
        "KDMV"u8.CopyTo(image);
        Put32(image, 4, version);
        Put32(image, 8, flags);
        Put64(image, 12, (ulong)capacity);
        Put64(image, 20, HostedGrain / Sector);
        Put64(image, 28, descriptorSectors == 0 ? 0 : 1UL);
        Put64(image, 36, (ulong)descriptorSectors);
        Put32(image, 44, 512);
        Put64(image, 48, (ulong)rgd);
        Put64(image, 56, gd);
        Put64(image, 64, (ulong)overHead);
        "\n \r\n"u8.CopyTo(image.AsSpan(73));
        image[77] = compression;
    }

    private static void Marker(MemoryStream stream, uint sectors, uint type)
    {
        byte[] marker = new byte[Sector];
        Put64(marker, 0, sectors);
        Put32(marker, 12, type);
        stream.Write(marker);
    }

    private static void Pad(MemoryStream stream)
    {
        int over = (int)(stream.Length % Sector);
        stream.Write(new byte[over == 0 ? 0 : Sector - over]);
    }
}
