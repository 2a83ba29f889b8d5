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
    /// What a worker may say in events: a listing of ten million files is some 2 GiB. Beyond it a worker is broken or hostile, and
    /// would fill this process's memory.
    /// </summary>
    private const long MostEventBytes = 4L << 30;

    public WorkerOutcome Run(
        WorkerJob job,
        IReadOnlyList<(string Host, string Inside)> binds,
        Action<WorkerEvent> onEvent,
        Action<ReadOnlySpan<byte>>? onData,
        CancellationToken cancellation)
    {
        Process process;
        try
        {
            process = Process.Start(start(binds, job.Limits.HeapBytes))!;
        }
        catch (Win32Exception e)
        {
            return new WorkerOutcome(WorkerEnd.Crashed, $"the worker cannot be started: {e.Message}");
        }

        using (process)
        {
            var errors = new StringBuilder();
            process.ErrorDataReceived += (_, line) => Keep(errors, line.Data);
            process.BeginErrorReadLine();
            bool hung = false;
            using var watchdog = new Timer(_ =>
            {
                hung = true;
                Kill(process);
            });
            using CancellationTokenRegistration stop = cancellation.Register(() => Kill(process));
            WorkerOutcome? said = null;
            string broken = "";
            try
            {
                watchdog.Change(silence, Timeout.InfiniteTimeSpan);
                Tell(process, job);
                said = Listen(process.StandardOutput.BaseStream, onEvent, onData, () => watchdog.Change(silence, Timeout.InfiniteTimeSpan));
            }
            catch (Exception e) when (e is InvalidDataException or JsonException)
            {
                // Cut off in the middle of a frame, or speaking something else: the same as a crash.
                broken = e.Message;
            }
            finally
            {
                watchdog.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
                Kill(process);
                process.WaitForExit();
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

            lock (errors)
            {
                return new WorkerOutcome(WorkerEnd.Crashed, $"the worker ended with status {process.ExitCode}{(broken.Length > 0 ? ", " + broken : "")}: {errors.ToString().Trim()}");
            }
        }
    }

    private static WorkerOutcome? Listen(Stream pipe, Action<WorkerEvent> onEvent, Action<ReadOnlySpan<byte>>? onData, Action onLife)
    {
        long steps = -1;
        long said = 0;
        while (NextFrame(pipe) is { } frame)
        {
            try
            {
                if (frame.Kind == FrameKind.Data)
                {
                    onData?.Invoke(frame.Buffer.AsSpan(0, frame.Length));
                    onLife();
                    continue;
                }

                WorkerEvent message = Parse(frame.Buffer.AsSpan(0, frame.Length));
                said += message is ProgressEvent ? 0 : frame.Length;
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
                    case ProgressEvent progress when progress.Steps == steps:
                        break;
                    case ProgressEvent progress:
                        steps = progress.Steps;
                        onLife();
                        break;
                    default:
                        onLife();
                        break;
                }

                onEvent(message);
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(frame.Buffer);
            }
        }

        return null;
    }

    /// <summary>Gives the worker its job. One that ends before it took it says why on its standard error.</summary>
    private static void Tell(Process process, WorkerJob job)
    {
        try
        {
            Frames.Write(process.StandardInput.BaseStream, FrameKind.Message, JsonSerializer.SerializeToUtf8Bytes(job, MessageJson.Default.WorkerJob));
            process.StandardInput.Close();
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
        WorkerEvent? message;
        try
        {
            message = JsonSerializer.Deserialize(json, MessageJson.Default.WorkerEvent);
        }
        catch (NotSupportedException e)
        {
            // No kind of event is named.
            throw new InvalidDataException("what came is no event", e);
        }

        WorkerEvents.Check(message ?? throw new InvalidDataException("an event is empty"));
        return message;
    }

    private static void Keep(StringBuilder errors, string? line)
    {
        lock (errors)
        {
            if (line is not null && errors.Length < MostErrorText)
            {
                errors.Append(line.AsSpan(0, Math.Min(line.Length, MostErrorText - errors.Length))).Append('\n');
            }
        }
    }

    private static void Kill(Process process)
    {
        try
        {
            process.Kill(entireProcessTree: true);
        }
        catch (Exception e) when (e is InvalidOperationException or Win32Exception)
        {
            // It has ended already.
        }
    }
}
