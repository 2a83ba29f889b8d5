using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Golden;
using static Vmsweep.DiskReaders.Tests.Volumes.TableImages;

namespace Vmsweep.DiskReaders.Tests.Volumes;

public sealed class TableMutationTests
{
    [Fact]
    public void A_damaged_mbr_gives_a_sound_layout_or_a_format_exception()
    {
        byte[] disk = Mbr(128, (0, 0x07, 1, 10), (1, 0x0F, 20, 60), (3, 0x83, 90, 30));
        BootRecord(disk, 20, (0, 0x83, 1, 2), (1, 0x05, 5, 10));
        BootRecord(disk, 25, (0, 0x83, 1, 2), (1, 0x05, 10, 10));
        BootRecord(disk, 30, (0, 0x83, 1, 2));
        List<(long, long)> regions = [(446, 66), (446, 66), (20 * 512 + 446, 66), (25 * 512 + 446, 66), (30 * 512 + 446, 66), (0, 64)];
        Mutations.Check(disk, (image, context) => ReadChecked(image, 512, context), regions);
    }

    [Fact]
    public void A_damaged_gpt_gives_a_sound_layout_or_a_format_exception()
    {
        byte[] disk = Gpt(1, "-n", "1:64:127", "-n", "2:256:511", "-n", "128:600:700");
        List<(long, long)> regions = [(446, 66), (512, 92), (512, 92), (1024, 256), (disk.Length - 512, 92), (disk.Length - (33 * 512), 256)];
        Mutations.Check(disk, (image, context) => ReadChecked(image, 512, context), regions, repair: RepairGpt);
    }
}
