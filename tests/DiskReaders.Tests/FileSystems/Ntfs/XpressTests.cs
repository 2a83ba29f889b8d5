using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems.Ntfs.Compression;
using Vmsweep.DiskReaders.Tests.FileSystems.Ntfs.Dedup;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs;

/// <summary>XPRESS as the chunk store has it: plain LZ77, and Huffman codes in several blocks.</summary>
public sealed class XpressTests
{
    [Theory]
    [InlineData("3F0000006162636465666768696A6B6C6D6E6F707172737475767778797A", "abcdefghijklmnopqrstuvwxyz", 1)]
    [InlineData("FFFFFF1F61626317000FFF2601", "abc", 100)]
    public void The_specification_s_examples_unpack(string hex, string text, int times)
    {
        // [MS-XCA] 3.1.
        byte[] expected = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat(text, times)));
        byte[] unit = new byte[expected.Length];
        Xpress.Unpack(Convert.FromHexString(hex), unit, 0);
        Assert.Equal(expected, unit);
    }

    [Theory]
    [InlineData("", "the packed bytes end before the unit")]
    [InlineData("00000000", "the packed bytes end before the unit")]
    [InlineData("FFFFFFFF00", "the packed bytes end before the unit")]
    [InlineData("FFFFFFFF0000", "match of 3 bytes from 1 before 0")]
    [InlineData("0000004061020061", "match of 5 bytes from 1 before 1", 4)]
    [InlineData("FFFFFF7F610700", "the packed bytes end before the unit")]
    [InlineData("FFFFFF7F6107000FFF0100", "length 1")]
    [InlineData("FFFFFF7F6107000FFF0000FFFFFFFF", "match of")]
    public void Bad_bytes_are_refused(string hex, string detail, int unit = 100)
    {
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => Xpress.Unpack(Convert.FromHexString(hex), new byte[unit], 7));
        Assert.Contains(detail, e.Detail, StringComparison.Ordinal);
        Assert.Equal(7, e.Offset);
    }

    [Theory]
    [InlineData(10)]
    [InlineData(65_536)]
    [InlineData(65_537)]
    [InlineData(200_000)]
    public void Huffman_blocks_follow_each_other(int bytes)
    {
        byte[] content = new byte[bytes];
        new Random(bytes).NextBytes(content);
        byte[] unit = new byte[bytes];
        XpressHuffman.Unpack(HuffmanPacker.Literals(content), unit, 0);
        Assert.Equal(content, unit);
    }

    /// <summary>Streams of random literals and matches, made here and unpacked by libfwnt, which knows nothing of this.</summary>
    [Fact]
    public void Plain_streams_unpack_as_libfwnt_unpacks_them()
    {
        using var scratch = new Scratch();
        var random = new Random(5);
        var units = new List<byte[]>();
        for (int i = 0; i < 60; i++)
        {
            byte[] packed = Pack(random, out int bytes);
            byte[] unit = new byte[bytes];
            Xpress.Unpack(packed, unit, 0);
            units.Add(unit);
            File.WriteAllBytes(scratch[$"{i}.packed"], packed);
            File.WriteAllText(scratch[$"{i}.size"], $"{bytes}");
        }

        File.WriteAllText(scratch["unpack.py"], """
            import ctypes
            try:
                fwnt = ctypes.CDLL("libfwnt.so.1")
            except OSError:
                raise SystemExit("libfwnt.so.1 is missing; install it with: apt-get install -y libfwnt1")
            for i in range(60):
                packed = open(f"{i}.packed", "rb").read()
                size = ctypes.c_size_t(int(open(f"{i}.size").read()))
                unit = ctypes.create_string_buffer(size.value)
                error = ctypes.c_void_p()
                assert fwnt.libfwnt_lzxpress_decompress(packed, ctypes.c_size_t(len(packed)), unit, ctypes.byref(size), ctypes.byref(error)) == 1, i
                open(f"{i}.unit", "wb").write(unit.raw[:size.value])
            """);
        Tool.RunRaw("/usr/bin/python3", scratch.Folder, "unpack.py");
        for (int i = 0; i < units.Count; i++)
        {
            Assert.Equal(File.ReadAllBytes(scratch[$"{i}.unit"]), units[i]);
        }
    }

    [Fact]
    public void Random_bytes_give_data_or_a_fault()
    {
        var random = new Random(6);
        byte[] unit = new byte[5000];
        for (int i = 0; i < 20_000; i++)
        {
            byte[] packed = Pack(random, out int bytes);
            for (int edit = 0; edit < 3; edit++)
            {
                packed[random.Next(packed.Length)] = (byte)random.Next(256);
            }

            try
            {
                Xpress.Unpack(packed.AsSpan(0, random.Next(packed.Length)), unit.AsSpan(0, 1 + random.Next(unit.Length)), 0);
            }
            catch (DiskFormatException)
            {
                // What is asked for.
            }
        }
    }

    /// <summary>A stream of all kinds of lengths; the encoder knows only the specification's layout.</summary>
    private static byte[] Pack(Random random, out int unitBytes)
    {
        var packed = new List<byte>();
        int flagsAt = 0;
        int flagBit = 0;
        uint flags = 0;
        int half = -1;
        unitBytes = 0;
        int elements = 1 + random.Next(120);
        for (int i = 0; i < elements; i++)
        {
            if (flagBit == 0)
            {
                flagsAt = packed.Count;
                packed.AddRange(new byte[4]);
                flagBit = 32;
                flags = 0;
            }

            flagBit--;
            if (unitBytes == 0 || random.Next(2) == 0)
            {
                packed.Add((byte)random.Next(256));
                unitBytes++;
            }
            else
            {
                flags |= 1u << flagBit;
                int length = 3 + (random.Next(4) switch { 0 => random.Next(7), 1 => random.Next(22), 2 => random.Next(277), _ => random.Next(3000) });
                int distance = 1 + random.Next(Math.Min(unitBytes, 8192));
                unitBytes += length;
                int rest = length - 3;
                packed.AddRange(BitConverter.GetBytes((ushort)(((distance - 1) << 3) | Math.Min(rest, 7))));
                if (rest >= 7)
                {
                    int nibble = Math.Min(rest - 7, 15);
                    if (half < 0)
                    {
                        half = packed.Count;
                        packed.Add((byte)nibble);
                    }
                    else
                    {
                        packed[half] |= (byte)(nibble << 4);
                        half = -1;
                    }

                    if (nibble == 15)
                    {
                        packed.Add((byte)Math.Min(rest - 22, 255));
                        if (rest - 22 >= 255)
                        {
                            packed.AddRange(BitConverter.GetBytes((ushort)rest));
                        }
                    }
                }
            }

            byte[] word = BitConverter.GetBytes(flags);
            for (int b = 0; b < 4; b++)
            {
                packed[flagsAt + b] = word[b];
            }
        }

        return [.. packed];
    }
}
