using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.Signatures.Archives.Decoders;

namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>Puts a folder's coders together. Spec: Methods.txt and 7zFormat.txt of the LZMA SDK (public domain).</summary>
internal sealed class SevenZipDecoder(ReadOnlyMemory<byte> packed, SevenZipHeader header, IMemberSink sink)
{
    private const ulong Copy = 0, Delta = 3, X86 = 4, PowerPc = 5, Arm = 7, ArmThumb = 8, Sparc = 9, Arm64 = 10, Lzma2 = 0x21, Lzma = 0x03_0101, Bcj = 0x0303_0103, Bcj2 = 0x0303_011B,
        OldPowerPc = 0x0303_0205, OldArm = 0x0303_0501, OldArmThumb = 0x0303_0701, OldSparc = 0x0303_0805, Ppmd7 = 0x03_0401, Deflate = 0x04_0108, Deflate64 = 0x04_0109,
        Bzip2 = 0x04_0202, Zstd = 0x04F7_1101, Aes = 0x06F1_0701;

    private const int MostKeyCycles = 22;

    private readonly Dictionary<(string Password, string Salt, int Cycles), byte[]> _keys = [];

    public static bool IsEncrypted(SevenZipFolder folder) => folder.Coders.Exists(c => c.Id == Aes);

    /// <summary>As of <see cref="IMemberSink.Packed"/>: beyond LZMA and the filter for x86 not every program goes along.</summary>
    public static string PackingOf(SevenZipFolder folder) =>
        IsEncrypted(folder) ? "encrypted" : folder.Coders.Find(c => c.Id is not (Copy or Lzma or Lzma2 or Bcj)) is { } other ? FormattableString.Invariant($"method {other.Id:X}") : "";

    /// <summary>The folder's stream.</summary>
    /// <param name="folder">Which.</param>
    /// <param name="password">For the coders that ask for one.</param>
    public Stream Open(SevenZipFolder folder, string password)
    {
        List<IDisposable> memory = [];
        try
        {
            return new ManyReserved(memory, Output(folder, folder.MainOutput, password, memory, 0));
        }
        catch
        {
            memory.ForEach(m => m.Dispose());
            throw;
        }
    }

    private Stream Output(SevenZipFolder folder, int output, string password, List<IDisposable> memory, int depth)
    {
        if (depth > folder.Coders.Count)
        {
            throw ArchiveException.Corrupt("7z folder", -1, "its coders go in a circle");
        }

        int input = 0;
        int at = 0;
        foreach (SevenZipCoder coder in folder.Coders)
        {
            if (output >= at && output < at + coder.Outputs)
            {
                if (coder.Outputs != 1)
                {
                    throw ArchiveException.Unsupported("7z coder", -1, "a coder with several outputs");
                }

                int first = input;
                return Decode(coder, folder.Sizes[output], i => Input(folder, first + i, password, memory, depth), password, memory);
            }

            at += coder.Outputs;
            input += coder.Inputs;
        }

        throw ArchiveException.Corrupt("7z folder", -1, "an output of no coder");
    }

    /// <summary>What feeds an input: bytes where it is packed, else the stream of another coder.</summary>
    private (ReadOnlyMemory<byte> Bytes, Stream? Stream, long Size) Input(SevenZipFolder folder, int input, string password, List<IDisposable> memory, int depth)
    {
        int bond = folder.Bonds.FindIndex(b => b.Input == input);
        if (bond >= 0)
        {
            int output = folder.Bonds[bond].Output;
            return (default, Output(folder, output, password, memory, depth + 1), folder.Sizes[output]);
        }

        int pack = folder.FirstPack + folder.PackedInputs.IndexOf(input);
        if (pack < folder.FirstPack || pack >= header.PackSizes.Count)
        {
            throw ArchiveException.Corrupt("7z folder", -1, "an input of no stream");
        }

        long offset = header.PackOffset;
        for (int i = 0; i < pack; i++)
        {
            offset += Math.Min(header.PackSizes[i], int.MaxValue);
        }

        long size = header.PackSizes[pack];
        if (offset < 0 || offset >= packed.Length)
        {
            throw ArchiveException.Truncated("7z packed stream", offset);
        }

        size = Math.Min(size, packed.Length - offset);
        return (packed.Slice((int)offset, (int)size), null, size);
    }

    private Stream Decode(
        SevenZipCoder coder, long size, Func<int, (ReadOnlyMemory<byte> Bytes, Stream? Stream, long Size)> input, string password, List<IDisposable> memory)
    {
        switch (coder.Id)
        {
            case Copy:
                return AsStream(input(0));
            case Delta when coder.Properties.Length == 1:
                return new DeltaFilter(AsStream(input(0)), coder.Properties[0] + 1);
            case Bcj or X86:
                return new BranchFilter(AsStream(input(0)), BranchKind.X86);
            case PowerPc or OldPowerPc:
                return new BranchFilter(AsStream(input(0)), BranchKind.PowerPc);
            case Arm or OldArm:
                return new BranchFilter(AsStream(input(0)), BranchKind.Arm);
            case ArmThumb or OldArmThumb:
                return new BranchFilter(AsStream(input(0)), BranchKind.ArmThumb);
            case Sparc or OldSparc:
                return new BranchFilter(AsStream(input(0)), BranchKind.Sparc);
            case Arm64:
                return new BranchFilter(AsStream(input(0)), BranchKind.Arm64);
            case Bcj2 when coder.Inputs == 4:
                return new Bcj2Stream([AsStream(input(0)), AsStream(input(1)), AsStream(input(2)), AsStream(input(3))]);
            case Lzma:
                return new LzmaStream(AsBytes(input(0), memory), coder.Properties, size, sink);
            case Lzma2 when coder.Properties.Length == 1:
                return new Lzma2Stream(AsBytes(input(0), memory), coder.Properties[0], size, sink);
            case Ppmd7:
                return new PartStream(Ppmd.OpenSevenZip(coder.Properties, AsBytes(input(0), memory), sink), size);
            case Deflate or Deflate64:
                return new InflateStream(AsBytes(input(0), memory), coder.Id == Deflate64);
            case Bzip2:
                memory.Add(sink.Reserve(4_000_000, "bzip2"));
                return new Bzip2Stream(AsBytes(input(0), memory));
            case Zstd:
                return ZstdFormat.Decode(AsBytes(input(0), memory), sink);
            case Aes:
                ReadOnlyMemory<byte> cipher = AsBytes(input(0), memory);
                memory.Add(sink.Reserve(cipher.Length, "7z decryption"));
                return new SpanStream(Decrypt(coder.Properties, cipher.Span, size, password));
            default:
                throw ArchiveException.Unsupported("7z coder", -1, $"method {coder.Id:x}");
        }
    }

    private static Stream AsStream((ReadOnlyMemory<byte> Bytes, Stream? Stream, long Size) input) => input.Stream ?? new SpanStream(input.Bytes);

    /// <summary>Decoders read from memory; what another coder makes, such as decrypted bytes, is put there.</summary>
    private ReadOnlyMemory<byte> AsBytes((ReadOnlyMemory<byte> Bytes, Stream? Stream, long Size) input, List<IDisposable> memory)
    {
        if (input.Stream is null)
        {
            return input.Bytes;
        }

        memory.Add(sink.Reserve(input.Size, "7z coder"));
        byte[] all = new byte[Math.Min(input.Size, Array.MaxLength)];
        using Stream stream = input.Stream;
        int filled = 0;
        while (filled < all.Length)
        {
            sink.Tick();
            int read = stream.Read(all.AsSpan(filled, Math.Min(all.Length - filled, 64 << 10)));
            if (read == 0)
            {
                break;
            }

            filled += read;
        }

        return all.AsMemory(0, filled);
    }

    private byte[] Decrypt(byte[] properties, ReadOnlySpan<byte> cipher, long size, string password)
    {
        if (properties.Length < 2)
        {
            throw ArchiveException.Corrupt("7z encryption", -1, "properties are missing");
        }

        int cycles = properties[0] & 0x3F;
        int saltBytes = ((properties[0] >> 7) & 1) + (properties[1] >> 4);
        int vectorBytes = ((properties[0] >> 6) & 1) + (properties[1] & 15);
        if (cycles is > MostKeyCycles and not 0x3F || properties.Length < 2 + saltBytes + vectorBytes)
        {
            throw ArchiveException.Unsupported("7z encryption", -1, $"2^{cycles} cycles for a key");
        }

        byte[] salt = properties[2..(2 + saltBytes)];
        byte[] vector = new byte[16];
        properties.AsSpan(2 + saltBytes, vectorBytes).CopyTo(vector);
        (string, string, int) known = (password, Convert.ToHexString(salt), cycles);
        if (!_keys.TryGetValue(known, out byte[]? key))
        {
            key = _keys[known] = Key(password, salt, cycles);
        }

        using var aes = System.Security.Cryptography.Aes.Create();
        aes.Key = key;
        byte[] plain = aes.DecryptCbc(cipher[..(cipher.Length & ~15)], vector, PaddingMode.None);
        return size < plain.Length ? plain[..(int)size] : plain;
    }

    private byte[] Key(string password, byte[] salt, int cycles)
    {
        byte[] text = Encoding.Unicode.GetBytes(password);
        if (cycles == 0x3F)
        {
            byte[] plain = new byte[32];
            ((byte[])[.. salt, .. text]).AsSpan(0, Math.Min(32, salt.Length + text.Length)).CopyTo(plain);
            return plain;
        }

        // Many rounds in one buffer: the hash is fed with few large pieces.
        const int Batch = 256;
        int unit = salt.Length + text.Length + 8;
        byte[] rounds = new byte[unit * Batch];
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        long count = 1L << cycles;
        for (long round = 0; round < count; round += Batch)
        {
            sink.Tick();
            int batch = (int)Math.Min(Batch, count - round);
            for (int i = 0; i < batch; i++)
            {
                Span<byte> one = rounds.AsSpan(i * unit, unit);
                salt.CopyTo(one);
                text.CopyTo(one[salt.Length..]);
                BinaryPrimitives.WriteInt64LittleEndian(one[^8..], round + i);
            }

            hash.AppendData(rounds, 0, batch * unit);
        }

        return hash.GetHashAndReset();
    }

    private sealed class ManyReserved(List<IDisposable> memory, Stream inner) : ReadOnlyStream
    {
        public override int Read(Span<byte> buffer) => inner.Read(buffer);

        protected override void Dispose(bool disposing)
        {
            inner.Dispose();
            memory.ForEach(m => m.Dispose());
            memory.Clear();
            base.Dispose(disposing);
        }
    }
}
