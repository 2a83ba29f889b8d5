using System.Buffers.Binary;
using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Erofs;

/// <summary>
/// Writes what mkfs.erofs 1.5 of Debian cannot: MicroLZMA, deflate, zstd, fragments, interlaced clusters. From erofs_fs.h; the kernel's mount of
/// the image keeps it honest.
/// </summary>
internal sealed class ErofsWriter
{
    private const int Block = 4096;
    private const int FirstNid = 8;
    private const int NidStep = 32;              // a kibibyte for each inode and its index
    private const int MetaBlocks = 8;
    private readonly byte[] _meta = new byte[MetaBlocks * Block];
    private readonly List<byte[]> _data = [];
    private readonly List<(string Name, ulong Nid)> _files = [];
    private ulong _packedNid;
    private int _next = FirstNid;

    /// <summary>A file in one physical cluster of one algorithm: 1 MicroLZMA, 2 deflate, 3 zstd.</summary>
    public void AddPacked(string name, byte[] content, int algorithm)
    {
        byte[] packed = Pack(content, algorithm);
        int blocks = (packed.Length + Block - 1) / Block;
        uint at = AddData([.. new byte[(blocks * Block) - packed.Length], .. packed]);
        int clusters = (content.Length + Block - 1) / Block;
        Span<byte> index = AddIndexed(name, content.Length, 0, blocks > 1 ? 2 : 0, algorithm);
        Entry(index, 0, 1, 0, at);
        for (int i = 1; i < clusters; i++)
        {
            Entry(index, i, 2, 0, (uint)(i == 1 && blocks > 1 ? blocks | 0x800 : i) | ((uint)(clusters - i) << 16));
        }
    }

    /// <summary>A packed cluster and then one that is not, whose bytes lie at their own places in the block.</summary>
    public void AddInterlaced(string name, byte[] content, int split)
    {
        byte[] packed = Pack(content[..split], 2);
        uint first = AddData([.. new byte[Block - packed.Length], .. packed]);
        byte[] plain = new byte[Block];
        for (int i = split; i < content.Length; i++)
        {
            plain[i % Block] = content[i];
        }

        uint second = AddData(plain);
        Span<byte> index = AddIndexed(name, content.Length, 0, 0x10, 2);
        Entry(index, 0, 1, 0, first);
        Entry(index, 1, 0, split - Block, second);

        // What mkfs.erofs closes an index with: a head where the file ends.
        Entry(index, 2, 0, content.Length % Block, 0);
    }

    /// <summary>The packed inode: what fragments lie in.</summary>
    public void AddPackedInode(byte[] content)
    {
        uint at = AddData(content);
        _packedNid = (ulong)_next;
        Inode(content.Length, 0, 0x81A4, at);
    }

    /// <summary>A file that is all a range of the packed inode.</summary>
    public void AddFragment(string name, int size, int offset)
    {
        Span<byte> end = AddInode(name, size, 1, 0);
        BinaryPrimitives.WriteUInt64LittleEndian(end, (uint)offset | (1UL << 63));
    }

    /// <summary>A block that is not packed, and the rest in the packed inode.</summary>
    public void AddTail(string name, byte[] content, int offset)
    {
        uint at = AddData(content[..Block]);
        Span<byte> index = AddIndexed(name, content.Length, (uint)offset, 0x20, 2);
        Entry(index, 0, 0, 0, at);
        Entry(index, 1, 1, 0, 0);
    }

    public byte[] Build()
    {
        // The folder is a block with entries in order of their names.
        List<(string Name, ulong Nid, byte Type)> entries = [(".", 2, 2), ("..", 2, 2), .. _files.Select(f => (f.Name, f.Nid, (byte)1))];
        entries.Sort((a, b) => string.CompareOrdinal(a.Name, b.Name));
        byte[] folder = new byte[Block];
        int nameAt = entries.Count * 12;
        for (int i = 0; i < entries.Count; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(folder.AsSpan(i * 12), entries[i].Nid);
            BinaryPrimitives.WriteUInt16LittleEndian(folder.AsSpan((i * 12) + 8), (ushort)nameAt);
            folder[(i * 12) + 10] = entries[i].Type;
            nameAt += Encoding.ASCII.GetBytes(entries[i].Name, folder.AsSpan(nameAt));
        }

        uint at = AddData(folder);
        _next = 2;
        Inode(nameAt, 0, 0x41ED, at);
        byte[] super = new byte[Block];
        Span<byte> s = super.AsSpan(1024);
        U32(s, 0, 0xE0F5_E1E2);
        s[12] = 12;
        s[14] = 2;
        U32(s, 16, (uint)_files.Count + 1);
        U32(s, 36, (uint)(1 + MetaBlocks + (_data.Sum(d => d.Length) / Block)));
        U32(s, 40, 1);
        U32(s, 80, 0x33);
        U32(s, 84, 0xF);
        BinaryPrimitives.WriteUInt64LittleEndian(s[96..], _packedNid);

        // Configurations of the algorithms, each behind its length.
        ((byte[])[14, 0, 255, 255, 16]).CopyTo(s[128..]);
        ((byte[])[14, 0, 0, 0, 0x80, 0]).CopyTo(s[144..]);
        ((byte[])[6, 0, 15]).CopyTo(s[160..]);
        ((byte[])[6, 0, 0, 10]).CopyTo(s[168..]);
        return [.. super, .. _meta, .. _data.SelectMany(d => d)];
    }

    private static byte[] Pack(byte[] content, int algorithm)
    {
        switch (algorithm)
        {
            case 1:
                return MicroLzma.Pack(content);
            case 2:
                using (var made = new MemoryStream())
                {
                    using (var deflate = new DeflateStream(made, CompressionLevel.SmallestSize))
                    {
                        deflate.Write(content);
                    }

                    return made.ToArray();
                }

            default:
                using (var zstd = new ZstdSharp.Compressor(9))
                {
                    return zstd.Wrap(content).ToArray();
                }
        }
    }

    private static void U32(Span<byte> at, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(at[offset..], value);

    private static void Entry(Span<byte> index, int number, int type, int offset, uint union)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(index[(number * 8)..], (ushort)type);
        BinaryPrimitives.WriteUInt16LittleEndian(index[((number * 8) + 2)..], (ushort)offset);
        U32(index, (number * 8) + 4, union);
    }

    private uint AddData(byte[] content)
    {
        uint at = (uint)(1 + MetaBlocks + (_data.Sum(d => d.Length) / Block));
        _data.Add([.. content, .. new byte[(Block - (content.Length % Block)) % Block]]);
        return at;
    }

    private Span<byte> AddInode(string name, int size, int layout, uint union)
    {
        _files.Add((name, (ulong)_next));
        return Inode(size, layout, 0x81A4, union);
    }

    private Span<byte> AddIndexed(string name, int size, uint fragment, int advise, int algorithm)
    {
        Span<byte> header = AddInode(name, size, 1, 1);
        U32(header, 0, fragment);
        header[4] = (byte)advise;
        header[6] = (byte)algorithm;
        return header[16..];
    }

    // Extended inodes.
    private Span<byte> Inode(int size, int layout, int mode, uint union)
    {
        Span<byte> inode = _meta.AsSpan(_next * 32);
        inode[0] = (byte)(1 | (layout << 1));
        BinaryPrimitives.WriteUInt16LittleEndian(inode[4..], (ushort)mode);
        U32(inode, 8, (uint)size);
        U32(inode, 16, union);
        U32(inode, 20, (uint)_next);
        inode[44] = (byte)(mode == 0x41ED ? 2 : 1);
        _next += NidStep;
        return inode[64..];
    }

    /// <summary>The encoder of liblzma (lzma/container.h, <c>lzma_microlzma_encoder</c>).</summary>
    private static class MicroLzma
    {
        private const int StreamBytes = 136;
        private const int OptionsBytes = 256;
        private const int Finish = 3;
        private const int StreamEnd = 1;

        public static byte[] Pack(byte[] content)
        {
            nint stream = Marshal.AllocHGlobal(StreamBytes), options = Marshal.AllocHGlobal(OptionsBytes);
            nint from = Marshal.AllocHGlobal(content.Length), to = Marshal.AllocHGlobal(content.Length);
            try
            {
                Marshal.Copy(new byte[StreamBytes], 0, stream, StreamBytes);
                Marshal.Copy(new byte[OptionsBytes], 0, options, OptionsBytes);
                Marshal.Copy(content, 0, from, content.Length);
                Assert.Equal(0, Preset(options, 6));
                Assert.Equal(0, Encoder(stream, options));
                Marshal.WriteIntPtr(stream, 0, from);
                Marshal.WriteInt64(stream, 8, content.Length);
                Marshal.WriteIntPtr(stream, 24, to);
                Marshal.WriteInt64(stream, 32, content.Length);
                Assert.Equal(StreamEnd, Code(stream, Finish));
                Assert.Equal(content.Length, Marshal.ReadInt64(stream, 16));
                byte[] packed = new byte[Marshal.ReadInt64(stream, 40)];
                Marshal.Copy(to, packed, 0, packed.Length);
                End(stream);
                return packed;
            }
            finally
            {
                Marshal.FreeHGlobal(stream);
                Marshal.FreeHGlobal(options);
                Marshal.FreeHGlobal(from);
                Marshal.FreeHGlobal(to);
            }
        }

        [DllImport("liblzma.so.5", EntryPoint = "lzma_lzma_preset")]
        [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
        private static extern byte Preset(nint options, uint preset);

        [DllImport("liblzma.so.5", EntryPoint = "lzma_microlzma_encoder")]
        [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
        private static extern int Encoder(nint stream, nint options);

        [DllImport("liblzma.so.5", EntryPoint = "lzma_code")]
        [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
        private static extern int Code(nint stream, int action);

        [DllImport("liblzma.so.5", EntryPoint = "lzma_end")]
        [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
        private static extern void End(nint stream);
    }
}
