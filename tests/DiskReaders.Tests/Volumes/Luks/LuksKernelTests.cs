using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Volumes.Luks;

/// <summary>Against dm-crypt: what a Linux kernel wrote through its own device is what is read.</summary>
[Trait("Category", "Slow")]
public sealed class LuksKernelTests
{
    private const string Fast = "--pbkdf pbkdf2 --pbkdf-force-iterations 1000";
    private const string Small = "--type luks2 --luks2-metadata-size 16k --luks2-keyslots-size 256k";

    private static readonly string[] Formats =
    [
        $"{Small} {Fast} --cipher aes-xts-plain64 --key-size 512",
        $"{Small} {Fast} --cipher aes-xts-plain64 --key-size 256 --sector-size 4096",
        $"{Small} {Fast} --cipher aes-cbc-essiv:sha256 --key-size 256 --sector-size 2048",
        $"{Small} --pbkdf argon2id --pbkdf-force-iterations 4 --pbkdf-memory 64 --pbkdf-parallel 1 --cipher aes-cbc-plain64 --key-size 128",
        $"--type luks1 {Fast} --cipher aes-xts-plain64 --key-size 512",
        $"--type luks1 {Fast} --cipher aes-cbc-essiv:sha256 --key-size 128",
    ];

    [Fact]
    public void A_volume_reads_as_the_kernels_device()
    {
        using var scratch = new Scratch();
        string[] images = [.. Formats.Select((_, i) => scratch[i.ToString(CultureInfo.InvariantCulture)])];
        Tool.Find("cryptsetup");
        Tool.Shell("printf secret > key\n" + string.Concat(Formats.Select((options, i) => $"truncate -s 4M {i}; cryptsetup luksFormat -q --key-file key {options} {i}\n")), scratch.Folder);
        string script = string.Concat(Formats.Select((_, i) =>
            $"""
            cp /dev/vd{(char)('c' + i)} {i}.img
            cryptsetup open --key-file /tmp/key {i}.img c{i}
            head -c 500000 /dev/urandom | dd of=/dev/mapper/c{i} bs=4096 conv=notrunc 2> /dev/null
            sync; sha256sum < /dev/mapper/c{i} > {i}.sum
            cryptsetup close c{i}

            """));
        LinuxGuest.Run(scratch["made"], "printf secret > /tmp/key\n" + script, ["dm-crypt", "xts", "cbc", "essiv", "sha256_generic"], ["cryptsetup"], images);
        for (int i = 0; i < Formats.Length; i++)
        {
            string name = scratch[Path.Combine("made", i.ToString(CultureInfo.InvariantCulture))];
            IReadOnlyList<CoverageGap> gaps = LuksVolumes.OpenFile(name + ".img", volume =>
            {
                Assert.True(volume.Readable().Length >= 1 << 20);
                Assert.Equal(File.ReadAllText(name + ".sum")[..64], volume.Readable().Sha256());
            }, "secret");
            Assert.Empty(gaps);
        }
    }
}
