using System.Globalization;
using System.Text.RegularExpressions;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Golden;
using static Vmsweep.DiskReaders.Tests.Volumes.BitLocker.BitLockerImages;

namespace Vmsweep.DiskReaders.Tests.Volumes.BitLocker;

/// <summary>The writer here against three independent readers: what they cannot read either is left out for each.</summary>
[Trait("Category", "Slow")]
public sealed partial class BitLockerDifferentialTests
{
    private const int VistaMirrorAt = 56;

    [Theory]
    [InlineData("7", 0x8000)]
    [InlineData("7", 0x8001)]
    [InlineData("7", 0x8002)]
    [InlineData("7", 0x8003)]
    [InlineData("7", 0x8004)]
    [InlineData("7", 0x8005)]
    [InlineData("7", 0x8004, 4096)]
    [InlineData("togo", 0x8002)]
    [InlineData("togo", 0x8004)]
    [InlineData("vista", 0x8000)]
    [InlineData("vista", 0x8001)]
    public void Dislocker_reads_the_same(string form, int method, int sectorBytes = 512)
    {
        var writer = new BitLockerWriter { Form = form, Method = method, SectorBytes = sectorBytes, HasVistaSize = true, Protectors = [BitLockerWriter.External] };
        byte[] image = writer.Make();
        byte[] ours = Read(image, BitLockerWriter.KeyFile).Bytes!;
        byte[] theirs = Dislocker(image, "-f", "key.BEK");
        if (form == "vista")
        {
            // Its release 0.7.3 means to, but does not put the mirror's cluster back.
            ours.AsSpan(VistaMirrorAt, 8).CopyTo(theirs.AsSpan(VistaMirrorAt));
        }

        Assert.Equal(ours, theirs);
    }

    [Theory]
    [InlineData("-p" + BitLockerWriter.RecoveryText)]
    [InlineData("-uopen sesame 7")]
    [InlineData("-c")]
    public void Dislocker_unlocks_with_each_protector(string how)
    {
        // It knows passwords of ASCII only.
        var writer = new BitLockerWriter { PasswordSecret = "open sesame 7", Protectors = [BitLockerWriter.Password, BitLockerWriter.Recovery, BitLockerWriter.Clear] };
        Assert.Equal(writer.Expected, Dislocker(writer.Make(), how));
    }

    [Theory]
    [InlineData("7", 0x8000)]
    [InlineData("7", 0x8003)]
    [InlineData("7", 0x8004)]
    [InlineData("togo", 0x8002)]
    [InlineData("7", 0x8004, 5, 4, 0x5_8000)]
    [InlineData("7", 0x8004, 5, 1, 0x2_0000)]
    [InlineData("7", 0x8002, 3, 4, 0x5_8000)]
    public void Libbde_reads_the_same_of_whole_and_half_converted_volumes(string form, int method, int state = 4, int next = 4, long encrypted = -1)
    {
        var writer = new BitLockerWriter { Form = form, Method = method, State = state, NextState = next, EncryptedBytes = encrypted, Protectors = [BitLockerWriter.External] };
        byte[] image = writer.Make();
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["image"], image);
        File.WriteAllBytes(scratch["key.BEK"], BitLockerWriter.KeyFile);
        Tool.Find("bdemount");
        Tool.Shell("mkdir m; bdemount -s key.BEK image m > log 2>&1; trap 'umount m' EXIT; cp m/bde1 out", scratch.Folder);
        byte[] theirs = File.ReadAllBytes(scratch["out"]);

        // It takes the length that NTFS gives: one sector less while BitLocker is being turned on or off.
        Assert.InRange(theirs.Length, image.Length - 512, image.Length);
        Assert.Equal(Read(image, BitLockerWriter.KeyFile).Bytes![..theirs.Length], theirs);
    }

    [Theory]
    [InlineData("7", 0x8002)]
    [InlineData("7", 0x8005)]
    [InlineData("togo", 0x8004)]
    public void Cryptsetup_finds_the_same_protectors_and_data_key(string form, int method)
    {
        var writer = new BitLockerWriter { Form = form, Method = method };
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["image"], writer.Make());
        Tool.Find("cryptsetup");
        string dump = Tool.Shell("cryptsetup bitlkDump image; printf %s '" + BitLockerWriter.RecoveryText + "' | cryptsetup bitlkDump -q --dump-volume-key image", scratch.Folder);
        Assert.Equal(writer.Protectors.Select(p => new Guid(BitLockerWriter.Id(p)).ToString()), Guids().Matches(dump).Select(m => m.Groups[1].Value).Distinct());
        string key = string.Concat(MasterKey().Match(dump).Groups[1].Value.Where(char.IsAsciiHexDigit));
        Assert.Equal(Convert.ToHexStringLower(writer.DataKey), key);
        Assert.Equal(writer.Expected, Read(writer.Make(), System.Text.Encoding.ASCII.GetBytes("master:" + key)).Bytes);
    }

    private static byte[] Dislocker(byte[] image, params string[] how)
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["image"], image);
        File.WriteAllBytes(scratch["key.BEK"], BitLockerWriter.KeyFile);
        Tool.RunRaw("dislocker-file", scratch.Folder, ["-q", "-V", "image", .. how, "--", "out"]);
        return File.ReadAllBytes(scratch["out"]);
    }

    [GeneratedRegex(@"^\tGUID:\s+(\S+)", RegexOptions.Multiline)]
    private static partial Regex Guids();

    [GeneratedRegex(@"MK dump:((?:\s+[0-9a-f]{2}\b)+)")]
    private static partial Regex MasterKey();
}
