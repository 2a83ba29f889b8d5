using Vmsweep.Appliance.Pipeline.Detections;
using Vmsweep.Golden;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Tests.Detections;

/// <summary>The list of known boot code is held against the programs that write it.</summary>
public sealed class BootCodeTests
{
    private const string Tools = "export PATH=$PATH:/usr/sbin:/sbin\n";

    [Theory]
    [InlineData("truncate -s 1M image; mkfs.fat -F 12 image")]
    [InlineData("truncate -s 16M image; mkfs.fat -F 16 -n LABEL -i 12345678 image")]
    [InlineData("truncate -s 64M image; mkfs.fat -F 32 -n OTHER image")]
    [InlineData("truncate -s 64M image; mkfs.fat -F 32 -S 4096 image")]
    [InlineData("truncate -s 16M image; mkntfs -F -q -L label image")]
    [InlineData("truncate -s 64M image; mkntfs -F -q -c 65536 image")]
    [InlineData("truncate -s 16M image; mkfs.exfat image")]
    [InlineData("truncate -s 1440K image; mformat -i image -f 1440 ::")]
    [InlineData("truncate -s 64M image; mformat -i image -F ::")]
    [InlineData("truncate -s 16M image; mke2fs -q -F -t ext4 image", 1024)]
    public void A_volume_as_its_maker_left_it_is_known(string script, int bytes = 8192)
    {
        using var scratch = new Scratch();
        Tool.Shell($"{Tools}{{ {script}; }} >/dev/null 2>&1", scratch.Folder);
        Assert.Equal("", Said(scratch, (boot, found) => BootCode.AddOfVolume(boot, found), bytes));
    }

    [Theory]
    [InlineData("parted -s image mklabel msdos mkpart primary 1MiB 3MiB")]
    [InlineData("parted -s image mklabel gpt mkpart a 1MiB 3MiB")]
    [InlineData("echo '2048,2048,83' | sfdisk -q image")]
    [InlineData("sgdisk -n 1:2048:4096 image")]
    [InlineData("dd if=/usr/lib/syslinux/mbr/mbr.bin of=image conv=notrunc; echo '2048,2048,83,*' | sfdisk -q image")]
    [InlineData("dd if=/usr/lib/syslinux/mbr/gptmbr.bin of=image conv=notrunc")]
    [InlineData("dd if=/usr/lib/syslinux/mbr/altmbr.bin of=image conv=notrunc")]
    [InlineData("dd if=/usr/lib/grub/i386-pc/boot.img of=image conv=notrunc; echo '2048,2048,83,*' | sfdisk -q image")]
    [InlineData("dd if=/usr/lib/grub/i386-pc/boot.img of=image conv=notrunc; printf '\\x22\\x08' | dd of=image bs=1 seek=92 conv=notrunc; printf '\\xff\\x90\\x90\\x90' | dd of=image bs=1 seek=100 conv=notrunc")]
    public void A_disk_as_its_tool_left_it_is_known(string script)
    {
        Tool.Find("/usr/lib/syslinux/mbr/mbr.bin");
        Tool.Find("/usr/lib/grub/i386-pc/boot.img");
        using var scratch = new Scratch();
        Tool.Shell($"{Tools}truncate -s 4M image; {{ {script}; }} >/dev/null 2>&1", scratch.Folder);
        Assert.Equal("", Said(scratch, (sector, found) => BootCode.AddOfDisk(sector, found), 512));
    }

    [Fact]
    public void One_other_byte_of_code_is_told_of_and_of_what_varies_not()
    {
        byte[] sector = File.ReadAllBytes(Tool.Find("/usr/lib/syslinux/mbr/mbr.bin"));
        Array.Resize(ref sector, 512);
        for (int at = 0; at < 512; at++)
        {
            byte[] changed = [.. sector];
            changed[at] ^= 0x55;
            List<Detection> found = [];
            BootCode.AddOfDisk(changed, found);
            Assert.True((at < 440) == (found.Count == 1), $"byte {at}");
            Assert.All(found, f => Assert.Equal(("Boot_UnknownCode", Severity.Info), (f.Rule, f.Severity)));
        }
    }

    private static string Said(Scratch scratch, Action<byte[], List<Detection>> add, int bytes)
    {
        byte[] start = new byte[bytes];
        using FileStream image = File.OpenRead(scratch["image"]);
        image.ReadExactly(start);
        List<Detection> found = [];
        add(start, found);
        return string.Join('\n', found.Select(f => f.Meta[1].Value.Text));
    }
}
