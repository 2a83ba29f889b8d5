using System.Buffers.Binary;
using Vmsweep.DiskReaders.Volumes.Md;

namespace Vmsweep.DiskReaders.Tests.Volumes.Md;

/// <summary>Small members built byte by byte after md_p.h; a test holds them against mdadm --examine.</summary>
internal static class MdImages
{
    public const int SmallBytes = 24 << 10;
    public const int OldBytes = 128 << 10;
    private const int DataOffset = 8192;
    private const int At = 4096;

    /// <summary>A member of version 1.2 with 8 KiB of data.</summary>
    public static byte[] V1(int role, int disks, int level, int layout = 2, uint features = 0, ulong events = 10, Action<byte[]>? change = null)
    {
        byte[] member = new byte[SmallBytes];
        new Random(role).NextBytes(member.AsSpan(DataOffset));
        Span<byte> s = member.AsSpan(At);
        Put32(s, 0, 0xA92B4EFC);
        Put32(s, 4, 1);
        Put32(s, 8, features);
        s.Slice(16, 16).Fill(0x5A);
        "host:array"u8.CopyTo(s[32..]);
        Put64(s, 64, 1_700_000_000);
        Put32(s, 72, (uint)level);
        Put32(s, 76, (uint)layout);
        Put64(s, 80, 16);
        Put32(s, 88, 8);
        Put32(s, 92, (uint)disks);
        Put64(s, 128, DataOffset / 512);
        Put64(s, 136, 16);
        Put64(s, 144, At / 512);
        Put32(s, 160, (uint)role);
        s.Slice(168, 16).Fill((byte)(role + 1));
        Put64(s, 200, events);
        Put64(s, 208, ulong.MaxValue);
        Put32(s, 220, 32);
        for (int i = 0; i < 32; i++)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(s[(256 + (2 * i))..], (ushort)(i < disks ? i : 0xFFFF));
        }

        change?.Invoke(member);
        RepairV1(member);
        return member;
    }

    /// <summary>A member of version 0.90 with 64 KiB of data.</summary>
    public static byte[] V090(int role, int disks, int level, int layout = 2, Action<byte[]>? change = null)
    {
        byte[] member = new byte[OldBytes];
        new Random(role).NextBytes(member.AsSpan(0, 64 << 10));
        Span<byte> s = member.AsSpan(64 << 10);
        uint[] head = [0xA92B4EFC, 0, 90, 0, 0, 0x11111111, 1_700_000_000, (uint)level, level == 0 ? 0u : 64, (uint)disks, (uint)disks, 0, 0, 0x22222222, 0x33333333, 0x44444444];
        for (int i = 0; i < head.Length; i++)
        {
            Put32(s, 4 * i, head[i]);
        }

        Put32(s, 4 * 33, 1);
        Put32(s, 4 * 34, (uint)disks);
        Put32(s, 4 * 35, (uint)disks);
        Put32(s, 4 * 39, 7);
        Put32(s, 4 * 64, (uint)layout);
        Put32(s, 4 * 65, 4096);
        for (int i = 0; i < disks; i++)
        {
            Disk(s[((128 + (32 * i)) * 4)..], i);
        }

        Disk(s[(992 * 4)..], role);
        change?.Invoke(member);
        RepairV090(member);
        return member;

        static void Disk(Span<byte> d, int number)
        {
            Put32(d, 0, (uint)number);
            Put32(d, 4, 8);
            Put32(d, 8, (uint)(16 * number));
            Put32(d, 12, (uint)number);
            Put32(d, 16, 6);
        }
    }

    public static void RepairV1(Span<byte> member)
    {
        Span<byte> s = member[At..];
        int roles = (int)Math.Min(BinaryPrimitives.ReadUInt32LittleEndian(s[220..]), 1920);
        Put32(s, 216, SuperblockV1.Checksum(s[..(256 + (2 * roles))]));
    }

    public static void RepairV090(Span<byte> member)
    {
        Span<byte> s = member.Slice(64 << 10, 4096);
        Put32(s, 4 * 38, SuperblockV090.Checksum(s));
    }

    public static void Put32(Span<byte> s, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(s[at..], value);

    public static void Put64(Span<byte> s, int at, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(s[at..], value);
}
