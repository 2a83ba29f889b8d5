using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.DiskReaders.Volumes.BitLocker;
using static Vmsweep.DiskReaders.Tests.Volumes.BitLocker.BitLockerImages;

namespace Vmsweep.DiskReaders.Tests.Volumes.BitLocker;

public sealed class BitLockerTests
{
    [Theory]
    [InlineData("7", 0x8000)]
    [InlineData("7", 0x8001)]
    [InlineData("7", 0x8002)]
    [InlineData("7", 0x8003)]
    [InlineData("7", 0x8004)]
    [InlineData("7", 0x8005)]
    [InlineData("7", 0x8001, 4096)]
    [InlineData("7", 0x8002, 4096)]
    [InlineData("7", 0x8005, 4096)]
    [InlineData("vista", 0x8000)]
    [InlineData("vista", 0x8001)]
    [InlineData("vista", 0x8003)]
    [InlineData("togo", 0x8002)]
    [InlineData("togo", 0x8005)]
    [InlineData("eow", 0x8004)]
    public void Every_cipher_and_volume_header_reads_as_the_guest_wrote(string form, int method, int sectorBytes = 512)
    {
        var writer = new BitLockerWriter { Form = form, Method = method, SectorBytes = sectorBytes, Protectors = [BitLockerWriter.External] };
        byte[] image = writer.Make();
        foreach (byte[] secret in (byte[][])[BitLockerWriter.KeyFile, Master(writer)])
        {
            (byte[]? bytes, DiskFormatException? fault, IReadOnlyList<CoverageGap> gaps) = Read(image, secret);
            Assert.Null(fault);
            Assert.Empty(gaps);
            Assert.Equal(writer.Expected, bytes);
        }
    }

    [Theory]
    [InlineData(BitLockerWriter.PasswordText)]
    [InlineData(BitLockerWriter.RecoveryText)]
    [InlineData("471207 278498 422125 177177 561902 537405 468006 693451")]
    [InlineData("471207278498422125177177561902537405468006693451")]
    public void A_password_unlocks(string secret)
    {
        var writer = new BitLockerWriter();
        Assert.Equal(writer.Expected, Read(writer.Make(), "neither"u8.ToArray(), Encoding.UTF8.GetBytes(secret)).Bytes);
    }

    [Fact]
    public void Suspended_protection_needs_no_secret_and_is_noted()
    {
        var writer = new BitLockerWriter { Protectors = [BitLockerWriter.Tpm, BitLockerWriter.Clear] };
        Assert.Equal(writer.Expected, Read(writer.Make()).Bytes);
        using var source = new MemorySource(writer.Make());
        using AssembledVolume volume = Open(source, Context(new ScanBudget(1 << 20), new GapList()));
        Assert.Equal(("xts-aes-128", 0, 512), (volume.Layout, volume.Place, volume.SectorBytes));
        Assert.Contains(volume.Notes, n => n.Contains("suspended", StringComparison.Ordinal));
        Assert.Contains("described as TEST-PC D: 2026-11-23", volume.Notes);
    }

    [Fact]
    public void A_locked_volume_names_its_protectors_and_what_unlocks_it()
    {
        var writer = new BitLockerWriter { Protectors = [BitLockerWriter.Tpm, BitLockerWriter.Recovery, BitLockerWriter.External] };
        DiskFormatException fault = Read(writer.Make()).Fault!;
        Assert.Equal((Fault.Encrypted, "BitLocker"), (fault.Fault, fault.Structure));
        foreach (string part in (string[])["TPM {", "Numerical Password {", "External Key {" + new Guid(BitLockerWriter.Id(BitLockerWriter.External)).ToString().ToUpperInvariant(), ".BEK", "48 digits", "--key"])
        {
            Assert.Contains(part, fault.Detail, StringComparison.Ordinal);
        }

        Assert.DoesNotContain("given", fault.Detail, StringComparison.Ordinal);
        Assert.Contains("none of the 2 secrets given fits", Read(writer.Make(), [1, 2, 0, 255], "wrong"u8.ToArray(), "master:00"u8.ToArray()).Fault!.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public void A_data_key_of_another_volume_does_not_fit()
    {
        var writer = new BitLockerWriter { Protectors = [BitLockerWriter.Tpm] };
        byte[] other = Encoding.ASCII.GetBytes("master:" + Convert.ToHexString(BitLockerWriter.Filler(32, 999)));
        Assert.Equal(Fault.Encrypted, Read(writer.Make(), other).Fault?.Fault);
        Assert.Equal(writer.Expected, Read(writer.Make(), other, Master(writer)).Bytes);
    }

    [Theory]
    [InlineData(2, 1, 0x5_8000L)]
    [InlineData(3, 4, 0x5_8000L)]
    [InlineData(5, 4, 0x2_0000L)]
    [InlineData(5, 1, 512L)]
    [InlineData(1, 1, 0L)]
    public void A_volume_under_conversion_is_encrypted_up_to_the_boundary_only(int state, int next, long encrypted)
    {
        var writer = new BitLockerWriter { State = state, NextState = next, EncryptedBytes = encrypted, Protectors = [BitLockerWriter.External] };
        Assert.Equal(writer.Expected, Read(writer.Make(), BitLockerWriter.KeyFile).Bytes);
    }

    [Fact]
    public void Blocks_that_are_not_encrypted_yet_are_read_as_they_are()
    {
        var writer = new BitLockerWriter { Form = "eow", EowPlain = [(0x8000, 0x1_4000), (0x5_0000, 0x5_2000), (0xE_0000, 1 << 20)], Protectors = [BitLockerWriter.Clear] };
        (byte[]? bytes, _, IReadOnlyList<CoverageGap> gaps) = Read(writer.Make());
        Assert.Equal("BitLocker relocation log", Assert.Single(gaps).Structure);
        Assert.Equal(writer.Expected, bytes);
    }

    [Theory]
    [InlineData("7")]
    [InlineData("vista")]
    [InlineData("togo")]
    [InlineData("eow")]
    public void Any_slicing_of_reads_equals_one_read_and_extents_cover_the_volume(string form)
    {
        var writer = new BitLockerWriter { Form = form, Method = 0x8000, EncryptedBytes = form == "7" ? 0xC_0000 : -1, EowPlain = [(0x1_0000, 0x1_2000)], Protectors = [BitLockerWriter.External] };
        byte[] expected = writer.Expected;
        var budget = new ScanBudget(8 << 20);
        using var source = new MemorySource(writer.Make());
        using (AssembledVolume volume = Open(source, Context(budget, new GapList(), BitLockerWriter.KeyFile)))
        {
            Parallel.For(0, 1500, i =>
            {
                var random = new Random(i);
                int at = random.Next(expected.Length);
                byte[] part = new byte[random.Next(Math.Min(expected.Length - at, i % 2 == 0 ? 2000 : expected.Length) + 1)];
                volume.Content!.Read(at, part);
                Assert.True(part.AsSpan().SequenceEqual(expected.AsSpan(at, part.Length)));
            });
            for (long at = 0; at < expected.Length;)
            {
                StoredExtent extent = volume.Content!.Locate(at, expected.Length - at);
                Assert.True(extent.IsStored || !expected.AsSpan((int)at, (int)extent.Length).ContainsAnyExcept((byte)0));
                at += extent.Length;
            }
        }

        Assert.Equal(0, budget.InUse);
    }

    [Fact]
    public void What_the_guest_does_not_see_is_left_over_for_the_scan()
    {
        var writer = new BitLockerWriter { Form = "togo", Protectors = [BitLockerWriter.Tpm] };
        using var source = new MemorySource(writer.Make());
        VolumeAssembly assembly = new BitLockerFormat().Assemble([new VolumeMember("a", source, 512), new VolumeMember("b", source, 512)], Context(new ScanBudget(1 << 20), new GapList()));
        Assert.Equal([0, 1], assembly.Volumes.Select(v => v.Place));
        Assert.Equal(
            [(1, "bitlocker-boot", 0L, 0xC000L), (1, "bitlocker-metadata", 0x4_0000L, 0x1_0000L), (1, "bitlocker-metadata", 0x6_0000L, 0x1_0000L), (1, "bitlocker-metadata", 0xA_0000L, 0x1_0000L)],
            assembly.Leftovers.Where(a => a.Member == 1).Select(a => (a.Member, a.Name, a.OffsetBytes, a.SizeBytes)));
    }
}
