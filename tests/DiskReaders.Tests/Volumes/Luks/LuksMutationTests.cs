using Vmsweep.DiskReaders.Volumes.Luks;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Volumes.Luks;

/// <summary>Small volumes of both versions, damaged thousands of times.</summary>
public sealed class LuksMutationTests
{
    [Fact]
    public void A_damaged_LUKS1_volume_gives_data_or_a_fault() =>
        Mutations.Check(LuksWriter.Luks1(), LuksReading.Read, [(0, Luks1Header.Size), (104, 8), (208, 96), (1024, 1024)]);

    [Fact]
    public void A_damaged_LUKS2_volume_gives_data_or_a_fault() =>
        Mutations.Check(
            LuksWriter.Luks2(),
            LuksReading.Read,
            [(0, 512), (4096, 1700), (4096, 1700), (LuksWriter.HeaderBytes, 512), (LuksWriter.HeaderBytes + 4096, 1700), (LuksWriter.KeySlotsAt, 1024)],
            repair: LuksWriter.Repair);
}
