using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Volumes.Lvm2;

/// <summary>
/// Writes small physical volumes byte by byte, from libvslvm "Logical Volume Manager (LVM) format": label in sector 1, a metadata area
/// at 4 KiB, then extents of 4 KiB.
/// </summary>
internal static class LvmWriter
{
    public const int ExtentBytes = 4096;
    public const int AreaAt = 4096;
    public const int AreaBytes = 28 << 10;
    public const int DataAt = AreaAt + AreaBytes;
    public const int LabelAt = 512;
    public const string GroupId = "GGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG";

    private const int TextAt = 512;

    /// <summary>The UUID of a physical volume by its number.</summary>
    public static string Id(int number) => new((char)('a' + number), 32);

    /// <summary>A group's text with so many physical volumes <c>pv0</c>, <c>pv1</c>, ...</summary>
    public static string Text(string logicals, int seqno = 1, int physicals = 1, int extents = 64, string name = "vg", string id = GroupId, string more = "status = [\"READ\"]\nextent_size = 8", string flags = "")
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{name} {{\nid = \"{id}\"\nseqno = {seqno}\n{more}\nphysical_volumes {{\n");
        for (int i = 0; i < physicals; i++)
        {
            text.Append(CultureInfo.InvariantCulture, $"pv{i} {{\nid = \"{Id(i)}\"\ndevice = \"/dev/sda\" # hint\n{flags}\npe_start = {DataAt / 512}\npe_count = {extents}\n}}\n");
        }

        return text.Append("}\nlogical_volumes {\n").Append(logicals).Append("}\n}\n# made by hand\nversion = 1\n").ToString();
    }

    /// <summary>A logical volume.</summary>
    public static string Logical(string name, params string[] segments) => $"{name} {{\nstatus = [\"READ\", \"VISIBLE\"]\nflags = []\n{string.Join('\n', segments)}\n}}\n";

    /// <summary>One that is part of another.</summary>
    public static string Hidden(string name, params string[] segments) => Logical(name, segments).Replace(", \"VISIBLE\"", "", StringComparison.Ordinal);

    public static string Segment(int number, long start, long count, string type, string body) =>
        string.Create(CultureInfo.InvariantCulture, $"segment{number} {{\nstart_extent = {start}\nextent_count = {count}\ntype = \"{type}\"\n{body}\n}}");

    /// <summary>A linear segment on pv0 or another place.</summary>
    public static string Linear(long count, long at, string on = "pv0", int number = 1, long start = 0) =>
        Segment(number, start, count, "striped", string.Create(CultureInfo.InvariantCulture, $"stripe_count = 1\nstripes = [\"{on}\", {at}]"));

    /// <summary>A physical volume whose extents hold their own numbers.</summary>
    /// <param name="number">Of the physical volume.</param>
    /// <param name="text">The group's text; null for none.</param>
    /// <param name="extents">Extents behind the metadata area.</param>
    /// <param name="textAt">Where in the area the text lies; beyond its end it goes on behind the header.</param>
    public static byte[] Disk(int number, string? text, int extents = 64, int textAt = TextAt, bool isUsed = true)
    {
        byte[] disk = new byte[DataAt + (extents * ExtentBytes) + 1536];
        Label(disk, number, isUsed, (AreaAt, AreaBytes));
        Area(disk, AreaAt, AreaBytes, text, textAt);
        for (int extent = 0; extent < extents; extent++)
        {
            Span<byte> bytes = disk.AsSpan(DataAt + (extent * ExtentBytes), ExtentBytes);
            for (int i = 0; i < ExtentBytes; i += 4)
            {
                BinaryPrimitives.WriteInt32LittleEndian(bytes[i..], (number << 28) | (extent << 12) | i);
            }
        }

        return disk;
    }

    public static void Label(byte[] disk, int number, bool isUsed, params (int Offset, int Bytes)[] areas)
    {
        Span<byte> label = disk.AsSpan(LabelAt, 512);
        label.Clear();
        "LABELONE"u8.CopyTo(label);
        label[8] = LabelAt / 512;
        label[20] = 32;
        "LVM2 001"u8.CopyTo(label[24..]);
        Encoding.ASCII.GetBytes(Id(number), label[32..]);
        BinaryPrimitives.WriteInt64LittleEndian(label[64..], disk.Length);
        BinaryPrimitives.WriteInt64LittleEndian(label[72..], DataAt);
        int at = 104;
        foreach ((int offset, int bytes) in areas)
        {
            BinaryPrimitives.WriteInt64LittleEndian(label[at..], offset);
            BinaryPrimitives.WriteInt64LittleEndian(label[(at + 8)..], bytes);
            at += 16;
        }

        label[at + 16] = 2;
        label[at + 20] = isUsed ? (byte)1 : (byte)0;
        RepairLabel(disk);
    }

    public static void Area(byte[] disk, int offset, int bytes, string? text, int textAt = TextAt)
    {
        Span<byte> area = disk.AsSpan(offset, bytes);
        area.Clear();
        " LVM2 x[5A%r0N*>"u8.CopyTo(area[4..]);
        area[20] = 1;
        BinaryPrimitives.WriteInt64LittleEndian(area[24..], offset);
        BinaryPrimitives.WriteInt64LittleEndian(area[32..], bytes);
        if (text is not null)
        {
            byte[] content = [.. Encoding.UTF8.GetBytes(text), 0];
            for (int i = 0; i < content.Length; i++)
            {
                int at = textAt + i;
                area[at < bytes ? at : at - bytes + 512] = content[i];
            }

            BinaryPrimitives.WriteInt64LittleEndian(area[40..], textAt);
            BinaryPrimitives.WriteInt64LittleEndian(area[48..], content.Length);
        }

        RepairArea(disk, offset);
    }

    /// <summary>Recomputes the checksums of the label and of the usual area, as far as their fields still lead somewhere.</summary>
    public static void Repair(byte[] disk)
    {
        RepairArea(disk, AreaAt);
        RepairLabel(disk);
    }

    /// <summary>CRC-32 from LVM2's own start, not inverted.</summary>
    public static uint Crc(ReadOnlySpan<byte> bytes, uint seed = 0xF597_A6CF) => ~Crc32.Append(~seed, bytes);

    /// <summary>What an independent tool makes of a description of a thin pool's or a cache's metadata.</summary>
    public static byte[] Restore(string tool, string xml, int blocks = 32)
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["xml"], xml);
        using (FileStream file = File.Create(scratch["metadata"]))
        {
            file.SetLength(blocks * 4096);
        }

        Tool.Run(tool, "-i", scratch["xml"], "-o", scratch["metadata"]);
        return File.ReadAllBytes(scratch["metadata"]);
    }

    private static void RepairLabel(byte[] disk) =>
        BinaryPrimitives.WriteUInt32LittleEndian(disk.AsSpan(LabelAt + 16), Crc(disk.AsSpan(LabelAt + 20, 492)));

    private static void RepairArea(byte[] disk, int offset)
    {
        Span<byte> area = disk.AsSpan(offset);
        long start = BinaryPrimitives.ReadInt64LittleEndian(area[40..]);
        long bytes = BinaryPrimitives.ReadInt64LittleEndian(area[32..]);
        long length = BinaryPrimitives.ReadInt64LittleEndian(area[48..]);
        if (start > 0 && length >= 0 && bytes <= area.Length && start < bytes && length < bytes)
        {
            int before = (int)Math.Min(length, bytes - start);
            uint crc = Crc(area.Slice((int)start, before));
            BinaryPrimitives.WriteUInt32LittleEndian(area[56..], Crc(area.Slice(512, (int)length - before), crc));
        }

        BinaryPrimitives.WriteUInt32LittleEndian(area, Crc(area[4..512]));
    }
}
