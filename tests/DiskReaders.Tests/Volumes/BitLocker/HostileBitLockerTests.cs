using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.DiskReaders.Volumes.BitLocker;
using Vmsweep.Golden;
using static Vmsweep.DiskReaders.Tests.Volumes.BitLocker.BitLockerImages;

namespace Vmsweep.DiskReaders.Tests.Volumes.BitLocker;

public sealed class HostileBitLockerTests
{
    private static readonly BitLockerWriter Seven = new() { Method = 0x8002, Bytes = 0xB_0000, Protectors = [BitLockerWriter.Clear] };
    private static readonly BitLockerWriter Eow = new() { Form = "eow", Bytes = 0xB_0000, EowPlain = [(0x8000, 0x1_4000)], Protectors = [BitLockerWriter.Clear] };
    private static readonly BitLockerWriter Vista = new() { Form = "vista", Method = 0x8001, Bytes = 0xB_0000, Protectors = [BitLockerWriter.Clear] };

    [Theory]
    [InlineData(0)]
    [InlineData(200)]
    [InlineData(512)]
    [InlineData(0x4_0010)]
    [InlineData(0x4_FFFF)]
    public void A_volume_that_ends_early_is_a_fault(int bytes)
    {
        byte[] image = Seven.Make()[..bytes];
        Assert.Equal(bytes >= 11, new BitLockerFormat().Probe(new MemorySource(image)));
        (byte[]? read, DiskFormatException? fault, _) = Read(image);
        Assert.Null(read);
        Assert.True(fault!.Fault is Fault.Truncated or Fault.Corrupt);
    }

    [Theory]
    [InlineData(11, 0x0000, "bytes per sector")]
    [InlineData(11, 0x0201, "bytes per sector")]
    [InlineData(11, 0x8000, "bytes per sector")]
    [InlineData(160, 0x0000, "BitLocker identifier")]
    public void A_bad_volume_header_is_named(int at, int value, string detail)
    {
        byte[] image = Seven.Make();
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(at), (ushort)value);
        Assert.Contains(detail, Read(image).Fault!.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_bad_copy_of_the_metadata_is_reported_and_another_is_used()
    {
        byte[] image = Seven.Make();
        image[0x4_0000 + 200] ^= 1;
        BinaryPrimitives.WriteInt64LittleEndian(image.AsSpan(184), long.MaxValue);
        (byte[]? bytes, _, IReadOnlyList<CoverageGap> gaps) = Read(image);
        Assert.Equal(Seven.Expected, bytes);
        Assert.Equal([(Fault.Corrupt, "disk"), (Fault.Truncated, "disk")], gaps.Select(g => (g.Fault, g.Path)));
        Assert.Contains("CRC-32", gaps[0].Detail, StringComparison.Ordinal);
        image[0xA_0000 + 200] ^= 1;
        Assert.Equal(Fault.Corrupt, Read(image).Fault!.Fault);
    }

    [Fact]
    public void The_copy_that_was_written_last_counts()
    {
        byte[] image = Seven.Make();
        image[0x6_0000 + 64 + 32]++;
        image[0x6_0000 + 64 + 36] = 0x03;
        BitLockerWriter.Repair(image, Seven);
        Assert.Contains("16 bytes for cbc-aes-256", Read(image).Fault!.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(10, 2, 3, "version")]
    [InlineData(8, 2, 0, "size")]
    [InlineData(12, 2, 77, "conversion state 77")]
    [InlineData(16, 8, 513, "encrypted volume size")]
    [InlineData(16, 8, -1, "encrypted volume size")]
    [InlineData(32, 8, 0xA_FFFF, "lies outside the volume")]
    [InlineData(64, 4, -1, "metadata size")]
    [InlineData(64, 4, 47, "metadata size")]
    [InlineData(68, 4, 3, "version")]
    [InlineData(72, 4, 64, "header size")]
    [InlineData(100, 2, 0x9999, "encryption method 0x9999")]
    [InlineData(112, 2, 7, "entry size")]
    [InlineData(112, 2, 0xFFFF, "entry size")]
    public void Metadata_that_contradicts_itself_is_named_though_its_checksum_holds(int at, int width, long value, string detail)
    {
        byte[] image = Seven.Make();
        foreach (int offset in Seven.MetadataOffsets)
        {
            for (int i = 0; i < width; i++)
            {
                image[offset + at + i] = (byte)(value >> (8 * i));
            }
        }

        if (at != 8)
        {
            BitLockerWriter.Repair(image, Seven);
        }

        Assert.Contains(detail, Read(image).Fault!.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0L, 8192L)]
    [InlineData(0x5_0000L, 0L)]
    [InlineData(0x5_0000L, 100L)]
    [InlineData(0x5_0001L, 8192L)]
    [InlineData(0x5_0000L, 0x6_0000L)]
    [InlineData(4096L, 8192L)]
    [InlineData(long.MaxValue - 4095, 8192L)]
    public void First_sectors_that_cannot_lie_there_are_a_fault(long offset, long bytes)
    {
        byte[] image = Seven.Make();
        foreach (int area in Seven.MetadataOffsets)
        {
            int at = image.AsSpan(area, 4096).IndexOf((ReadOnlySpan<byte>)[0x18, 0, 0x0F, 0, 0x0F, 0]) + area;
            BinaryPrimitives.WriteInt64LittleEndian(image.AsSpan(at + 8), offset);
            BinaryPrimitives.WriteInt64LittleEndian(image.AsSpan(at + 16), bytes);
            BinaryPrimitives.WriteInt32LittleEndian(image.AsSpan(area + 28), 0);
        }

        BitLockerWriter.Repair(image, Seven);
        Assert.Contains("volume header", Read(image).Fault!.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_conversion_that_was_cut_off_is_a_gap_of_its_size()
    {
        var writer = new BitLockerWriter { State = 2, NextState = 4, EncryptedBytes = 0x8_0000, ConvertedBytes = 0x1_0000, Protectors = [BitLockerWriter.Clear] };
        CoverageGap gap = Assert.Single(Read(writer.Make()).Gaps);
        Assert.Equal((Fault.Unsupported, 0x8_0000L, 0x1_0000L), (gap.Fault, gap.Offset, gap.Bytes));
    }

    [Fact]
    public void A_conversion_by_windows_vista_is_unsupported() =>
        Assert.Equal(Fault.Unsupported, Read(new BitLockerWriter { Form = "vista", State = 3, Protectors = [BitLockerWriter.Clear] }.Make()).Fault!.Fault);

    [Theory]
    [InlineData(0x7_1000, "signature")]
    [InlineData(0x7_1000 + 20, "checksum")]
    [InlineData(0x7_2000 + 30, "checksum")]
    public void Without_its_block_maps_a_volume_is_read_as_encrypted_and_reported(int at, string detail)
    {
        byte[] image = Eow.Make();
        image[at] ^= 4;
        (byte[]? bytes, _, IReadOnlyList<CoverageGap> gaps) = Read(image);
        Assert.Contains(gaps, g => g.Fault == Fault.Corrupt && (g.Detail.Contains(detail, StringComparison.Ordinal) || g.Detail.Contains("block size", StringComparison.Ordinal)));
        Assert.True(bytes.AsSpan(0x2_0000, 0x1_0000).SequenceEqual(Eow.Expected.AsSpan(0x2_0000, 0x1_0000)));
    }

    [Fact]
    public void An_older_record_of_a_block_map_is_used_where_the_newer_is_damaged()
    {
        byte[] image = Eow.Make();
        image[Eow.EowMap + 512 + 40] ^= 1;

        // Which says that nothing is encrypted.
        (byte[]? bytes, _, _) = Read(image);
        Assert.True(bytes.AsSpan(0x2_0000, 0x1_0000).SequenceEqual(image.AsSpan(0x2_0000, 0x1_0000)));
    }

    [Fact]
    public void Metadata_inside_the_first_sectors_does_not_show_through()
    {
        byte[] image = Seven.Make();
        foreach (int offset in Seven.MetadataOffsets)
        {
            BinaryPrimitives.WriteInt64LittleEndian(image.AsSpan(offset + 40), 4096);
        }

        BitLockerWriter.Repair(image, Seven);
        byte[] expected = Seven.Plain;
        expected.AsSpan(8192, 0x1_0000 - 4096).Clear();
        expected.AsSpan(0x4_0000, 0x1_0000).Clear();
        expected.AsSpan(0x5_0000, 8192).Clear();
        expected.AsSpan(0xA_0000, 0x1_0000).Clear();
        byte[] read = Read(image).Bytes!;
        Assert.True(read.AsSpan(0, 0x6_0000).SequenceEqual(expected.AsSpan(0, 0x6_0000)));
    }

    [Fact]
    public void Secrets_of_any_form_are_harmless()
    {
        byte[] image = new BitLockerWriter { Protectors = [BitLockerWriter.Tpm] }.Make();
        byte[] keyFile = BitLockerWriter.KeyFile;
        var random = new Random(1);
        List<byte[]> secrets = [[], "master:"u8.ToArray(), "master:0"u8.ToArray(), "master:xy"u8.ToArray(), new byte[100_000], "471207-278498-422125-177177-561902-537405-468006-693452"u8.ToArray()];
        for (int i = 0; i < 2000; i++)
        {
            byte[] damaged = [.. keyFile.AsSpan(0, random.Next(keyFile.Length + 1))];
            if (damaged.Length > 0)
            {
                damaged[random.Next(damaged.Length)] ^= (byte)(1 << random.Next(8));
            }

            secrets.Add(damaged);
        }

        Assert.Equal(Fault.Encrypted, Read(image, [.. secrets]).Fault!.Fault);
    }

    [Fact]
    public void A_search_for_a_password_ends_when_it_is_told_to()
    {
        using var stop = new CancellationTokenSource(TimeSpan.FromMilliseconds(50));
        using var source = new MemorySource(new BitLockerWriter { Protectors = [BitLockerWriter.Password] }.Make());
        ReadContext context = new(new ScanBudget(8 << 20), new GapList(), stop.Token) { Secrets = new UnlockSecrets([.. Enumerable.Range(0, 100).Select(i => new[] { (byte)('a' + (i % 26)) })]) };
        Assert.Throws<OperationCanceledException>(() => Open(source, context));
    }

    [Theory]
    [InlineData("7")]
    [InlineData("vista")]
    [InlineData("eow")]
    public void A_damaged_volume_gives_data_or_a_format_exception(string form)
    {
        BitLockerWriter writer = form switch { "7" => Seven, "vista" => Vista, _ => Eow };
        int area = writer.MetadataOffsets[0];
        List<(long, long)> regions = [(0, 64), (160, 60), (area, 120), (area, 600), (writer.MetadataOffsets[1], 600)];
        if (form == "eow")
        {
            regions.AddRange([(writer.EowDescriptor, 64), (writer.EowMap, 60), (writer.EowMap + 512, 64)]);
        }

        Mutations.Check(writer.Make(), ReadSome, regions, repair: image => BitLockerWriter.Repair(image, writer), budgetBytes: 8 << 20);
    }

    /// <summary>Opens a volume and reads here and there, with every fault that opening answers taken for one that is thrown.</summary>
    internal static void ReadSome(byte[] image, ReadContext context)
    {
        using var source = new MemorySource(image);
        if (!new BitLockerFormat().Probe(source))
        {
            return;
        }

        VolumeAssembly assembly = new BitLockerFormat().Assemble([new VolumeMember("disk", source, 512)], context);
        using AssembledVolume volume = assembly.Volumes[0];
        foreach (MemberArea area in assembly.Leftovers)
        {
            Bounds.Check(area.OffsetBytes, area.SizeBytes, source.Length, "leftover");
        }

        if (volume.Content is not { } content)
        {
            throw volume.Fault!;
        }

        byte[] buffer = new byte[3000];
        for (long at = 0; at < content.Length; at += 0x1_3000)
        {
            content.Read(at, buffer.AsSpan(0, (int)Math.Min(buffer.Length, content.Length - at)));
            content.Locate(at, content.Length - at);
        }
    }
}
