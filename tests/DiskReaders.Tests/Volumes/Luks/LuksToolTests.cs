using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Volumes.Luks;

/// <summary>Volumes that cryptsetup and QEMU make and encrypt, compared with what went in, or with what QEMU and nbdkit read.</summary>
public sealed partial class LuksToolTests
{
    private const string Fast = "--pbkdf pbkdf2 --pbkdf-force-iterations 1000";

    /// <summary>Encrypts plain.img in place, offline: cryptsetup itself writes header and data.</summary>
    private static string Encrypt(string options) =>
        $"""
        head -c 1500000 /dev/urandom > plain.img; printf secret > key
        cp plain.img d.img; truncate -s 4194304 d.img
        cryptsetup reencrypt -q --encrypt --type luks2 --reduce-device-size 2M --luks2-metadata-size 16k --luks2-keyslots-size 512k --key-file key {options} d.img
        """;

    [Theory]
    [InlineData("--cipher aes-xts-plain64 --key-size 256", 512)]
    [InlineData("--cipher aes-xts-plain64 --key-size 512", 512)]
    [InlineData("--cipher aes-xts-plain64 --key-size 512", 1024)]
    [InlineData("--cipher aes-xts-plain64 --key-size 512", 4096)]
    [InlineData("--cipher aes-xts-plain --key-size 512", 2048)]
    [InlineData("--cipher aes-cbc-essiv:sha256 --key-size 256", 512)]
    [InlineData("--cipher aes-cbc-essiv:sha256 --key-size 128", 4096)]
    [InlineData("--cipher aes-cbc-plain64 --key-size 192", 512)]
    [InlineData("--cipher aes-cbc-plain --key-size 128", 512)]
    [InlineData("--cipher aes-ecb --key-size 256", 512)]
    public void Data_that_cryptsetup_encrypted_as_LUKS2_are_read(string options, int sectorBytes)
    {
        using var scratch = new Scratch();
        Tool.Shell(Encrypt($"{Fast} {options} --sector-size {sectorBytes}"), scratch.Folder);
        byte[] plain = File.ReadAllBytes(scratch["plain.img"]);
        IReadOnlyList<CoverageGap> gaps = LuksVolumes.OpenFile(scratch["d.img"], volume =>
        {
            IBlockSource content = volume.Readable();
            Assert.Equal(3 << 20, content.Length);
            Assert.Equal(plain, content.ReadAll()[..plain.Length]);
            Assert.Equal(Math.Max(512, sectorBytes), volume.SectorBytes);
            Assert.Contains(volume.Notes, n => n.Contains("opened by key slot 0", StringComparison.Ordinal));
        }, "secret");
        Assert.Empty(gaps);
    }

    [Theory]
    [InlineData("--pbkdf argon2id --pbkdf-force-iterations 4 --pbkdf-memory 64 --pbkdf-parallel 1")]
    [InlineData("--pbkdf argon2i --pbkdf-force-iterations 5 --pbkdf-memory 1000 --pbkdf-parallel 4")]
    [InlineData("--pbkdf argon2id --pbkdf-force-iterations 4 --pbkdf-memory 12345 --pbkdf-parallel 3")]
    [InlineData("--pbkdf pbkdf2 --pbkdf-force-iterations 1234 --hash sha512")]
    [InlineData("--pbkdf pbkdf2 --pbkdf-force-iterations 1000 --hash sha1")]
    [InlineData("--pbkdf pbkdf2 --pbkdf-force-iterations 1000 --hash sha3-256")]
    public void Every_key_derivation_opens(string options)
    {
        using var scratch = new Scratch();
        Tool.Shell(Encrypt(options), scratch.Folder);
        byte[] plain = File.ReadAllBytes(scratch["plain.img"]);
        LuksVolumes.OpenFile(scratch["d.img"], volume => Assert.Equal(plain, volume.Readable().ReadAll()[..plain.Length]), "wrong", "secret");
        LuksVolumes.OpenFile(scratch["d.img"], volume => Assert.Equal(Fault.Encrypted, volume.Fault!.Fault), "wrong", "secret\n");
    }

    [Theory]
    [InlineData("cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha256", "luks1 aes-xts-plain64, key of 512 bits")]
    [InlineData("cipher-alg=aes-128,cipher-mode=xts,ivgen-alg=plain,hash-alg=sha512", "luks1 aes-xts-plain, key of 256 bits")]
    [InlineData("cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha1", "luks1 aes-cbc-essiv:sha256, key of 256 bits")]
    [InlineData("cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=plain64", "luks1 aes-cbc-plain64, key of 128 bits")]
    [InlineData("cipher-alg=aes-256,cipher-mode=ecb,ivgen-alg=plain64", "luks1 aes-ecb-plain64, key of 256 bits")]
    public void Data_that_QEMU_encrypted_as_LUKS1_are_read(string options, string layout)
    {
        using var scratch = new Scratch();
        Tool.Shell(
            $"""
            head -c 3M /dev/urandom > plain.img
            for try in $(seq 40); do
              # Fails now and then to measure its own speed.
              qemu-img convert -q --object secret,id=s,data=secret -f raw -O luks -o key-secret=s,iter-time=10,{options} plain.img d.img 2> /dev/null && break
            done
            """,
            scratch.Folder);
        LuksVolumes.OpenFile(scratch["d.img"], volume =>
        {
            Assert.Equal(Content.Sha256OfFile(scratch["plain.img"]), volume.Readable().Sha256());
            Assert.Equal(layout, volume.Layout);
        }, "secret");
    }

    [Theory]
    [InlineData("--cipher aes-xts-plain64 --key-size 512 --hash sha256")]
    [InlineData("--cipher aes-xts-plain64 --key-size 256 --hash sha512")]
    [InlineData("--cipher aes-xts-plain --key-size 256 --hash sha1")]
    public void Two_other_readers_see_the_same_in_a_LUKS1_volume_of_cryptsetup(string options)
    {
        using var scratch = new Scratch();
        Tool.Find("nbdkit");
        Tool.Shell(
            $"""
            head -c 4M /dev/urandom > d.img; printf first > key; printf second > key2
            cryptsetup luksFormat -q --type luks1 {Fast} --key-file key {options} d.img
            cryptsetup luksAddKey -q {Fast} --key-file key --new-key-slot 5 d.img key2
            cryptsetup luksRemoveKey -q d.img key
            qemu-img convert --object secret,id=s,data=second --image-opts driver=luks,key-secret=s,file.filename=d.img -O raw qemu.img
            nbdkit -U - --filter=luks file d.img passphrase=second --run 'qemu-img convert -f raw -O raw "nbd+unix:///?socket=$unixsocket" nbdkit.img'
            """,
            scratch.Folder);
        string expected = Content.Sha256OfFile(scratch["qemu.img"]);
        Assert.Equal(expected, Content.Sha256OfFile(scratch["nbdkit.img"]));
        LuksVolumes.OpenFile(scratch["d.img"], volume =>
        {
            Assert.Equal(expected, volume.Readable().Sha256(step: 777_777));
            Assert.Contains("opened by key slot 5", volume.Notes);
        }, "first", "second");
        LuksVolumes.OpenFile(scratch["d.img"], volume => Assert.Equal(Fault.Encrypted, volume.Fault!.Fault), "first");
    }

    [Theory]
    [InlineData("luks1")]
    [InlineData("luks2")]
    public void A_volume_key_opens_without_a_passphrase(string type)
    {
        using var scratch = new Scratch();
        string dump = Tool.Shell(
            $"""
            head -c 20M /dev/urandom > d.img; printf secret > key
            cryptsetup luksFormat -q --type {type} {Fast} --key-file key d.img
            cryptsetup luksDump -q --dump-volume-key --key-file key d.img
            """,
            scratch.Folder);
        string key = string.Concat(HexLines().Match(dump[(dump.LastIndexOf("MK dump:", StringComparison.Ordinal) + 8)..]).Value.Where(char.IsAsciiHexDigit));
        Assert.Equal(128, key.Length);
        string byPassphrase = "";
        LuksVolumes.OpenFile(scratch["d.img"], volume => byPassphrase = volume.Readable().Sha256(), "secret");
        foreach (string given in (string[])["master:" + key, "master:" + key.ToUpperInvariant()])
        {
            LuksVolumes.OpenFile(scratch["d.img"], volume =>
            {
                Assert.Equal(byPassphrase, volume.Readable().Sha256());
                Assert.Contains("opened by its volume key", volume.Notes);
            }, given);
        }

        foreach (string wrong in (string[])["master:" + key[..64], "master:" + key[..^1] + "g", "master:", "master:" + key[2..] + "00"])
        {
            LuksVolumes.OpenFile(scratch["d.img"], volume => Assert.Equal(Fault.Encrypted, volume.Fault!.Fault), wrong);
        }
    }

    [Fact]
    public void A_locked_volume_names_what_unlocks_it()
    {
        using var scratch = new Scratch();
        Tool.Shell(
            $$"""
            truncate -s 20M d.img; printf secret > key; printf other > key2; head -c 32 /dev/urandom > raw
            cryptsetup luksFormat -q --type luks2 --label "the label" --uuid 11111111-2222-3333-4444-555555555555 {{Fast}} --key-file key d.img
            cryptsetup luksAddKey -q --key-file key --pbkdf argon2id --pbkdf-force-iterations 4 --pbkdf-memory 64 --pbkdf-parallel 1 d.img key2
            cryptsetup luksAddKey -q --key-file key --unbound --key-size 256 --volume-key-file raw {{Fast}} d.img key2
            echo '{"type":"clevis","keyslots":["1"],"jwe":{"ciphertext":"x"} }' | cryptsetup token import d.img
            cryptsetup token add --key-description desc --key-slot 0 d.img
            """,
            scratch.Folder);
        LuksVolumes.OpenFile(scratch["d.img"], volume =>
        {
            DiskFormatException fault = volume.Fault!;
            Assert.Equal(Fault.Encrypted, fault.Fault);
            Assert.Equal("the label", volume.Name);
            Assert.Contains("LUKS2 11111111-2222-3333-4444-555555555555 \"the label\"", fault.Detail, StringComparison.Ordinal);
            Assert.Contains("aes-xts-plain64, key of 512 bits", fault.Detail, StringComparison.Ordinal);
            Assert.Contains("0 (pbkdf2 sha256, 1000 iterations), 1 (argon2id, 64 KiB, 4 passes, 1 lanes)", fault.Detail, StringComparison.Ordinal);
            Assert.Contains("tokens clevis (slot 1), luks2-keyring (slot 0)", fault.Detail, StringComparison.Ordinal);
            Assert.Contains("--key", fault.Detail, StringComparison.Ordinal);
            Assert.Contains("key slots that belong to no segment: 2", volume.Notes);
            Assert.Contains("token clevis (slot 1)", volume.Notes);
        });
        LuksVolumes.OpenFile(scratch["d.img"], volume => Assert.Contains("none of the 2 secrets given by --key fits", volume.Fault!.Detail, StringComparison.Ordinal), "a", "b");
        LuksVolumes.OpenFile(scratch["d.img"], volume => Assert.Contains("opened by key slot 1", volume.Notes), "other");
    }

    [Fact]
    public void A_volume_in_the_middle_of_re_encryption_is_not_read_as_one_or_the_other()
    {
        using var scratch = new Scratch();
        Tool.Shell(Encrypt($"{Fast} --init-only"), scratch.Folder);
        LuksVolumes.OpenFile(scratch["d.img"], volume =>
        {
            Assert.Equal(Fault.Unsupported, volume.Fault!.Fault);
            Assert.Contains("re-encryption is in progress", volume.Fault.Detail, StringComparison.Ordinal);
        }, "secret");
    }

    [Theory]
    [InlineData("conv=notrunc bs=1 seek=100 count=1", "LUKS2 binary header")]
    [InlineData("conv=notrunc bs=1 seek=5000 count=1", "LUKS2 binary header")]
    [InlineData("conv=notrunc bs=1 seek=16484 count=1", "LUKS2 binary header")]
    [InlineData("conv=notrunc bs=512 count=1", "LUKS2 binary header")]
    public void One_damaged_header_is_reported_and_the_other_one_used(string damage, string structure)
    {
        using var scratch = new Scratch();
        Tool.Shell(Encrypt(Fast) + $"\ndd if=/dev/urandom of=d.img status=none {damage}", scratch.Folder);
        byte[] plain = File.ReadAllBytes(scratch["plain.img"]);
        IReadOnlyList<CoverageGap> gaps = LuksVolumes.OpenFile(scratch["d.img"], volume => Assert.Equal(plain, volume.Readable().ReadAll()[..plain.Length]), "secret");
        CoverageGap gap = Assert.Single(gaps);
        Assert.Equal((Fault.Corrupt, "member", structure), (gap.Fault, gap.Path, gap.Structure));
    }

    [Fact]
    public void A_header_backup_is_not_a_volume()
    {
        using var scratch = new Scratch();
        Tool.Shell(Encrypt(Fast) + "\ncryptsetup luksHeaderBackup d.img --header-backup-file backup", scratch.Folder);
        LuksVolumes.OpenFile(scratch["backup"], volume => Assert.Equal(Fault.Truncated, volume.Fault!.Fault), "secret");
    }

    [Fact]
    public void A_file_system_in_a_volume_lies_where_the_leftovers_are_not()
    {
        using var scratch = new Scratch();
        Tool.Shell(
            $"""
            truncate -s 2M plain.img; mke2fs -q -F -t ext2 plain.img; printf secret > key
            cp plain.img d.img; truncate -s 4194304 d.img
            cryptsetup reencrypt -q --encrypt --type luks2 --reduce-device-size 2M --key-file key {Fast} d.img
            printf rest >> d.img
            """,
            scratch.Folder);
        using var file = new FileSource(scratch["d.img"]);
        LuksVolumes.Open(file, (assembly, _) =>
        {
            Assert.Equal(
                [new MemberArea(0, "luks-header", 0, 1 << 20), new MemberArea(0, "luks-unused", 4194304, 4)],
                assembly.Leftovers);
            byte[] plain = File.ReadAllBytes(scratch["plain.img"]);
            Assert.Equal(plain, assembly.Volumes[0].Readable().ReadAll()[..plain.Length]);
        }, "secret");
    }

    [Fact]
    public void Any_slicing_of_reads_equals_one_read()
    {
        using var scratch = new Scratch();
        Tool.Shell(Encrypt($"{Fast} --sector-size 4096"), scratch.Folder);
        LuksVolumes.OpenFile(scratch["d.img"], volume =>
        {
            IBlockSource content = volume.Readable();
            byte[] expected = content.ReadAll();
            Parallel.For(0, 4, seed =>
            {
                var random = new Random(seed);
                byte[] buffer = new byte[70_000];
                for (int i = 0; i < 1500; i++)
                {
                    int at = random.Next(expected.Length);
                    Span<byte> part = buffer.AsSpan(0, Math.Min(random.Next(1, 1 << random.Next(1, 17)), expected.Length - at) is var n && n > buffer.Length ? buffer.Length : n);
                    content.Read(at, part);
                    Assert.True(part.SequenceEqual(expected.AsSpan(at, part.Length)), "other bytes at " + at.ToString(CultureInfo.InvariantCulture));
                }
            });
        }, "secret");
    }

    [GeneratedRegex("[0-9a-f\\s]+")]
    private static partial Regex HexLines();
}
