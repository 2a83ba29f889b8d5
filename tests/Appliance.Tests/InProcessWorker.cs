using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Tests;

/// <summary>A worker in this process: the same job and the same frames, without the time of starting a sandbox.</summary>
internal sealed class InProcessWorker : IWorker
{
    public WorkerOutcome Run(
        WorkerJob job,
        IReadOnlyList<(string Host, string Inside)> binds,
        Action<WorkerEvent> onEvent,
        Action<ReadOnlySpan<byte>>? onData,
        CancellationToken cancellation)
    {
        using var pipe = new MemoryStream();
        var outcome = new WorkerOutcome(WorkerEnd.Done, "");
        try
        {
            WorkerMain.Dispatch(job, new EventWriter(pipe));
        }
        catch (JobFailedException e)
        {
            outcome = new WorkerOutcome(WorkerEnd.Failed, e.Message);
        }

        pipe.Position = 0;
        while (Frames.Read(pipe) is { } frame)
        {
            ReadOnlySpan<byte> payload = frame.Buffer.AsSpan(0, frame.Length);
            if (frame.Kind == FrameKind.Data)
            {
                onData?.Invoke(payload);
                continue;
            }

            WorkerEvent message = MessageText.Event(payload);
            WorkerEvents.Check(message);
            onEvent(message);
        }

        return outcome;
    }
}
