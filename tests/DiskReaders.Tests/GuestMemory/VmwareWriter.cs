using System.Buffers.Binary;
using System.Text;

namespace Vmsweep.DiskReaders.Tests.GuestMemory;

/// <summary>Writes VMware's suspend states from what memory analysers tell of them: groups of tags.</summary>
internal sealed class VmwareWriter
{
    private readonly List<(string Name, MemoryStream Tags)> _groups = [];

    /// <summary>Two regions with a hole of 1 MiB between them; memory of 8 pages, the last two beyond the hole.</summary>
    public static VmwareWriter Sample(byte[]? memoryInside = null)
    {
        VmwareWriter writer = new VmwareWriter()
            .Group("cpu").Tag("cpu:numVCPUs", [], U32(1)).Tag("CR64", [0, 0], U64(0x8005_0033)).Tag("CR64", [0, 3], U64(0x2000)).Block("gpregs", [0], new byte[128], 3)
            .Group("memory").Tag("align_mask", [0], U32(0xFFFF)).Tag("regionsCount", [], U32(2))
            .Tag("regionPageNum", [0], U32(0)).Tag("regionPPN", [0], U32(0)).Tag("regionSize", [0], U32(6))
            .Tag("regionPageNum", [1], U32(6)).Tag("regionPPN", [1], U32(256)).Tag("regionSize", [1], U32(2));
        return memoryInside is null ? writer : writer.Block("Memory", [0, 0], memoryInside, 100);
    }

    public static byte[] Memory()
    {
        byte[] memory = new byte[8 * 4096];
        for (int i = 0; i < 8; i++)
        {
            QemuStreamWriter.Pattern(i + 1).CopyTo(memory, i * 4096);
        }

        return memory;
    }

    public VmwareWriter Group(string name)
    {
        _groups.Add((name, new MemoryStream()));
        return this;
    }

    public VmwareWriter Tag(string name, uint[] indices, byte[] value)
    {
        Head(name, indices, value.Length);
        _groups[^1].Tags.Write(value);
        return this;
    }

    public VmwareWriter Block(string name, uint[] indices, byte[] content, ushort padding, bool isPacked = false)
    {
        Head(name, indices, isPacked ? 62 : 63);
        MemoryStream tags = _groups[^1].Tags;
        tags.Write(U64((ulong)content.Length));
        tags.Write(U64((ulong)content.Length));
        tags.Write([(byte)padding, (byte)(padding >> 8)]);
        tags.Write(new byte[padding]);
        tags.Write(content);
        return this;
    }

    public byte[] ToArray()
    {
        int at = 12 + (80 * _groups.Count);
        var file = new MemoryStream();
        file.Write(U32(0xBED2BED2));
        file.Write(U32(8));
        file.Write(U32((uint)_groups.Count));
        foreach ((string name, MemoryStream tags) in _groups)
        {
            byte[] group = new byte[80];
            Encoding.ASCII.GetBytes(name).CopyTo(group, 0);
            U64((ulong)at).CopyTo(group, 64);
            U64((ulong)tags.Length + 2).CopyTo(group, 72);
            file.Write(group);
            at += (int)tags.Length + 2;
        }

        foreach ((_, MemoryStream tags) in _groups)
        {
            file.Write(tags.ToArray());
            file.Write([0, 0]);
        }

        return file.ToArray();
    }

    public static byte[] U32(uint value)
    {
        byte[] bytes = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return bytes;
    }

    public static byte[] U64(ulong value)
    {
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return bytes;
    }

    private void Head(string name, uint[] indices, int size)
    {
        MemoryStream tags = _groups[^1].Tags;
        tags.WriteByte((byte)(size | (indices.Length << 6)));
        tags.WriteByte((byte)name.Length);
        tags.Write(Encoding.ASCII.GetBytes(name));
        foreach (uint index in indices)
        {
            tags.Write(U32(index));
        }
    }
}
