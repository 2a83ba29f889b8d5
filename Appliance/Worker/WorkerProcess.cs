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

/// <summary>The supervisor's side of one worker: starts it, feeds it its job, takes its events, and survives any end of it.</summary>
internal sealed class WorkerProcess(Sandbox sandbox, TimeSpan silence)
{
    /// <summary>How much of a worker's last words is kept.</summary>
    private const int MostErrorText = 4096;

    /// <param name="job">What to do.</param>
    /// <param name="binds">What it may read.</param>
    /// <param name="onEvent">Called on this thread, in order.</param>
    /// <param name="onData">Called on this thread with raw content; null when the job gives none.</param>
    /// <param name="cancellation">Kills the worker.</param>
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
            process = Process.Start(sandbox.WorkerStart(binds, job.Limits.HeapBytes))!;
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
                Frames.Write(process.StandardInput.BaseStream, FrameKind.Message, JsonSerializer.SerializeToUtf8Bytes(job, MessageJson.Default.WorkerJob));
                process.StandardInput.Close();
                said = Listen(process.StandardOutput.BaseStream, onEvent, onData, () => watchdog.Change(silence, Timeout.InfiniteTimeSpan));
            }
            catch (Exception e) when (e is InvalidDataException or JsonException or IOException { InnerException: null or System.Net.Sockets.SocketException })
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
        while (Frames.Read(pipe) is { } frame)
        {
            try
            {
                if (frame.Kind == FrameKind.Data)
                {
                    onData?.Invoke(frame.Buffer.AsSpan(0, frame.Length));
                    onLife();
                    continue;
                }

                WorkerEvent message = JsonSerializer.Deserialize(frame.Buffer.AsSpan(0, frame.Length), MessageJson.Default.WorkerEvent)
                    ?? throw new InvalidDataException("an event is empty");
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
