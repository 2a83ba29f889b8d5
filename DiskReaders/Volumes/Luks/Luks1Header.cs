using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Luks;

/// <summary>"PHDR", LUKS1 On-Disk Format Specification 1.2.3, section 3.1. Big-endian; 592 bytes.</summary>
internal static class Luks1Header
{
    public const int Size = 592;
    private const string Name = "LUKS1 PHDR";
    private const int SectorBytes = 512;
    private const int SlotsAt = 208;
    private const int SlotBytes = 48;
    private const int Slots = 8;
    private const int SaltBytes = 32;
    private const uint Enabled = 0x00AC_71F3;
    private const uint Disabled = 0x0000_DEAD;

    /// <param name="content">What begins with the header.</param>
    /// <param name="hasPayload">False where another format says where the data lie, and the header's word is of no use: qcow2.</param>
    public static LuksHeader Read(IBlockSource content, bool hasPayload)
    {
        Span<byte> bytes = stackalloc byte[Size];
        Bounds.Check(0, Size, content.Length, Name);
        content.Read(0, bytes);
        var v = new BeView(bytes, Name, 0);
        v.Require(LuksFormat.IsFirst(bytes, 1), 0, "magic");
        string encryption = Text(v, 8, 32) + "-" + Text(v, 40, 32);
        string hash = Text(v, 72, 32);
        long payload = (long)v.U32(104) * SectorBytes;
        int keyBytes = KeyBytes(v);
        var digestKdf = new KeyDerivation(KeyDerivation.Pbkdf2, v.U32(164), v.Field(132, SaltBytes).ToArray(), hash);
        var slots = new List<LuksKeySlot>();
        for (int i = 0; i < Slots; i++)
        {
            if (Slot(v.Inner(SlotsAt + (i * SlotBytes), SlotBytes, "LUKS1 key slot"), i, encryption, hash, keyBytes, hasPayload && payload > 0 ? payload : content.Length) is { } slot)
            {
                slots.Add(slot);
            }
        }

        return new LuksHeader(1, Text(v, 168, 40), "")
        {
            Slots = slots,
            Digests = [new LuksDigest(0, [.. slots.Select(s => s.Number)], [0], digestKdf.Checked(Name, 164), v.Field(112, 20).ToArray(), keyBytes)],
            Segments = [new LuksSegment(0, payload, null, encryption, 0, SectorBytes)],
            EndOfMetadata = Size,
        };
    }

    private static int KeyBytes(BeView v)
    {
        uint keyBytes = v.U32(108);
        v.Require(keyBytes > 0, 108, "key-bytes");
        return keyBytes <= LuksLimits.MostKeyBytes ? (int)keyBytes : throw v.TooLarge(108, "key-bytes");
    }

    /// <summary>A slot that is in use; null for one that is not.</summary>
    private static LuksKeySlot? Slot(BeView v, int number, string encryption, string hash, int keyBytes, long end)
    {
        uint active = v.U32(0);
        if (active == Disabled)
        {
            return null;
        }

        try
        {
            v.Require(active == Enabled, 0, "active");
            uint stripes = v.U32(44);
            v.Require(stripes > 0, 44, "stripes");
            if (stripes > LuksLimits.MostSplitBytes / keyBytes)
            {
                throw v.TooLarge(44, "stripes");
            }

            long at = (long)v.U32(40) * SectorBytes;
            v.Require(at >= Size && at <= end && stripes * keyBytes <= end - at, 40, "key-material-offset: it does not lie between header and payload");
            return new LuksKeySlot(number)
            {
                KeyBytes = keyBytes,
                Kdf = new KeyDerivation(KeyDerivation.Pbkdf2, v.U32(4), v.Field(8, SaltBytes).ToArray(), hash).Checked(v.Structure, v.Offset + 4),
                Stripes = (int)stripes,
                SplitHash = hash,
                Encryption = encryption,
                AreaKeyBytes = keyBytes,
                AreaOffset = at,
                Fault = LuksCipher.FaultOf(encryption, keyBytes, v.Structure, v.Offset),
            };
        }
        catch (DiskFormatException e)
        {
            // One slot may be faulty while another one opens the volume.
            return new LuksKeySlot(number) { Fault = e };
        }
    }

    /// <summary>"A byte character string ... padded with 0-bytes".</summary>
    private static string Text(BeView v, int at, int length)
    {
        ReadOnlySpan<byte> field = v.Field(at, length);
        int end = field.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? field : field[..end]);
    }
}
