using System.Buffers;
using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Vmsweep.Appliance.Worker;

/// <summary>How a worker ended.</summary>
internal enum WorkerEnd
{
    /// <summary>It said that it was done.</summary>
    Done,

    /// <summary>It said that the job cannot be carried out.</summary>
    Failed,

    /// <summary>It ended without saying so.</summary>
    Crashed,

    /// <summary>Nothing came from it for too long.</summary>
    Hung,

    /// <summary>The operator stopped it.</summary>
    Cancelled,
}

/// <param name="Detail">For the report: what a crashed worker last said, or the message of a failed job.</param>
internal sealed record WorkerOutcome(WorkerEnd End, string Detail);

/// <summary>Carries out a job somewhere else and hands on what is said about it.</summary>
internal interface IWorker
{
    /// <param name="job">What to do.</param>
    /// <param name="binds">What it may read: path on the host, path as the job has it.</param>
    /// <param name="onEvent">Called on this thread, in order.</param>
    /// <param name="onData">Called on this thread with raw content; null when the job gives none.</param>
    /// <param name="cancellation">Ends the worker.</param>
    WorkerOutcome Run(
        WorkerJob job,
        IReadOnlyList<(string Host, string Inside)> binds,
        Action<WorkerEvent> onEvent,
        Action<ReadOnlySpan<byte>>? onData,
        CancellationToken cancellation);
}

/// <summary>How to start a worker that may read <paramref name="binds"/> and has a heap of <paramref name="heapBytes"/>.</summary>
internal delegate ProcessStartInfo WorkerStart(IReadOnlyList<(string Host, string Inside)> binds, long heapBytes);

/// <summary>The supervisor's side of one worker: starts it, feeds it its job, takes its events, and survives any end of it.</summary>
internal sealed class WorkerProcess(WorkerStart start, TimeSpan silence) : IWorker
{
    /// <summary>How much of a worker's last words is kept.</summary>
    private const int MostErrorText = 4096;

    /// <summary>
    /// The longest a worker may take, in times of the processor's seconds that it is given: one that was taken over may pretend to work
    /// for ever.
    /// </summary>
    private const long MostWaiting = 4;

    /// <summary>What a worker may say in events. Beyond it, it is broken or hostile, and would fill this process's memory.</summary>
    public long MostEventBytes { get; init; } = 512L << 20;

    public WorkerOutcome Run(
        WorkerJob job,
        IReadOnlyList<(string Host, string Inside)> binds,
        Action<WorkerEvent> onEvent,
        Action<ReadOnlySpan<byte>>? onData,
        CancellationToken cancellation)
    {
        // Where content goes to the user directly, messages take the way of errors.
        bool ownsOutput = job is VmJob { OwnsOutput: true };
        Process process;
        try
        {
            ProcessStartInfo how = start(binds, job.Limits.HeapBytes);
            how.RedirectStandardOutput = !ownsOutput;
            process = Process.Start(how)!;
        }
        catch (Win32Exception e)
        {
            return new WorkerOutcome(WorkerEnd.Crashed, $"the worker cannot be started: {e.Message}");
        }

        using (process)
        {
            var errors = new StringBuilder();
            var errorReader = new Thread(() => Drain(process.StandardError, errors)) { IsBackground = true, Name = "worker's errors" };
            if (!ownsOutput)
            {
                errorReader.Start();
            }

            bool hung = false;
            bool late = false;
            using var watchdog = new Timer(_ =>
            {
                hung = true;
                Kill(process);
            });
            using var deadline = new Timer(
                _ =>
                {
                    late = true;
                    Kill(process);
                },
                null,
                TimeSpan.FromSeconds(Math.Min(job.Limits.CpuSeconds, 1_000_000) * MostWaiting),
                Timeout.InfiniteTimeSpan);
            using CancellationTokenRegistration stop = cancellation.Register(() => Kill(process));
            WorkerOutcome? said = null;
            string broken = "";
            try
            {
                watchdog.Change(silence, Timeout.InfiniteTimeSpan);
                Tell(process, job);
                said = Listen((ownsOutput ? process.StandardError : process.StandardOutput).BaseStream, process.StandardInput.BaseStream, onEvent, onData, isBusy => watchdog.Change(isBusy ? Timeout.InfiniteTimeSpan : silence, Timeout.InfiniteTimeSpan));
            }
            catch (NoFrameException e) when (ownsOutput)
            {
                // The runtime's own last words.
                errors.Append(Encoding.UTF8.GetString(e.Found));
                Drain(process.StandardError, errors);
            }
            catch (Exception e) when (e is InvalidDataException or JsonException or NoFrameException)
            {
                // Cut off in the middle of a frame, or speaking something else: the same as a crash.
                broken = e.Message;
            }
            finally
            {
                watchdog.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
                // One that said its last word is ending, and takes its sandbox with it. To look for descendants means to look at every process there is.
                Kill(process, withDescendants: said is null);
                process.WaitForExit();
                if (!ownsOutput)
                {
                    errorReader.Join(TimeSpan.FromSeconds(1));
                }
            }

            if (said is not null)
            {
                return said;
            }

            if (cancellation.IsCancellationRequested)
            {
                return new WorkerOutcome(WorkerEnd.Cancelled, "interrupted");
            }

            if (hung)
            {
                return new WorkerOutcome(WorkerEnd.Hung, $"nothing was done for {silence.TotalSeconds.ToString("0", CultureInfo.InvariantCulture)} s");
            }

            if (late)
            {
                return new WorkerOutcome(WorkerEnd.Hung, "it took longer than any image of this size may");
            }

            lock (errors)
            {
                return new WorkerOutcome(WorkerEnd.Crashed, $"the worker ended with status {process.ExitCode}{(broken.Length > 0 ? ", " + broken : "")}: {errors.ToString().Trim()}");
            }
        }
    }

    private WorkerOutcome? Listen(Stream pipe, Stream answers, Action<WorkerEvent> onEvent, Action<ReadOnlySpan<byte>>? onData, Action<bool> setBusy)
    {
        long steps = -1;
        long said = 0;
        while (NextFrame(pipe) is { } frame)
        {
            try
            {
                if (frame.Kind == FrameKind.Data)
                {
                    if (onData is null)
                    {
                        throw new InvalidDataException("it sent content that was not asked for");
                    }

                    // Whoever takes the content may be slow: that is no hang of the worker.
                    setBusy(true);
                    onData(frame.Buffer.AsSpan(0, frame.Length));
                    setBusy(false);
                    continue;
                }

                WorkerEvent message = Parse(frame.Buffer.AsSpan(0, frame.Length));
                // What is gone as soon as it was heard fills nothing; whoever stores verdicts has a limit of his own.
                said += message is ProgressEvent or PaceEvent or AskEvent or KeepEvent or TracedEvent ? 0 : frame.Length;
                if (said > MostEventBytes)
                {
                    throw new InvalidDataException($"it said more than {MostEventBytes} bytes");
                }

                switch (message)
                {
                    case DoneEvent:
                        return new WorkerOutcome(WorkerEnd.Done, "");
                    case FailedEvent failed:
                        return new WorkerOutcome(WorkerEnd.Failed, failed.Message);
                    case AskEvent ask:
                        ask.Answer = bytes => Tell(bytes);
                        setBusy(true);
                        break;
                    case KeepEvent or TracedEvent or EntriesEvent:
                        // Storing them, or showing them to somebody who reads slowly, takes this process's time and not the worker's.
                        setBusy(true);
                        break;
                    case PaceEvent:
                        // Says nothing of work: a worker that waits for leave to read tells its steps.
                        break;
                    case ProgressEvent progress when progress.Steps == steps:
                        break;
                    case ProgressEvent progress:
                        steps = progress.Steps;
                        setBusy(false);
                        break;
                    default:
                        setBusy(false);
                        break;
                }

                onEvent(message);
                if (message is AskEvent or KeepEvent or TracedEvent or EntriesEvent)
                {
                    setBusy(false);
                }
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(frame.Buffer);
            }
        }

        return null;

        void Tell(ReadOnlyMemory<byte> answer)
        {
            // A worker that asks and does not listen hangs.
            setBusy(false);
            try
            {
                Frames.Write(answers, FrameKind.Data, answer.Span);
                answers.Flush();
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException)
            {
                throw new InvalidDataException("it does not take its answers", e);
            }
        }
    }

    /// <summary>Gives the worker its job. One that ends before it took it says why on its standard error.</summary>
    private static void Tell(Process process, WorkerJob job)
    {
        try
        {
            Frames.Write(process.StandardInput.BaseStream, FrameKind.Message, MessageText.Of(job));
            process.StandardInput.BaseStream.Flush();
            if (job is not ScanJob { Plans: not null })
            {
                process.StandardInput.Close();
            }
        }
        catch (IOException e)
        {
            throw new InvalidDataException("it did not take its job", e);
        }
    }

    /// <summary>A pipe that breaks is the worker's fault; what <c>onData</c> meets when it writes is not.</summary>
    private static (FrameKind Kind, byte[] Buffer, int Length)? NextFrame(Stream pipe)
    {
        try
        {
            return Frames.Read(pipe);
        }
        catch (IOException e)
        {
            throw new InvalidDataException(e.Message, e);
        }
    }

    private static WorkerEvent Parse(ReadOnlySpan<byte> json)
    {
        WorkerEvent message = MessageText.Event(json);
        WorkerEvents.Check(message);
        return message;
    }

    /// <summary>Reads all that a worker says, so that it never waits, and keeps the beginning, so that it fills no memory.</summary>
    private static void Drain(StreamReader pipe, StringBuilder errors)
    {
        char[] part = new char[MostErrorText];
        try
        {
            for (int got; (got = pipe.Read(part)) > 0;)
            {
                lock (errors)
                {
                    errors.Append(part, 0, Math.Min(got, MostErrorText - errors.Length));
                }
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // It has ended, or somebody it started holds its pipe.
        }
    }

    private static void Kill(Process process, bool withDescendants = true)
    {
        try
        {
            process.Kill(withDescendants);
        }
        catch (Exception e) when (e is InvalidOperationException or Win32Exception)
        {
            // It has ended already.
        }
    }
}
