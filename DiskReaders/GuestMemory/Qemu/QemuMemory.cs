using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Streams;

namespace Vmsweep.DiskReaders.GuestMemory.Qemu;

/// <summary>Makes guest memory of a migration stream, packed or not.</summary>
internal static class QemuMemory
{
    /// <param name="stream">The stream's bytes; an <see cref="UnpackedStream"/> is sealed here.</param>
    /// <param name="start">Where it begins in them.</param>
    /// <param name="owned">Disposed with the answer, and when there is none.</param>
    public static GuestMemoryImage Open(IBlockSource stream, long start, string format, IDisposable? owned, ReadContext context)
    {
        RamStream? ram = null;
        try
        {
            ram = RamStream.Read(stream, start, context);
            (stream as UnpackedStream)?.Seal();
            return Image(ram, stream, format, owned, context);
        }
        catch
        {
            ram?.Dispose();
            owned?.Dispose();
            throw;
        }
    }

    private static GuestMemoryImage Image(RamStream ram, IBlockSource stream, string format, IDisposable? owned, ReadContext context)
    {
        List<string> notes = [];
        List<RamPiece> main = [];
        IReadOnlyList<RamBlock> blocks = PcLayout.MainOf(ram.Blocks);
        if (PcLayout.Of(ram.Machine, blocks.Sum(b => b.Length)) is { } layout)
        {
            main.AddRange(Placed(blocks, layout));
        }
        else
        {
            notes.Add($"where the memory of the machine \"{ram.Machine}\" lies is not known: addresses are offsets in its blocks");
            blocks = [];
        }

        List<IDisposable> disposed = [ram];
        List<MemoryArea> areas = [];
        List<MemoryRun> runs = [.. main.SelectMany(RamMap.Sent)];
        long sent = runs.Sum(r => r.Length);
        foreach (RamBlock block in ram.Blocks.Except(blocks))
        {
            // A block may be there without a page of it, as the memory of a device that is not used.
            var piece = new RamPiece(0, block.Length, 0, block.Pages);
            var content = new MappedSource(new RamMap([piece], ram.Changes, stream), [stream], context, unpacker: new RamMap([piece], ram.Changes, stream));
            disposed.Add(content);
            foreach (MemoryRun run in RamMap.Sent(piece))
            {
                areas.Add(new MemoryArea(run.Address == 0 && run.Length == block.Length ? block.Name : $"{block.Name}+0x{run.Address:x}", new SliceSource(content, run.Address, run.Length)));
                sent += run.Length;
            }
        }

        long missing = ram.Blocks.Sum(b => b.Length) - sent;
        if (ram.Fault is { } fault)
        {
            context.Gaps.Add(new CoverageGap(fault, "", missing));
        }
        else if (missing > 0)
        {
            context.Gaps.Add(new CoverageGap(Fault.Corrupt, "", StreamCursor.Structure, -1, missing, "pages that the stream lists and never sends"));
        }

        if (sent == 0)
        {
            throw ram.Fault ?? new DiskFormatException(Fault.Truncated, StreamCursor.Structure, -1, "it holds no page");
        }

        if (owned is not null)
        {
            disposed.Add(owned);
        }

        var map = new RamMap(main, ram.Changes, stream);
        return new GuestMemoryImage
        {
            Format = format,
            Physical = new MappedSource(map, [stream], context, unpacker: map),
            Runs = runs,
            Areas = areas,
            Notes = notes,
            Owned = disposed,
        };
    }

    /// <summary>Blocks in a row, cut where the layout leaves a hole.</summary>
    private static IEnumerable<RamPiece> Placed(IReadOnlyList<RamBlock> blocks, IReadOnlyList<(long Address, long Length, long Offset)> layout)
    {
        foreach ((long address, long length, long offset) in layout)
        {
            long blockAt = 0;
            foreach (RamBlock block in blocks)
            {
                long from = Math.Max(offset, blockAt);
                long to = Math.Min(offset + length, blockAt + block.Length);
                if (from < to)
                {
                    yield return new RamPiece(address + (from - offset), to - from, from - blockAt, block.Pages);
                }

                blockAt += block.Length;
            }
        }
    }
}

/// <summary>A bare migration stream: QMP <c>migrate</c> to a file, packed by any of the usual programs or not.</summary>
internal sealed class QemuStreamFormat : IMemoryFormat
{
    public FormatSupport Support => new(
        "QEMU migration stream",
        "version 3, with zero, filled, XBZRLE and zlib pages; raw or packed by gzip, bzip2, xz, lzop, zstd",
        "postcopy, multifd, mapped-ram; pages that were never sent");

    public bool Probe(IReadOnlyList<MemoryFile> files) => files[0].Bytes.HasAt(0, "QEVM"u8);

    public GuestMemoryImage Open(IReadOnlyList<MemoryFile> files, ReadContext context) => QemuMemory.Open(files[0].Bytes, 0, "qemu", null, context);
}
