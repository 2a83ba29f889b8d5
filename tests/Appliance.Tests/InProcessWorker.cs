using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Results;
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
            WorkerMain.Dispatch(job, new EventWriter(pipe), job is ScanJob { Plans: not null } ? new Memory(onEvent) : null);
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

    /// <summary>Asks the supervisor by calling it, through the same messages.</summary>
    private sealed class Memory(Action<WorkerEvent> onEvent) : IVerdictMemory
    {
        private readonly Lock _lock = new();

        public Func<KnownVerdict[]> Ask(IReadOnlyList<ContentKey> keys, CancellationToken cancellation)
        {
            byte[] bytes = new byte[keys.Count * ContentKey.Bytes];
            for (int i = 0; i < keys.Count; i++)
            {
                keys[i].Write(bytes.AsSpan(i * ContentKey.Bytes));
            }

            KnownVerdict[]? known = null;
            lock (_lock)
            {
                var ask = (AskEvent)Sent(new AskEvent(bytes));
                ask.Answer = answer => known = VerdictClient.Decode(answer.Span, keys.Count);
                onEvent(ask);
            }

            return () => known!;
        }

        public void Keep(ContentKey key, byte[] payload, bool hangsOnHashLists)
        {
            byte[] bytes = new byte[ContentKey.Bytes];
            key.Write(bytes);
            lock (_lock)
            {
                onEvent(Sent(new KeepEvent([new KeptVerdict(bytes, payload, hangsOnHashLists)])));
            }
        }

        private static WorkerEvent Sent(WorkerEvent message)
        {
            WorkerEvent received = MessageText.Event(MessageText.Of(message));
            WorkerEvents.Check(received);
            return received;
        }
    }
}
