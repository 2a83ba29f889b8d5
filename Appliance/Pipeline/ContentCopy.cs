using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>A range of a source, in order, to where the user wants it.</summary>
internal static class ContentCopy
{
    /// <summary>Fits a second-level cache, so that what was read is still there when it is written.</summary>
    private const int StepBytes = 512 << 10;

    /// <summary>The largest unit that a format packs is qcow2's of 2 MiB.</summary>
    private const int PackedBytes = 2 << 20;

    /// <summary>Parts that are unpacked at once.</summary>
    private const int MostAhead = 8;

    /// <summary>Shorter holes are read as zeros with what lies around them: that is quicker than two reads.</summary>
    private const int SmallestHole = 64 << 10;

    /// <summary>What the kernel copies by itself at once; a step of progress. In a chain, each layer is asked how far its hole goes on within it.</summary>
    private const int SentBytes = 4 << 20;

    /// <summary>Shorter pieces of files are read together with what lies around them.</summary>
    private const int SmallestSent = 64 << 10;

    private static readonly TimeSpan Heartbeat = TimeSpan.FromSeconds(10);

    /// <exception cref="JobFailedException">The content cannot be written.</exception>
    public static void Run(VmJob job, IBlockSource source, long offset, long length, EventWriter writer, ProgressReporter progress, ReadContext context)
    {
        DirectOutput? direct = job.OwnsOutput ? new DirectOutput() : null;
        using var alive = new Timer(
            _ =>
            {
                if (direct is { IsWriting: true })
                {
                    progress.Step();
                }
            },
            null,
            Heartbeat,
            Heartbeat);
        try
        {
            Run(source, offset, length, direct ?? (IContentOutput)new FrameOutput(writer), job.IsOneStream ? 1 : Math.Min(Environment.ProcessorCount, MostAhead), progress, context);
        }
        catch (OutputException e) when (!e.IsReaderGone)
        {
            throw new JobFailedException(e.Message);
        }
        catch (OutputException)
        {
            // Whoever read it, such as head, has enough.
        }
    }

    /// <param name="parts">Unpacked at once.</param>
    private static void Run(IBlockSource source, long offset, long length, IContentOutput output, int parts, ProgressReporter progress, ReadContext context)
    {
        long end = offset + length;
        using var ahead = new ReadAhead(source, context.Budget, offset, end, StepBytes, PackedBytes, parts);
        while (offset < end)
        {
            progress.Step();
            if (output is DirectOutput direct && (source as IFileBacked)?.InFile(offset, Math.Min(SentBytes, end - offset)) is { Length: >= SmallestSent } range && direct.Send(range) is > 0 and var sent)
            {
                offset += sent;
                continue;
            }

            long hole = source.HoleLength(offset, end - offset);
            if (hole >= SmallestHole || hole == end - offset)
            {
                output.WriteZeros(hole);
                offset += hole;
                continue;
            }

            ReadOnlySpan<byte> part = ahead.Take(offset);
            output.Write(part);
            offset += part.Length;
        }

        output.Finish();
    }
}
