using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.DiskReaders.Volumes.Luks;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Volumes.Luks;

/// <summary>Small volumes of both versions, damaged thousands of times.</summary>
public sealed class LuksMutationTests
{
    [Fact]
    public void A_damaged_LUKS1_volume_gives_data_or_a_fault() =>
        Mutations.Check(LuksWriter.Luks1(), Read, [(0, Luks1Header.Size), (104, 8), (208, 96), (1024, 1024)], Mutations.PerFormat / 2);

    [Fact]
    public void A_damaged_LUKS2_volume_gives_data_or_a_fault() =>
        Mutations.Check(
            LuksWriter.Luks2(),
            Read,
            [(0, 512), (4096, 1700), (4096, 1700), (LuksWriter.HeaderBytes, 512), (LuksWriter.HeaderBytes + 4096, 1700), (LuksWriter.KeySlotsAt, 1024)],
            Mutations.PerFormat / 2,
            repair: LuksWriter.Repair);

    /// <summary>Opens with secrets that fit the sound image and reads all of it.</summary>
    internal static void Read(byte[] bytes, ReadContext context)
    {
        using var source = new MemorySource(bytes);
        Read(source, context);
    }

    internal static void Read(IBlockSource source, ReadContext context)
    {
        var format = new LuksFormat(LuksVolumes.Cheap);
        format.Probe(source);
        context = context with { Secrets = new UnlockSecrets(["wrong"u8.ToArray(), "secret"u8.ToArray(), "master:00112233445566778899aabbccddeeff"u8.ToArray()]) };
        VolumeAssembly assembly = format.Assemble([new VolumeMember("member", source, 512)], context);
        using AssembledVolume volume = assembly.Volumes.Single();
        if (volume.Content is null == volume.Fault is null)
        {
            throw new InvalidOperationException("a volume has content or a fault");
        }

        if (volume.Content is { } content)
        {
            byte[] buffer = new byte[4096];
            for (long at = 0; at < content.Length; at += buffer.Length)
            {
                Span<byte> part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, content.Length - at));
                content.Read(at, part);
                content.Locate(at, part.Length);
            }
        }
    }
}
