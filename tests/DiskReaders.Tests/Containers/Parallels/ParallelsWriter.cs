using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.Tests.Containers.Parallels;

/// <summary>Builds expanding images and descriptors from the specification: other cluster sizes, the old form, overlays, damage.</summary>
internal sealed class ParallelsWriter
{
    public static readonly Guid DefaultTop = new("5fbaabe3-6958-40ff-92a7-860e329aab41");

    private readonly List<(int Cluster, byte[] Bytes)> _clusters = [];

    public bool Extended { get; init; } = true;

    public int ClusterSectors { get; init; } = 8;

    public long Sectors { get; init; } = 64;

    public uint InUse { get; init; } = 0x312E_3276;

    public uint Flags { get; init; }

    private int ClusterBytes => ClusterSectors * 512;

    private int Entries => (int)((Sectors + ClusterSectors - 1) / ClusterSectors);

    private int DataAt => Extended ? (64 + (Entries * 4) + ClusterBytes - 1) / ClusterBytes * ClusterBytes : (64 + (Entries * 4) + 511) / 512 * 512;

    public ParallelsWriter Cluster(int cluster, byte[] bytes)
    {
        _clusters.Add((cluster, bytes));
        return this;
    }

    public byte[] Build()
    {
        byte[] image = new byte[DataAt + (_clusters.Count * ClusterBytes)];
        (Extended ? "WithouFreSpacExt"u8 : "WithoutFreeSpace"u8).CopyTo(image);
        U32(image, 16, 2);
        U32(image, 20, 16);
        U32(image, 28, (uint)ClusterSectors);
        U32(image, 32, (uint)Entries);
        BinaryPrimitives.WriteInt64LittleEndian(image.AsSpan(36), Sectors);
        U32(image, 44, InUse);
        U32(image, 48, Extended ? (uint)DataAt / 512 : 0);
        U32(image, 52, Flags);
        for (int i = 0; i < _clusters.Count; i++)
        {
            int at = DataAt + (i * ClusterBytes);
            U32(image, 64 + (_clusters[i].Cluster * 4), (uint)(at / (Extended ? ClusterBytes : 512)));
            _clusters[i].Bytes.CopyTo(image, at);
        }

        return image;
    }

    /// <summary>A descriptor of storages, each with images of GUID, type and file.</summary>
    public static string Descriptor(long sectors, (long Start, long End, (Guid Id, string Type, string File)[] Images)[] storages, (Guid Id, Guid Parent)[] shots, Guid? top = null, string more = "") => $"""
        <?xml version='1.0' encoding='UTF-8'?>
        <Parallels_disk_image Version="1.0">
            <Disk_Parameters><Disk_size>{sectors}</Disk_size><Cylinders>1</Cylinders><Heads>1</Heads><Sectors>{sectors}</Sectors><Padding>0</Padding>
                <Encryption><Engine>{Guid.Empty:B}</Engine><Data></Data></Encryption>{more}</Disk_Parameters>
            <StorageData>{string.Concat(storages.Select(s => $"""
                <Storage><Start>{s.Start}</Start><End>{s.End}</End><Blocksize>8</Blocksize>{string.Concat(s.Images.Select(i => $"<Image><GUID>{i.Id:B}</GUID><Type>{i.Type}</Type><File>{i.File}</File></Image>"))}</Storage>
                """))}</StorageData>
            <Snapshots>{(top is { } id ? $"<TopGUID>{id:B}</TopGUID>" : "")}{string.Concat(shots.Select(s => $"<Shot><GUID>{s.Id:B}</GUID><ParentGUID>{s.Parent:B}</ParentGUID></Shot>"))}</Snapshots>
        </Parallels_disk_image>
        """;

    public static byte[] U32(byte[] bytes, int at, uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(at), value);
        return bytes;
    }

    public static byte[] Noise(int seed, int length)
    {
        byte[] bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
