using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Worker;

/// <summary>A worker's way to its supervisor. Safe for many threads.</summary>
internal sealed class EventWriter(Stream pipe) : IGapSink
{
    private const int DataFrameBytes = 1 << 20;

    private readonly Lock _lock = new();
    private int _gaps;
    private int _findings;

    /// <summary>A hostile image must not fill the supervisor's memory: beyond this many gaps one closing gap is sent.</summary>
    private const int MostGaps = GapList.DefaultMost;

    /// <summary>The same for detections: a guest may hold millions of copies of one.</summary>
    private const int MostFindings = 100_000;

    public void Send(WorkerEvent message)
    {
        byte[] json = MessageText.Of(message);
        lock (_lock)
        {
            Frames.Write(pipe, FrameKind.Message, json);
        }
    }

    /// <summary>Reports a detection; beyond <see cref="MostFindings"/> of them only that there are more.</summary>
    public void Find(FindingReport finding)
    {
        int count = Interlocked.Increment(ref _findings);
        if (count <= MostFindings)
        {
            Send(new FindingEvent(finding));
        }
        else if (count == MostFindings + 1)
        {
            Add(new CoverageGap(Fault.Limit, finding.Path, "findings", -1, 0, $"more than {MostFindings} findings; no more are listed"));
        }
    }

    public void SendData(ReadOnlySpan<byte> data)
    {
        while (!data.IsEmpty)
        {
            ReadOnlySpan<byte> part = data[..Math.Min(data.Length, DataFrameBytes)];
            lock (_lock)
            {
                Frames.Write(pipe, FrameKind.Data, part);
            }

            data = data[part.Length..];
        }
    }

    public void Add(CoverageGap gap)
    {
        int count = Interlocked.Increment(ref _gaps);
        if (count <= MostGaps)
        {
            Send(new GapEvent(gap.ToReport()));
        }
        else if (count == MostGaps + 1)
        {
            Send(new GapEvent(new CoverageGap(Fault.Limit, gap.Path, "gaps", -1, 0, $"more than {MostGaps} gaps; no more are listed").ToReport()));
        }
    }

    public void Flush()
    {
        lock (_lock)
        {
            pipe.Flush();
        }
    }
}
