using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.Blocks.Compression;

/// <summary>
/// Undoes the filters that make absolute addresses of branches in executables. Specification: "The .xz File Format" 1.2, section 5.3.2
/// (identifiers), and the descriptions in the LZMA SDK (Bra.txt, public domain).
/// </summary>
internal static class Bcj
{
    private const ulong X86 = 4, PowerPc = 5, Ia64 = 6, Arm = 7, ArmThumb = 8, Sparc = 9, Arm64 = 10;

    // The slots of an IA-64 bundle that may hold a branch, by template.
    private static ReadOnlySpan<byte> Ia64Slots =>
    [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 6, 6, 0, 0, 7, 7, 4, 4, 0, 0, 4, 4, 0, 0,
    ];

    public static bool IsKnown(ulong id) => id is >= X86 and <= Arm64;

    /// <param name="id">The filter.</param>
    /// <param name="bytes">All that was filtered, changed in place.</param>
    /// <param name="start">The address of the first byte.</param>
    public static void Decode(ulong id, Span<byte> bytes, uint start)
    {
        switch (id)
        {
            case X86:
                DecodeX86(bytes, start);
                break;
            case Ia64:
                DecodeIa64(bytes, start);
                break;
            case ArmThumb:
                DecodeArmThumb(bytes, start);
                break;
            default:
                DecodeWords(id, bytes, start);
                break;
        }
    }

    // Call and jump (E8, E9) with a near displacement; the mask remembers opcodes that were seen inside the last bytes.
    private static void DecodeX86(Span<byte> bytes, uint start)
    {
        unchecked
        {
            uint mask = 0;
            uint last = start - 5;
            for (int at = 0; at <= bytes.Length - 5;)
            {
                if ((bytes[at] & 0xFE) != 0xE8)
                {
                    int next = bytes[at..^4].IndexOfAny((byte)0xE8, (byte)0xE9);
                    if (next < 0)
                    {
                        return;
                    }

                    at += next;
                }

                uint here = start + (uint)at;
                uint since = here - last;
                last = here;
                mask = since > 5 ? 0 : Shifted(mask, since);
                byte high = bytes[at + 4];
                if (!IsSign(high) || mask >> 1 is > 4 or 3)
                {
                    at++;
                    mask |= IsSign(high) ? 0x11u : 1u;
                    continue;
                }

                uint from = BinaryPrimitives.ReadUInt32LittleEndian(bytes[(at + 1)..]);
                uint to = from - (here + 5);
                if (mask != 0)
                {
                    int bits = (mask >> 1) switch { 0 => 0, 1 => 8, 2 or 3 => 16, _ => 24 };
                    if (IsSign((byte)(to >> (24 - bits))))
                    {
                        from = to ^ (uint)((1UL << (32 - bits)) - 1);
                        to = from - (here + 5);
                    }
                }

                BinaryPrimitives.WriteUInt32LittleEndian(bytes[(at + 1)..], (to & 0x00FF_FFFF) | ((to >> 24 & 1) != 0 ? 0xFF00_0000 : 0));
                at += 5;
                mask = 0;
            }
        }

        static bool IsSign(byte b) => b is 0 or 0xFF;

        static uint Shifted(uint mask, uint count)
        {
            for (; count > 0; count--)
            {
                mask = (mask & 0x77) << 1;
            }

            return mask;
        }
    }

    private static void DecodeWords(ulong id, Span<byte> bytes, uint start)
    {
        unchecked
        {
            for (int at = 0; at <= bytes.Length - 4; at += 4)
            {
                Span<byte> word = bytes.Slice(at, 4);
                uint here = start + (uint)at;
                if (id == PowerPc)
                {
                    // bl
                    uint code = BinaryPrimitives.ReadUInt32BigEndian(word);
                    if ((code & 0xFC00_0003) == 0x4800_0001)
                    {
                        BinaryPrimitives.WriteUInt32BigEndian(word, 0x4800_0001 | ((code - here) & 0x03FF_FFFC));
                    }
                }
                else if (id == Sparc)
                {
                    // call with a displacement of 22 bits and sign
                    uint code = BinaryPrimitives.ReadUInt32BigEndian(word);
                    if (code >> 22 is 0x100 or 0x1FF)
                    {
                        uint to = (code << 2) - here >> 2;
                        BinaryPrimitives.WriteUInt32BigEndian(word, (((0u - ((to >> 22) & 1)) << 22) & 0x3FFF_FFFF) | (to & 0x3F_FFFF) | 0x4000_0000);
                    }
                }
                else if (id == Arm)
                {
                    // bl
                    uint code = BinaryPrimitives.ReadUInt32LittleEndian(word);
                    if (code >> 24 == 0xEB)
                    {
                        uint to = ((code << 2) - (here + 8)) >> 2;
                        BinaryPrimitives.WriteUInt32LittleEndian(word, 0xEB00_0000 | (to & 0xFF_FFFF));
                    }
                }
                else
                {
                    DecodeArm64(word, here);
                }
            }
        }
    }

    private static void DecodeArm64(Span<byte> word, uint here)
    {
        unchecked
        {
            uint code = BinaryPrimitives.ReadUInt32LittleEndian(word);
            if (code >> 26 == 0x25)
            {
                // bl
                BinaryPrimitives.WriteUInt32LittleEndian(word, 0x9400_0000 | ((code - (here >> 2)) & 0x03FF_FFFF));
            }
            else if ((code & 0x9F00_0000) == 0x9000_0000)
            {
                // adrp within half a gibibyte
                uint from = ((code >> 29) & 3) | ((code >> 3) & 0x1F_FFFC);
                if (((from + 0x2_0000) & 0x1C_0000) == 0)
                {
                    uint to = from - (here >> 12);
                    code &= 0x9000_001F;
                    code |= (to & 3) << 29;
                    code |= (to & 0x3_FFFC) << 3;
                    code |= (0u - (to & 0x2_0000)) & 0xE0_0000;
                    BinaryPrimitives.WriteUInt32LittleEndian(word, code);
                }
            }
        }
    }

    private static void DecodeArmThumb(Span<byte> bytes, uint start)
    {
        unchecked
        {
            for (int at = 0; at <= bytes.Length - 4; at += 2)
            {
                Span<byte> pair = bytes.Slice(at, 4);
                uint first = BinaryPrimitives.ReadUInt16LittleEndian(pair);
                uint second = BinaryPrimitives.ReadUInt16LittleEndian(pair[2..]);
                if ((first & 0xF800) != 0xF000 || (second & 0xF800) != 0xF800)
                {
                    continue;
                }

                uint from = ((first & 0x7FF) << 11) | (second & 0x7FF);
                uint to = ((from << 1) - (start + (uint)at + 4)) >> 1;
                BinaryPrimitives.WriteUInt16LittleEndian(pair, (ushort)(0xF000 | ((to >> 11) & 0x7FF)));
                BinaryPrimitives.WriteUInt16LittleEndian(pair[2..], (ushort)(0xF800 | (to & 0x7FF)));
                at += 2;
            }
        }
    }

    // A bundle is 16 bytes: a template of 5 bits and three slots of 41.
    private static void DecodeIa64(Span<byte> bytes, uint start)
    {
        unchecked
        {
            for (int at = 0; at <= bytes.Length - 16; at += 16)
            {
                byte slots = Ia64Slots[bytes[at] & 0x1F];
                for (int slot = 0, bit = 5; slot < 3; slot++, bit += 41)
                {
                    if (((slots >> slot) & 1) == 0)
                    {
                        continue;
                    }

                    Span<byte> six = bytes.Slice(at + (bit >> 3), 6);
                    int within = bit & 7;
                    ulong all = BinaryPrimitives.ReadUInt32LittleEndian(six) | ((ulong)BinaryPrimitives.ReadUInt16LittleEndian(six[4..]) << 32);
                    ulong code = all >> within;
                    if (((code >> 37) & 0xF) != 5 || ((code >> 9) & 7) != 0)
                    {
                        continue;
                    }

                    uint from = (uint)((code >> 13) & 0xF_FFFF) | ((uint)((code >> 36) & 1) << 20);
                    uint to = ((from << 4) - (start + (uint)at)) >> 4;
                    code &= ~(0x8F_FFFFUL << 13);
                    code |= (ulong)(to & 0xF_FFFF) << 13;
                    code |= (ulong)(to & 0x10_0000) << (36 - 20);
                    all = (all & ((1UL << within) - 1)) | (code << within);
                    BinaryPrimitives.WriteUInt32LittleEndian(six, (uint)all);
                    BinaryPrimitives.WriteUInt16LittleEndian(six[4..], (ushort)(all >> 32));
                }
            }
        }
    }
}
