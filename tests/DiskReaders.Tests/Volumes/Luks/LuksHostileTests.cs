using System.Buffers.Binary;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes.Luks;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Volumes.Luks;

/// <summary>Headers that lie, and what is refused by name: hostile rows first.</summary>
public sealed class LuksHostileTests
{
    private const string Slot0 = "\"hash\":\"sha256\",\"iterations\":2,";
    private const string Slot1 = "\"time\":1,\"memory\":8,\"cpus\":1,";
    private const string Crypt = "\"type\":\"crypt\",";

    [Theory]
    [InlineData(Slot0, "\"hash\":\"sha256\",\"iterations\":2147483647,", "key slot 0: 2147483647 iterations of PBKDF2, the limit is 12000000")]
    [InlineData(Slot0, "\"hash\":\"sha256\",\"iterations\":12000001,", "key slot 0: 12000001 iterations of PBKDF2, the limit is 12000000")]
    [InlineData(Slot1, "\"time\":1,\"memory\":2147483647,\"cpus\":1,", "key slot 1: 2097151 MiB of memory for Argon2, the limit is 1024 MiB")]
    [InlineData(Slot1, "\"time\":2147483647,\"memory\":8,\"cpus\":1,", "key slot 1: 2147483647 passes of Argon2 over 8 KiB")]
    [InlineData(Slot1, "\"time\":1,\"memory\":1048576,\"cpus\":4,", "key slot 1: Argon2 needs 1024 MiB, of 64 MiB")]
    [InlineData("\"hash\":\"sha256\",\"iterations\":3,", "\"hash\":\"sha256\",\"iterations\":2000000000,", "digest 0: 2000000000 iterations of PBKDF2")]
    public void A_key_slot_that_costs_too_much_is_skipped_and_told(string old, string with, string told)
    {
        // The other slot's area is made unreadable, so that only this one is left.
        byte[] image = LuksWriter.Luks2(j => j.Replace(old, with, StringComparison.Ordinal)
            .Replace(old == Slot1 ? "\"32768\"" : "\"33280\"", old == Slot1 ? "\"33792\"" : "\"34304\"", StringComparison.Ordinal));
        IReadOnlyList<CoverageGap> gaps = LuksVolumes.Open(image, v => Assert.Equal(Fault.Encrypted, v.Fault!.Fault), LuksWriter.Secret);
        Assert.Contains(gaps, g => g.Fault == Fault.Limit && g.Path == "member" && g.Detail.StartsWith(told, StringComparison.Ordinal));
    }

    [Fact]
    public void One_slot_that_costs_too_much_does_not_keep_the_other_one_from_opening()
    {
        byte[] image = LuksWriter.Luks2(Slot0, "\"hash\":\"sha256\",\"iterations\":2000000000,");
        Assert.Empty(LuksVolumes.Open(image, v => Assert.Equal(LuksWriter.Plain, v.Readable().ReadAll()), LuksWriter.Secret));
    }

    [Fact]
    public void All_tries_together_are_bounded()
    {
        var work = new KeyWork(new LuksLimits { MostIterationsInAll = 25_000_000 });
        work.SpendIterations(11_000_000, 2);
        Assert.Equal(Fault.Limit, Assert.Throws<DiskFormatException>(() => work.SpendIterations(11_000_000, 1)).Fault);
        work = new KeyWork(new LuksLimits { MostArgon2WorkInAll = 3L << 30 });
        work.SpendArgon2(1L << 30, 2);
        Assert.Equal(Fault.Limit, Assert.Throws<DiskFormatException>(() => work.SpendArgon2(1L << 30, 2)).Fault);
    }

    [Theory]
    [InlineData("\"stripes\":4,", "\"stripes\":2147483647,")]
    [InlineData("\"stripes\":4,", "\"stripes\":0,")]
    [InlineData("\"stripes\":4,", "\"stripes\":17,")]
    [InlineData("\"luks2\",\"key_size\":32,", "\"luks2\",\"key_size\":513,")]
    [InlineData("\"luks2\",\"key_size\":32,", "\"luks2\",\"key_size\":0,")]
    [InlineData("\"luks2\",\"key_size\":32,", "\"luks2\",\"key_size\":-1,")]
    [InlineData("\"luks2\",\"key_size\":32,", "\"luks2\",\"key_size\":1e99,")]
    [InlineData("\"key_size\":32},", "\"key_size\":48},")]
    [InlineData("\"size\":\"512\"", "\"size\":\"9223372036854775807\"")]
    [InlineData("\"size\":\"512\"", "\"size\":\"99999999999999999999\"")]
    [InlineData("\"offset\":\"3", "\"offset\":\"0")]
    [InlineData("\"offset\":\"3", "\"offset\":\"9")]
    [InlineData("\"aes-cbc-plain64\",\"key_size\"", "\"aes-cbc-benbi\",\"key_size\"")]
    [InlineData("\"aes-cbc-plain64\",\"key_size\"", "\"\",\"key_size\"")]
    [InlineData("\"salt\":\"", "\"salt\":\"*")]
    [InlineData("\"type\":\"luks2\"", "\"type\":\"other\"")]
    [InlineData("\"type\":\"raw\"", "\"type\":\"none\"")]
    [InlineData("\"type\":\"luks1\"", "\"type\":\"luks9\"")]
    public void Key_slots_that_lie_are_not_tried_and_the_volume_stays_locked(string old, string with)
    {
        byte[] image = LuksWriter.Luks2(j => string.Concat(j.Split("\"tokens\"")[0].Replace(old, with, StringComparison.Ordinal), "\"tokens\"", j.Split("\"tokens\"")[1]));
        Assert.Equal(Fault.Encrypted, LuksVolumes.Fails(image, LuksWriter.Secret).Fault);
    }

    [Fact]
    public void Overlapping_key_areas_open_by_the_slot_whose_area_it_is()
    {
        byte[] image = LuksWriter.Luks2("\"33280\"", "\"32768\"");
        LuksVolumes.Open(image, v => Assert.Equal(LuksWriter.Plain, v.Readable().ReadAll()), LuksWriter.Secret);
    }

    [Theory]
    [InlineData("\"offset\":\"36864\"", "\"offset\":\"0\"", Fault.MissingParent, "detached header")]
    [InlineData("\"offset\":\"36864\"", "\"offset\":\"4096\"", Fault.Corrupt, "before the metadata end at 36864")]
    [InlineData("\"offset\":\"36864\"", "\"offset\":\"36865\"", Fault.Corrupt, "segments.0.offset")]
    [InlineData("\"offset\":\"36864\"", "\"offset\":\"40960\"", Fault.Truncated, "the device has 40960")]
    [InlineData("\"offset\":\"36864\"", "\"offset\":\"9223372036854775296\"", Fault.Truncated, "the device has 40960")]
    [InlineData("\"dynamic\"", "\"8192\"", Fault.Truncated, "with 8192 bytes")]
    [InlineData("\"dynamic\"", "\"513\"", Fault.Corrupt, "segments.0.size")]
    [InlineData("\"dynamic\"", "\"0\"", Fault.Corrupt, "segments.0.size")]
    [InlineData("\"dynamic\"", "\"-512\"", Fault.Corrupt, "segments.0.size")]
    [InlineData("\"dynamic\"", "\"9223372036854775296\"", Fault.Truncated, "cut off")]
    [InlineData("\"sector_size\":512", "\"sector_size\":0", Fault.Corrupt, "sector_size")]
    [InlineData("\"sector_size\":512", "\"sector_size\":768", Fault.Corrupt, "sector_size")]
    [InlineData("\"sector_size\":512", "\"sector_size\":8192", Fault.Corrupt, "sector_size")]
    [InlineData("\"iv_tweak\":\"0\"", "\"iv_tweak\":\"-1\"", Fault.Corrupt, "iv_tweak")]
    [InlineData("\"aes-cbc-plain64\",\"sector_size\"", "\"serpent-xts-plain64\",\"sector_size\"", Fault.Unsupported, "serpent-xts-plain64")]
    [InlineData("\"aes-cbc-plain64\",\"sector_size\"", "\"capi:xts(aes)-plain64\",\"sector_size\"", Fault.Unsupported, "capi:xts(aes)-plain64")]
    [InlineData("\"aes-cbc-plain64\",\"sector_size\"", "\"aes\",\"sector_size\"", Fault.Unsupported, "unsupported cipher aes")]
    [InlineData(Crypt, "\"type\":\"hw-opal\",", Fault.Unsupported, "OPAL")]
    [InlineData(Crypt, "\"type\":\"hw-opal-crypt\",", Fault.Unsupported, "OPAL")]
    [InlineData(Crypt, "\"type\":\"new\",", Fault.Unsupported, "segment of type new")]
    [InlineData(Crypt, "\"integrity\":{\"type\":\"hmac(sha256)\",\"journal_encryption\":\"none\",\"journal_integrity\":\"none\"},\"type\":\"crypt\",", Fault.Unsupported, "dm-integrity, hmac(sha256)")]
    [InlineData(Crypt, "\"flags\":[\"in-reencryption\"],\"type\":\"crypt\",", Fault.Unsupported, "re-encryption is in progress")]
    [InlineData("\"keyslots_size\"", "\"requirements\":{\"mandatory\":[\"online-reencrypt-v3\"]},\"keyslots_size\"", Fault.Unsupported, "re-encryption is in progress")]
    [InlineData("\"keyslots_size\"", "\"requirements\":{\"mandatory\":[\"new-thing\"]},\"keyslots_size\"", Fault.Unsupported, "it requires new-thing")]
    [InlineData("\"segments\":[\"0\"]", "\"segments\":[]", Fault.Corrupt, "segment 0 has no digest")]
    [InlineData("\"json_size\":\"12288\"", "\"json_size\":\"12287\"", Fault.Corrupt, "json_size")]
    [InlineData("\"keyslots_size\":\"4096\"", "\"keyslots_size\":\"9223372036854775807\"", Fault.Corrupt, "keyslots_size")]
    [InlineData("\"config\"", "\"cnofig\"", Fault.Corrupt, "config")]
    [InlineData("\"0\":{\"type\":\"crypt\"", "\"x\":{\"type\":\"crypt\"", Fault.Corrupt, "segments")]
    [InlineData("\"clevis\"", "\"\\ud800\"", Fault.Corrupt, "not JSON")]
    [InlineData("{\"keyslots\"", "[\"keyslots\"", Fault.Corrupt, "not JSON")]
    [InlineData("{\"keyslots\"", "", Fault.Corrupt, "not JSON")]
    public void Metadata_that_lie_or_ask_for_what_is_not_read_are_refused_by_name(string old, string with, Fault fault, string says)
    {
        DiskFormatException e = LuksVolumes.Fails(LuksWriter.Luks2(old, with), LuksWriter.Secret);
        Assert.Equal(fault, e.Fault);
        Assert.Contains(says, e.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void Bombs_of_JSON_are_refused_before_they_are_taken_apart()
    {
        const int Large = 1 << 20;
        string deep = new string('[', 500) + new string(']', 500);
        string many = "[" + string.Join(",", Enumerable.Repeat("0", 400_000)) + "]";
        string slots = string.Join(",", Enumerable.Range(2, 31).Select(i => $"\"{i}\":{{\"type\":\"x\"}}"));
        Assert.Equal(Fault.Corrupt, LuksVolumes.Fails(LuksWriter.Luks2("[1,2]", deep)).Fault);
        DiskFormatException e = LuksVolumes.Fails(LuksWriter.Luks2(j => j.Replace("[1,2]", many, StringComparison.Ordinal), Large));
        Assert.Equal(Fault.Limit, e.Fault);
        Assert.Contains("more than 65536 values", e.Detail, StringComparison.Ordinal);
        Assert.Equal(Fault.Limit, LuksVolumes.Fails(LuksWriter.Luks2("{\"keyslots\":{", "{\"keyslots\":{" + slots + ",")).Fault);
        LuksVolumes.Open(LuksWriter.Luks2(j => j.Replace("[1,2]", "[1,2,3]", StringComparison.Ordinal), Large), v => Assert.Equal(LuksWriter.Plain, v.Readable().ReadAll()), LuksWriter.Secret);
    }

    [Fact]
    public void Segments_make_up_the_volume_in_their_order()
    {
        const string Segments = "\"segments\":{\"2\":{\"type\":\"crypt\",\"offset\":\"38400\",\"size\":\"dynamic\",\"iv_tweak\":\"3\",\"encryption\":\"aes-cbc-plain64\",\"sector_size\":512},"
            + "\"1\":{\"type\":\"linear\",\"offset\":\"36864\",\"size\":\"512\"},"
            + "\"0\":{\"type\":\"crypt\",\"offset\":\"37888\",\"size\":\"512\",\"iv_tweak\":\"2\",\"encryption\":\"aes-cbc-plain64\",\"sector_size\":512}},\"digests\"";
        byte[] image = LuksWriter.Luks2(j => j[..j.IndexOf("\"segments\"", StringComparison.Ordinal)] + Segments
            + j[(j.IndexOf("\"digests\"", StringComparison.Ordinal) + 9)..].Replace("[\"0\"]", "[\"0\",\"2\"]", StringComparison.Ordinal));
        byte[] expected = [.. LuksWriter.Plain[1024..1536], .. image[36864..37376], .. LuksWriter.Plain[1536..]];
        using var content = new MemorySource(image);
        LuksVolumes.Open(content, (assembly, _) =>
        {
            IBlockSource read = assembly.Volumes[0].Readable();
            Assert.Equal(expected, read.ReadAll());
            for (int at = 0; at < expected.Length - 700; at += 333)
            {
                byte[] part = new byte[700];
                read.Read(at, part);
                Assert.Equal(expected[at..(at + 700)], part);
            }

            Assert.Equal([(0, 36864), (37376, 512)], assembly.Leftovers.Select(l => ((int)l.OffsetBytes, (int)l.SizeBytes)));
        }, LuksWriter.Secret);
    }

    [Fact]
    public void Data_that_are_not_encrypted_need_no_key()
    {
        byte[] image = LuksWriter.Luks2("\"aes-cbc-plain64\",\"sector_size\"", "\"cipher_null-ecb\",\"sector_size\"");
        LuksVolumes.Open(image, v =>
        {
            Assert.Equal(image[LuksWriter.DataAt..], v.Readable().ReadAll());
            Assert.Contains("cipher_null-ecb", v.Layout, StringComparison.Ordinal);
        });
    }

    [Theory]
    [InlineData(108, 0u, Fault.Corrupt, "key-bytes")]
    [InlineData(108, 0xFFFF_FFFFu, Fault.Limit, "key-bytes")]
    [InlineData(108, 48u, Fault.Unsupported, "384 bits")]
    [InlineData(104, 0u, Fault.MissingParent, "detached header")]
    [InlineData(104, 0xFFFF_FFFFu, Fault.Truncated, "cut off")]
    [InlineData(72, 0x7878_7878u, Fault.Unsupported, "hash xxxx56")]
    [InlineData(40, 0x6C72_772Du, Fault.Unsupported, "aes-lrw-plain64")]
    [InlineData(8, 0x7365_7270u, Fault.Unsupported, "serp")]
    [InlineData(164, 0u, Fault.Corrupt, "iterations")]
    public void A_LUKS1_header_that_lies_is_refused(int at, uint value, Fault fault, string says)
    {
        DiskFormatException e = LuksVolumes.Fails(LuksWriter.U32(LuksWriter.Luks1(), at, value), LuksWriter.Secret);
        Assert.Equal(fault, e.Fault);
        Assert.Contains(says, e.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0, 1u)]
    [InlineData(4, 0u)]
    [InlineData(4, 0xFFFF_FFFFu)]
    [InlineData(40, 0u)]
    [InlineData(40, 1u)]
    [InlineData(40, 8u)]
    [InlineData(40, 0xFFFF_FFFFu)]
    [InlineData(44, 0u)]
    [InlineData(44, 200u)]
    [InlineData(44, 0xFFFF_FFFFu)]
    public void A_LUKS1_key_slot_that_lies_is_not_tried(int at, uint value) =>
        Assert.Equal(Fault.Encrypted, LuksVolumes.Fails(LuksWriter.U32(LuksWriter.Luks1(), 256 + at, value), LuksWriter.Secret).Fault);

    [Fact]
    public void The_small_volumes_themselves_are_sound()
    {
        LuksVolumes.Open(LuksWriter.Luks1(), v => Assert.Equal(LuksWriter.Plain, v.Readable().ReadAll()), LuksWriter.Secret);
        LuksVolumes.Open(LuksWriter.Luks1(), v => Assert.Equal(LuksWriter.Plain, v.Readable().ReadAll()), "master:" + Convert.ToHexString(LuksWriter.VolumeKey));
        LuksVolumes.Open(LuksWriter.Luks2(), v => Assert.Equal(LuksWriter.Plain, v.Readable().ReadAll()), LuksWriter.Secret);
        LuksVolumes.Open(LuksWriter.Luks2("\"32768\"", "\"33792\""), v => Assert.Contains("opened by key slot 1", v.Notes), LuksWriter.Secret);
        LuksVolumes.Open(LuksWriter.Luks2("\"luks2\",\"key_size\":32,", "\"luks2\",\"priority\":0,\"key_size\":32,"), v => Assert.Contains("opened by key slot 0", v.Notes), LuksWriter.Secret);
        LuksVolumes.Open(LuksWriter.Luks2("\"1\":{\"type\":\"luks2\",", "\"1\":{\"type\":\"luks2\",\"priority\":2,"), v => Assert.Contains("opened by key slot 1", v.Notes), LuksWriter.Secret);
        Assert.Equal(Fault.Encrypted, LuksVolumes.Fails(LuksWriter.Luks2(), "").Fault);
    }

    [Fact]
    public void The_newer_header_counts_and_a_disagreement_of_equals_is_told()
    {
        byte[] older = LuksWriter.Luks2("\"clevis\"", "\"older\"");
        byte[] mixed = LuksWriter.Luks2();
        older.AsSpan(0, LuksWriter.HeaderBytes).CopyTo(mixed);
        CoverageGap gap = Assert.Single(LuksVolumes.Open(mixed, v => Assert.Contains("token older (slot 1)", v.Notes), LuksWriter.Secret));
        Assert.Contains("say different things", gap.Detail, StringComparison.Ordinal);
        BinaryPrimitives.WriteInt64BigEndian(mixed.AsSpan(16), 6);
        LuksWriter.Repair(mixed);
        Assert.Empty(LuksVolumes.Open(mixed, v => Assert.Contains("token clevis (slot 1)", v.Notes), LuksWriter.Secret));
    }

    [Fact]
    public void What_was_made_over_a_LUKS2_volume_is_not_LUKS_by_its_second_header()
    {
        byte[] image = LuksWriter.Luks2();
        var format = new LuksFormat();
        image.AsSpan(0, 4096).Clear();
        Assert.True(format.Probe(new MemorySource(image)));
        image.AsSpan(0, LuksWriter.HeaderBytes).Clear();
        Assert.True(format.Probe(new MemorySource(image)));
        "XFSB"u8.CopyTo(image);
        Assert.False(format.Probe(new MemorySource(image)));
        image.AsSpan(0, 4).Clear();
        image[LuksWriter.HeaderBytes + 5000] ^= 1;
        Assert.False(format.Probe(new MemorySource(image)));
        Assert.False(format.Probe(new MemorySource(Encoding.ASCII.GetBytes("LUKS"))));
        Assert.False(format.Probe(new MemorySource(Array.Empty<byte>())));
    }
}
