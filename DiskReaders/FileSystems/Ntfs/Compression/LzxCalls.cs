using System.Buffers.Binary;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs.Compression;

/// <summary>
/// Turns the absolute targets of x86 calls (E8) back into relative ones. Spec: [MS-PATCH] 2.3 "E8 Call Translation"; WIM uses it for
/// every chunk, each as if at the begin of a file of 12,000,000 bytes.
/// </summary>
internal static class LzxCalls
{
    private const int FileBytes = 12_000_000;

    /// <summary>Chunks of up to 10 bytes are left alone, and so is a call whose opcode is among the last bytes of one.</summary>
    private const int TailBytes = 10;

    public static void Undo(Span<byte> chunk)
    {
        int last = chunk.Length - TailBytes;
        for (int at = 0; at < last;)
        {
            int found = chunk[at..last].IndexOf((byte)0xE8);
            if (found < 0)
            {
                return;
            }

            at += found;
            Span<byte> target = chunk.Slice(at + 1, 4);
            int absolute = BinaryPrimitives.ReadInt32LittleEndian(target);
            if (absolute >= -at && absolute < FileBytes)
            {
                BinaryPrimitives.WriteInt32LittleEndian(target, absolute >= 0 ? absolute - at : absolute + FileBytes);
            }

            at += 5;
        }
    }
}
