using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Tests.Blocks.Crypto;

namespace Vmsweep.DiskReaders.Tests.Volumes.BitLocker;

/// <summary>
/// Makes BitLocker volumes from Metz, "BitLocker Drive Encryption (BDE) format", and Ferguson's paper on the diffuser, byte by byte.
/// Shares no code with the reader but the CRC; dislocker, libbde and cryptsetup read what it makes.
/// </summary>
internal sealed class BitLockerWriter
{
    public const int Clear = 0x0000;
    public const int Tpm = 0x0100;
    public const int External = 0x0200;
    public const int Recovery = 0x0800;
    public const int Password = 0x2000;

    public const string RecoveryText = "471207-278498-422125-177177-561902-537405-468006-693451";
    public const string PasswordText = "Grüße, 日本 & 🔑";

    public const int EowBlockBytes = 8192;

    private const long Time = 0x01D5_3236_7049_3450;

    private static readonly ConcurrentDictionary<string, byte[]> Stretched = new(StringComparer.Ordinal);

    /// <summary>Vista, 7, togo or eow.</summary>
    public string Form { get; init; } = "7";

    public int Method { get; init; } = 0x8004;

    public int SectorBytes { get; init; } = 512;

    public int Bytes { get; init; } = 1 << 20;

    public IReadOnlyList<int> Protectors { get; init; } = [Password, Recovery, External];

    public string PasswordSecret { get; init; } = PasswordText;

    public int State { get; init; } = 4;

    public int NextState { get; init; } = 4;

    /// <summary>All by default.</summary>
    public long EncryptedBytes { get; init; } = -1;

    /// <summary>What dislocker wants to know of Vista volumes: the size of the volume where the format has nothing.</summary>
    public bool HasVistaSize { get; init; }

    /// <summary>Bytes under conversion, as a conversion with a log counts them.</summary>
    public int ConvertedBytes { get; init; }

    /// <summary>Ranges that an EOW volume has not encrypted yet.</summary>
    public IReadOnlyList<(int Start, int End)> EowPlain { get; init; } = [];

    public int[] MetadataOffsets => Form == "vista" ? [0x4_0000, 0x6_0000, 0x8_0000] : [0x4_0000, 0x6_0000, 0xA_0000];

    public int AreaBytes => Form == "vista" ? 16 << 10 : 64 << 10;

    public int HeaderOffset => 0x5_0000;

    /// <summary>Bytes that lie at <see cref="HeaderOffset"/> instead.</summary>
    public int HeaderBytes => Form switch { "vista" => 0, "togo" => 0xC000, _ => 8192 };

    public int EowDescriptor => 0x7_1000;

    public int EowMap => 0x7_2000;

    public byte[] DataKey => Filler(Method switch { 0x8002 => 16, 0x8003 or 0x8004 => 32, _ => 64 }, Method);

    public static byte[] ExternalKey => Filler(32, 100);

    public static byte[] KeyFile
    {
        get
        {
            byte[] key = [.. U32(0x2002), .. ExternalKey];
            byte[] entry = Entry(6, 9, [.. Id(External), .. U64(Time), .. Entry(0, 2, Encoding.Unicode.GetBytes("ExternalKey\0")), .. Entry(0, 1, key)]);
            return [.. U32(48 + entry.Length), .. U32(1), .. U32(48), .. U32(48 + entry.Length), .. Id(External), .. U32(1), .. U32(0), .. U64(Time), .. entry];
        }
    }

    /// <summary>What the guest wrote: noise behind an NTFS boot sector, and a first file record.</summary>
    public byte[] Plain
    {
        get
        {
            byte[] plain = Filler(Bytes, 7);
            plain.AsSpan(0, 512).Clear();
            byte[] start = [0xEB, 0x52, 0x90, .. "NTFS    "u8];
            start.CopyTo(plain, 0);
            BinaryPrimitives.WriteUInt16LittleEndian(plain.AsSpan(11), (ushort)SectorBytes);
            plain[13] = (byte)(4096 / SectorBytes);
            plain[21] = 0xF8;
            BinaryPrimitives.WriteInt64LittleEndian(plain.AsSpan(40), (Bytes / SectorBytes) - 1);
            BinaryPrimitives.WriteInt64LittleEndian(plain.AsSpan(48), 6);
            BinaryPrimitives.WriteInt64LittleEndian(plain.AsSpan(56), 2);
            plain[64] = 0xF6;
            plain[68] = 1;
            plain[510] = 0x55;
            plain[511] = 0xAA;
            "FILE"u8.CopyTo(plain.AsSpan(6 * 4096));
            return plain;
        }
    }

    /// <summary>What the guest reads: as it wrote, and zeros where BitLocker's own structures lie.</summary>
    public byte[] Expected
    {
        get
        {
            byte[] expected = Plain;
            foreach (int offset in MetadataOffsets)
            {
                expected.AsSpan(offset, AreaBytes).Clear();
            }

            expected.AsSpan(HeaderOffset, HeaderBytes).Clear();
            if (Form == "eow")
            {
                expected.AsSpan(EowDescriptor, 4096).Clear();
                expected.AsSpan(EowMap, 4096).Clear();
            }

            return expected;
        }
    }

    private long Encrypted => EncryptedBytes < 0 ? Bytes : EncryptedBytes;

    public static byte[] Id(int protection) => Filler(16, 200 + protection);

    public byte[] Make()
    {
        byte[] image = Plain;
        byte[] header = image[..HeaderBytes];
        int start = Form == "vista" ? 16 * SectorBytes : 0;
        EncryptRange(image, start, Bytes, image.AsSpan(start));
        if (HeaderBytes > 0)
        {
            // What the volume begins with for who cannot unlock it.
            Filler(HeaderBytes, 9).CopyTo(image, 0);
            EncryptRange(image, HeaderOffset, HeaderOffset + HeaderBytes, header);
        }

        WriteVolumeHeader(image);
        byte[] area = Area();
        foreach (int offset in MetadataOffsets)
        {
            area.CopyTo(image, offset);
        }

        if (Form == "eow")
        {
            WriteEow(image);
        }

        return image;
    }

    /// <summary>Recomputes the checksums of whatever the structures now hold.</summary>
    public static void Repair(byte[] image, BitLockerWriter writer)
    {
        foreach (int offset in writer.MetadataOffsets)
        {
            int size = BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(offset + 8)) * (image[offset + 10] == 1 ? 1 : 16);
            BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(offset + size + 4), Crc32.Of(image.AsSpan(offset, size)));
        }

        if (writer.Form == "eow")
        {
            Seal(image.AsSpan(writer.EowDescriptor, 64), 36);
            Seal(image.AsSpan(writer.EowMap, 512), 56);
            Seal(image.AsSpan(writer.EowMap + 512, 512), 32);
            Seal(image.AsSpan(writer.EowMap + 1024, 512), 32);
        }
    }

    public static byte[] Filler(int count, int seed) => PlainXts.Bytes(count, seed);

    private static byte[] U16(int value) => BitConverter.GetBytes((ushort)value);

    private static byte[] U32(int value) => BitConverter.GetBytes(value);

    private static byte[] U64(long value) => BitConverter.GetBytes(value);

    private static byte[] Entry(int type, int value, byte[] data) => [.. U16(8 + data.Length), .. U16(type), .. U16(value), .. U16(1), .. data];

    private static byte[] Wrap(byte[] wrapping, byte[] key, int method, int counter)
    {
        byte[] container = [.. U32(12 + key.Length), .. U16(1), .. U16(0), .. U32(method), .. key];
        byte[] nonce = [.. U64(Time), .. U32(counter)];
        byte[] tag = new byte[16];
        byte[] data = new byte[container.Length];
        using var ccm = new AesCcm(wrapping);
        ccm.Encrypt(nonce, container, data, tag);
        return Entry(0, 5, [.. nonce, .. tag, .. data]);
    }

    /// <summary>Chapter "Keys" of the format.</summary>
    private byte[] Stretch(int protection, byte[] salt) => Stretched.GetOrAdd(protection + PasswordSecret + Convert.ToHexString(salt), _ =>
    {
        byte[] initial = protection == Recovery
            ? SHA256.HashData([.. RecoveryText.Split('-').SelectMany(g => U16(int.Parse(g, CultureInfo.InvariantCulture) / 11))])
            : SHA256.HashData(SHA256.HashData(Encoding.Unicode.GetBytes(PasswordSecret)));
        byte[] state = [.. new byte[32], .. initial, .. salt, .. new byte[8]];
        for (long i = 0; i < 1 << 20; i++)
        {
            BinaryPrimitives.WriteInt64LittleEndian(state.AsSpan(80), i);
            SHA256.HashData(state, state.AsSpan(0, 32));
        }

        return state[..32];
    });

    private static void Seal(Span<byte> bytes, int at)
    {
        bytes.Slice(at, 4).Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[at..], Crc32.Of(bytes));
    }

    private void WriteVolumeHeader(byte[] image)
    {
        Span<byte> h = image.AsSpan(0, 512);
        if (Form == "vista")
        {
            "-FVE-FS-"u8.CopyTo(h[3..]);
            BinaryPrimitives.WriteInt64LittleEndian(h[56..], MetadataOffsets[0] / 4096);
            return;
        }

        h.Clear();
        byte[] start = [0xEB, 0x58, 0x90, .. Form == "togo" ? "MSWIN4.1"u8 : "-FVE-FS-"u8];
        start.CopyTo(h);
        BinaryPrimitives.WriteUInt16LittleEndian(h[11..], (ushort)SectorBytes);
        h[13] = (byte)(4096 / SectorBytes);
        h[21] = 0xF8;
        byte[] middle = [0x3F, 0, 0xFF, 0];
        middle.CopyTo(h[24..]);
        BinaryPrimitives.WriteUInt16LittleEndian(h[36..], 0x1FE0);
        h[48] = 1;
        h[50] = 6;
        h[64] = 0x80;
        h[66] = 0x29;
        "NO NAME    FAT32   "u8.CopyTo(h[71..]);
        int at = Form == "togo" ? 424 : 160;
        new Guid(Form == "eow" ? "92a84d3b-dd80-4d0e-9e4e-b1e3284eaed8" : "4967d63b-2e29-4ad8-8399-f6a339e3d001").TryWriteBytes(h[at..]);
        for (int i = 0; i < 3; i++)
        {
            BinaryPrimitives.WriteInt64LittleEndian(h[(at + 16 + (8 * i))..], MetadataOffsets[i]);
        }

        if (Form == "eow")
        {
            BinaryPrimitives.WriteInt64LittleEndian(h[(at + 40)..], EowDescriptor);
            BinaryPrimitives.WriteInt64LittleEndian(h[(at + 48)..], 0);
        }

        h[510] = 0x55;
        h[511] = 0xAA;
    }

    private byte[] Area()
    {
        byte[] master = Filler(32, 300);
        List<byte> entries = [];
        foreach (int protection in Protectors)
        {
            byte[] salt = Filler(16, 400 + protection);
            byte[] properties = protection switch
            {
                Clear => [.. Entry(0, 1, [.. U32(0x2003), .. Filler(32, 500)]), .. Wrap(Filler(32, 500), master, 0x2003, 5)],
                Tpm => Entry(0, 6, Filler(64, 600)),
                External => [.. Entry(0, 2, Encoding.Unicode.GetBytes("ExternalKey\0")), .. Wrap(ExternalKey, master, 0x2003, 6)],
                _ => [.. Entry(0, 3, [.. U32(protection == Password ? 0x1001 : 0x1000), .. salt, .. Wrap(master, Filler(32, 700), 0x2001, 9)]), .. Wrap(Stretch(protection, salt), master, 0x2003, 7)],
            };
            entries.AddRange(Entry(2, 8, [.. Id(protection), .. U64(Time), .. U16(0), .. U16(protection), .. properties]));
        }

        byte[] dataKey = Wrap(master, DataKey, Method, 8);
        dataKey[2] = 3;
        entries.AddRange(dataKey);
        entries.AddRange(Entry(7, 2, Encoding.Unicode.GetBytes("TEST-PC D: 2026-11-23\0")));
        if (HeaderBytes > 0)
        {
            entries.AddRange(Entry(15, 15, [.. U64(HeaderOffset), .. U64(HeaderBytes)]));
        }

        int metadata = 48 + entries.Count;
        int version = Form == "vista" ? 1 : 2;
        int size = (64 + metadata + 15) / 16 * 16;
        byte[] area = new byte[AreaBytes];
        byte[] head =
        [
            .. "-FVE-FS-"u8, .. U16(version == 1 ? size : size / 16), .. U16(version), .. U16(State), .. U16(NextState),
            .. U64(version == 1 && !HasVistaSize ? 0 : Encrypted), .. U32(ConvertedBytes), .. U32(HeaderBytes / SectorBytes),
            .. MetadataOffsets.SelectMany(o => U64(o)), .. U64(version == 1 ? 2 : HeaderOffset),
            .. U32(metadata), .. U32(1), .. U32(48), .. U32(metadata), .. Filler(16, 800), .. U32(10), .. U16(Method), .. U16(0), .. U64(Time), .. entries,
        ];
        head.CopyTo(area, 0);
        byte[] validation = [.. U16(area.Length - size), .. U16(version), .. BitConverter.GetBytes(Crc32.Of(area.AsSpan(0, size)))];
        validation.CopyTo(area, size);
        return area;
    }

    private void WriteEow(byte[] image)
    {
        byte[] descriptor =
        [
            .. "FVE-EOW\0"u8, .. U16(56), .. U16(64), .. U32(512), .. U32(512), .. U32(EowBlockBytes), .. U32(0), .. U32(0), .. U32(1), .. U32(0),
            .. U64(EowDescriptor), .. U64(0), .. U64(EowMap),
        ];
        image.AsSpan(EowDescriptor, 4096).Clear();
        descriptor.CopyTo(image, EowDescriptor);
        image.AsSpan(EowMap, 4096).Clear();
        byte[] map = [.. "FVE-EOWBM\0"u8, .. U16(60), .. U32(1536), .. U32(0), .. U64(0), .. U64(Bytes), .. U64(0), .. U32(512), .. U32(1024), .. U32(512), .. U32(0)];
        map.CopyTo(image, EowMap);
        for (int record = 0; record < 2; record++)
        {
            int at = EowMap + (512 * (record + 1));
            byte[] head = [.. "FVE-EOWBR\0"u8, .. U16(36), .. U32(512), .. U32(Bytes / EowBlockBytes), .. U64(record == 0 ? 3 : 2), .. U32(0), .. U32(0)];
            head.CopyTo(image, at);

            // The older record says that nothing is encrypted.
            for (int block = 0; record == 0 && block < Bytes / EowBlockBytes; block++)
            {
                if (!IsPlain(block * EowBlockBytes))
                {
                    image[at + 36 + (block / 8)] |= (byte)(1 << (block % 8));
                }
            }
        }

        Repair(image, this);
    }

    private bool IsPlain(int offset) => offset >= Encrypted || (Form == "eow" && EowPlain.Any(p => offset >= p.Start && offset < p.End));

    /// <summary>Chapter "Encryption methods". Each sector under the offset at which it is stored.</summary>
    private void EncryptRange(byte[] image, int start, int end, ReadOnlySpan<byte> plain)
    {
        byte[] data = plain.ToArray();
        byte[] key = DataKey;
        using var aes = Aes.Create();
        using var tweak = Aes.Create();
        int keyBytes = Method is 0x8000 or 0x8002 ? 16 : 32;
        aes.Key = key[..keyBytes];
        tweak.Key = key.Length == 64 ? key[32..(32 + keyBytes)] : key[..keyBytes];
        for (int at = start; at < end; at += SectorBytes)
        {
            Span<byte> sector = data.AsSpan(at - start, SectorBytes);
            Span<byte> stored = image.AsSpan(at, SectorBytes);
            if (IsPlain(at))
            {
                sector.CopyTo(stored);
                continue;
            }

            if (Method >= 0x8004)
            {
                PlainXts.Encrypt(key, at / SectorBytes, sector, stored);
                continue;
            }

            byte[] offset = [.. U64(at), .. new byte[8]];
            if (Method <= 0x8001)
            {
                byte[] high = [.. offset[..15], 0x80];
                Diffuse(sector, [.. tweak.EncryptEcb(offset, PaddingMode.None), .. tweak.EncryptEcb(high, PaddingMode.None)]);
            }

            aes.EncryptCbc(sector, aes.EncryptEcb(offset, PaddingMode.None), stored, PaddingMode.None);
        }
    }

    /// <summary>Ferguson, sections 4.3 to 4.6, encryption: the sector key, diffuser A, diffuser B, each from the last word to the first.</summary>
    private static void Diffuse(Span<byte> sector, byte[] sectorKey)
    {
        int n = sector.Length / 4;
        uint[] d = new uint[n];
        for (int i = 0; i < n; i++)
        {
            d[i] = BinaryPrimitives.ReadUInt32LittleEndian(sector[(4 * i)..]) ^ BinaryPrimitives.ReadUInt32LittleEndian(sectorKey.AsSpan(4 * i % 32));
        }

        int[] ra = [9, 0, 13, 0];
        int[] rb = [0, 10, 0, 25];
        for (int i = (5 * n) - 1; i >= 0; i--)
        {
            d[i % n] -= d[(i + n - 2) % n] ^ uint.RotateLeft(d[(i + n - 5) % n], ra[i % 4]);
        }

        for (int i = (3 * n) - 1; i >= 0; i--)
        {
            d[i % n] -= d[(i + 2) % n] ^ uint.RotateLeft(d[(i + 5) % n], rb[i % 4]);
        }

        for (int i = 0; i < n; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(sector[(4 * i)..], d[i]);
        }
    }
}
