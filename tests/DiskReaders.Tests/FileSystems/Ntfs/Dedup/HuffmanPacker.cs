namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs.Dedup;

/// <summary>Packs as XPRESS with Huffman codes whose 512 symbols all have nine bits, without a match: no program here packs more than one block.</summary>
internal static class HuffmanPacker
{
    private const int BlockBytes = 64 << 10;

    public static byte[] Literals(byte[] content)
    {
        var packed = new List<byte>();
        for (int from = 0; from < content.Length; from += BlockBytes)
        {
            packed.AddRange(Enumerable.Repeat((byte)0x99, 256));
            var words = new List<ushort>();
            uint held = 0;
            int bits = 0;
            foreach (byte literal in content.AsSpan(from, Math.Min(BlockBytes, content.Length - from)))
            {
                held = (held << 9) | literal;
                bits += 9;
                if (bits >= 16)
                {
                    words.Add((ushort)(held >> (bits - 16)));
                    bits -= 16;
                }
            }

            words.Add((ushort)(held << (16 - bits)));

            // A reader holds 16 to 31 bits: it has taken one word more than the last bit is in.
            int read = 2 + ((((Math.Min(BlockBytes, content.Length - from)) * 9) - 1) / 16);
            while (words.Count < read)
            {
                words.Add(0);
            }

            packed.AddRange(words.Take(read).SelectMany(BitConverter.GetBytes));
        }

        return [.. packed];
    }
}
