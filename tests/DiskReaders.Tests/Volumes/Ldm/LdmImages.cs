using System.Buffers.Binary;
using System.Text;

namespace Vmsweep.DiskReaders.Tests.Volumes.Ldm;

/// <summary>
/// A group of three small dynamic disks with a volume of each kind, built byte by byte after Russon's LDM documentation; a test holds
/// them against ldmtool.
/// </summary>
internal sealed class LdmImages
{
    public const int Sectors = 512;
    public const int ConfigAt = 400;

    /// <summary>Sector of each disk at which its volumes begin.</summary>
    public const int DataAt = 63;

    public const int ConfigSectors = 112;
    private const int Sector = 512;
    private const int VmdbAt = 17;
    private const int BitmapSectors = 64;
    private const int VblkBytes = 128;
    private const int Stripe = 8;

    public static readonly Guid Group = new("5b1e0f7a-6a0e-4a57-9a39-0f4d6f0e1c11");
    public static readonly Guid[] DiskIds = [new("11111111-1111-4111-8111-111111111111"), new("22222222-2222-4222-8222-222222222222"), new("33333333-3333-4333-8333-333333333333")];

    private readonly List<byte[]> _records = [];
    private readonly Random _random = new(11);

    public LdmImages()
    {
        for (int i = 0; i < 3; i++)
        {
            Disks[i] = new byte[Sectors * Sector];
            Add(0x34, 0, Number(10 + i), Text($"Disk{i + 1}"), Text(DiskIds[i].ToString("D")), Text(@"\Device\Harddisk" + i + new string('x', 40)), new byte[12]);
        }

        Add(0x35, 0, Number(1), Text("ScanDg0"), Text(Group.ToString("D")), new byte[4], new byte[8]);
        Volume(20, "Simple", "C:", [(2, 0, [(0, 0, 40)])]);
        Volume(30, "Spanned", "", [(2, 0, [(0, 40, 20), (1, 0, 30)])]);
        Volume(40, "Striped", "", [(1, 2, [(0, 60, 32), (1, 30, 32)])]);
        Volume(50, "Mirrored", "", [(2, 0, [(0, 92, 20)]), (2, 0, [(1, 62, 20)])]);
        Volume(60, "Raid", "R:", [(3, 3, [(0, 112, 32), (1, 82, 32), (2, 0, 32)])]);
        for (int i = 0; i < 3; i++)
        {
            WriteTables(i);
        }
    }

    public byte[][] Disks { get; } = new byte[3][];

    public Dictionary<string, byte[]> Contents { get; } = new(StringComparer.Ordinal);

    /// <summary>Where a disk keeps its structures, for damage.</summary>
    public static IEnumerable<(long, long)> Regions(int disk, int records)
    {
        long at = (long)disk * Sectors * Sector;
        yield return (at + 446, 66);
        yield return (at + (6 * Sector), 0x180);
        yield return (at + ((ConfigAt + 1) * Sector), 0x70);
        yield return (at + ((ConfigAt + VmdbAt) * Sector), 0xC0);
        yield return (at + ((ConfigAt + VmdbAt + 1) * Sector), records * VblkBytes);
    }

    /// <summary>Rewrites a disk's database, as a later or unfinished update has it.</summary>
    public void Rewrite(int disk, ulong sequence, ushort status)
    {
        Span<byte> vmdb = Disks[disk].AsSpan((ConfigAt + VmdbAt) * Sector);
        BinaryPrimitives.WriteUInt64BigEndian(vmdb[0x75..], sequence);
        BinaryPrimitives.WriteUInt16BigEndian(vmdb[0x10..], status);
    }

    public int RecordCount => _records.Count;

    private void Volume(int id, string name, string hint, (int Kind, int Columns, (int Disk, int Start, int Sectors)[] Parts)[] components)
    {
        (int kind, _, (int Disk, int Start, int Sectors)[] parts) = components[0];
        int data = kind == 3 ? parts.Length - 1 : parts.Length;
        int sectors = kind == 2 ? parts.Sum(p => p.Sectors) : parts[0].Sectors * data;
        byte[] content = new byte[sectors * Sector];
        _random.NextBytes(content);
        Contents[name] = content;
        byte[] state = new byte[14];
        "ACTIVE"u8.CopyTo(state);
        byte[] tail = [0, 0, 0, 0, 7, .. new Guid(id, 0, 0, new byte[8]).ToByteArray(bigEndian: true)];
        Add(
            0x51, hint.Length > 0 ? 2 : 0, Number(id), Text(name), Text(kind == 3 ? "raid5" : "gen"), [0], state, [(byte)(kind == 3 ? 4 : 3), 1, 5, 0, 0, 0, 0x11],
            Number(components.Length), new byte[16], Number(sectors), tail, hint.Length > 0 ? Text(hint) : []);
        for (int c = 0; c < components.Length; c++)
        {
            int component = id + 1 + (c * 4);
            (kind, int columns, parts) = components[c];
            byte[] striped = columns > 0 ? [.. Number(Stripe), .. Number(columns)] : [];
            Add(0x32, columns > 0 ? 0x10 : 0, Number(component), Text($"{name}-{c}"), Text("ACTIVE"), [(byte)kind, 0, 0, 0, 0], Number(parts.Length), new byte[16], Number(id), [0], striped);
            int offset = 0;
            for (int p = 0; p < parts.Length; p++)
            {
                byte[] places = new byte[16];
                BinaryPrimitives.WriteInt64BigEndian(places, parts[p].Start);
                BinaryPrimitives.WriteInt64BigEndian(places.AsSpan(8), kind == 2 ? offset : 0);
                Add(
                    0x33, columns > 0 ? 8 : 0, Number(100 + id + (c * 4) + p), Text($"{name}-{c}-{p}"), new byte[12], places, Number(parts[p].Sectors), Number(component),
                    Number(10 + parts[p].Disk), columns > 0 ? Number(p) : []);
                if (kind == 2)
                {
                    content.AsSpan(offset * Sector, parts[p].Sectors * Sector).CopyTo(At(parts[p].Disk, parts[p].Start));
                }

                offset += parts[p].Sectors;
            }
        }

        for (int chunk = 0; kind != 2 && chunk < sectors / Stripe; chunk++)
        {
            int row = chunk / data;
            int parity = kind == 3 ? parts.Length - 1 - (row % parts.Length) : -1;
            int column = kind == 3 ? (parity + 1 + (chunk % data)) % parts.Length : chunk % data;
            Span<byte> bytes = content.AsSpan(chunk * Stripe * Sector, Stripe * Sector);
            bytes.CopyTo(At(parts[column].Disk, parts[column].Start + (row * Stripe)));
            if (parity >= 0)
            {
                Span<byte> sum = At(parts[parity].Disk, parts[parity].Start + (row * Stripe));
                for (int i = 0; i < bytes.Length; i++)
                {
                    sum[i] ^= bytes[i];
                }
            }
        }
    }

    private Span<byte> At(int disk, int start) => Disks[disk].AsSpan((DataAt + start) * Sector);

    private void Add(int type, int flags, params byte[][] fields)
    {
        byte[] body = [.. fields.SelectMany(f => f)];
        byte[] record = [0, 0, (byte)flags, (byte)type, 0, 0, 0, (byte)body.Length, .. body];
        byte[][] fragments = [.. record.Chunk(VblkBytes - 16)];
        int group = _records.Count + 1;
        foreach ((int index, byte[] fragment) in fragments.Index())
        {
            byte[] vblk = new byte[VblkBytes];
            "VBLK"u8.CopyTo(vblk);
            BinaryPrimitives.WriteInt32BigEndian(vblk.AsSpan(4), 4 + _records.Count);
            BinaryPrimitives.WriteInt32BigEndian(vblk.AsSpan(8), group);
            BinaryPrimitives.WriteInt16BigEndian(vblk.AsSpan(12), (short)index);
            BinaryPrimitives.WriteInt16BigEndian(vblk.AsSpan(14), (short)fragments.Length);
            fragment.CopyTo(vblk, 16);
            _records.Add(vblk);
        }
    }

    private void WriteTables(int disk)
    {
        byte[] bytes = Disks[disk];
        bytes[510] = 0x55;
        bytes[511] = 0xAA;
        bytes[450] = 0x42;
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(454), DataAt);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(458), Sectors - DataAt);

        byte[] header = new byte[Sector];
        "PRIVHEAD"u8.CopyTo(header);
        header[0x0D] = 2;
        header[0x0F] = 11;
        Encoding.ASCII.GetBytes(DiskIds[disk].ToString("D")).CopyTo(header, 0x30);
        Encoding.ASCII.GetBytes("1b77da20-c717-11d0-a5be-00a0c91db73c").CopyTo(header, 0x70);
        Encoding.ASCII.GetBytes(Group.ToString("D")).CopyTo(header, 0xB0);
        "ScanDg0"u8.CopyTo(header.AsSpan(0xF0));
        long[] places = [DataAt, ConfigAt - DataAt, ConfigAt, ConfigSectors, 1, ConfigSectors - 3];
        for (int i = 0; i < places.Length; i++)
        {
            BinaryPrimitives.WriteInt64BigEndian(header.AsSpan(0x11B + (8 * i)), places[i]);
        }

        BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(0x14B), 1);
        BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(0x14F), 1);
        BinaryPrimitives.WriteInt64BigEndian(header.AsSpan(0x153), BitmapSectors);
        BinaryPrimitives.WriteInt64BigEndian(header.AsSpan(0x15B), 16);
        header.CopyTo(bytes, 6 * Sector);
        header.CopyTo(bytes, (Sectors - 1) * Sector);

        byte[] toc = new byte[Sector];
        "TOCBLOCK"u8.CopyTo(toc);
        "config"u8.CopyTo(toc.AsSpan(0x24));
        BinaryPrimitives.WriteInt64BigEndian(toc.AsSpan(0x2E), VmdbAt);
        BinaryPrimitives.WriteInt64BigEndian(toc.AsSpan(0x36), BitmapSectors);
        "log"u8.CopyTo(toc.AsSpan(0x46));
        BinaryPrimitives.WriteInt64BigEndian(toc.AsSpan(0x50), VmdbAt + BitmapSectors);
        BinaryPrimitives.WriteInt64BigEndian(toc.AsSpan(0x58), 16);
        foreach (int at in (int[])[1, 2, ConfigSectors - 3, ConfigSectors - 2])
        {
            toc.CopyTo(bytes, (ConfigAt + at) * Sector);
        }

        Span<byte> vmdb = bytes.AsSpan((ConfigAt + VmdbAt) * Sector);
        "VMDB"u8.CopyTo(vmdb);
        BinaryPrimitives.WriteInt32BigEndian(vmdb[4..], BitmapSectors * Sector / VblkBytes);
        BinaryPrimitives.WriteInt32BigEndian(vmdb[8..], VblkBytes);
        BinaryPrimitives.WriteInt32BigEndian(vmdb[12..], Sector);
        vmdb[0x11] = 1;
        vmdb[0x13] = 4;
        vmdb[0x15] = 10;
        "ScanDg0"u8.CopyTo(vmdb[0x16..]);
        Encoding.ASCII.GetBytes(Group.ToString("D")).CopyTo(vmdb[0x35..]);
        BinaryPrimitives.WriteInt64BigEndian(vmdb[0x75..], 9);
        BinaryPrimitives.WriteInt64BigEndian(vmdb[0x7D..], 9);
        (int At, int Type)[] counts = [(0x85, 0x51), (0x89, 0x32), (0x8D, 0x33), (0x91, 0x34)];
        foreach ((int at, int type) in counts)
        {
            BinaryPrimitives.WriteInt32BigEndian(vmdb[at..], _records.Count(r => r[13] == 0 && r[16 + 3] == type));
        }

        for (int i = 4; i < BitmapSectors * Sector / VblkBytes; i++)
        {
            Span<byte> vblk = vmdb.Slice(i * VblkBytes, VblkBytes);
            "VBLK"u8.CopyTo(vblk);
            BinaryPrimitives.WriteInt32BigEndian(vblk[4..], i);
            if (i - 4 < _records.Count)
            {
                _records[i - 4].CopyTo(vblk);
            }
        }
    }

    private static byte[] Number(long value)
    {
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteInt64BigEndian(bytes, value);
        byte[] digits = [.. bytes.SkipWhile(b => b == 0)];
        return digits.Length == 0 ? [1, 0] : [(byte)digits.Length, .. digits];
    }

    private static byte[] Text(string text) => [(byte)text.Length, .. Encoding.ASCII.GetBytes(text)];
}
