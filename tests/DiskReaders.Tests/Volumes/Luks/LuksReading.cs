using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.DiskReaders.Volumes.Luks;

namespace Vmsweep.DiskReaders.Tests.Volumes.Luks;

/// <summary>Reads damaged volumes, for tests and fuzzing.</summary>
internal static class LuksReading
{
    /// <summary>Costs that no sound test image has: hostile ones end soon.</summary>
    public static readonly LuksLimits Cheap = new() { MostIterations = 100, MostIterationsInAll = 400, MostArgon2Bytes = 64 << 10, MostArgon2Work = 128 << 10, MostArgon2WorkInAll = 256 << 10 };

    /// <summary>Opens with secrets that fit the sound image and reads all of it.</summary>
    public static void Read(byte[] bytes, ReadContext context)
    {
        using var source = new MemorySource(bytes);
        Read(source, context);
    }

    public static void Read(IBlockSource source, ReadContext context)
    {
        var format = new LuksFormat(Cheap);
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
