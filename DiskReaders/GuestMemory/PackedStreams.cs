using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Streams;

namespace Vmsweep.DiskReaders.GuestMemory;

/// <summary>The programs that pack streams, by name and by magic.</summary>
internal static class PackedStreams
{
    /// <summary>Which of them packed the bytes; null when none did.</summary>
    public static string? Recognise(IBlockSource file) => true switch
    {
        _ when file.HasAt(0, [0x1F, 0x8B, 0x08]) => "gzip",
        _ when file.HasAt(0, "BZh"u8) => "bzip2",
        _ when file.HasAt(0, [0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0]) => "xz",
        _ when file.HasAt(0, [0x89, (byte)'L', (byte)'Z', (byte)'O', 0]) => "lzop",
        _ when file.HasAt(0, [0x28, 0xB5, 0x2F, 0xFD]) => "zstd",
        _ => null,
    };

    /// <summary>What was packed.</summary>
    /// <param name="packed">Not disposed with the answer.</param>
    public static UnpackedStream Open(string program, IBlockSource packed, ReadContext context) => new(
        program switch
        {
            "gzip" => new GzipUnpacker(packed, context),
            "bzip2" => new Bzip2Unpacker(packed, context.Budget),
            "xz" => new XzUnpacker(packed, context.Budget),
            "lzop" => new LzopUnpacker(packed, context.Budget),
            "zstd" => new ZstdUnpacker(packed, context.Budget),
            _ => throw new ArgumentOutOfRangeException(nameof(program)),
        },
        0,
        context);
}
