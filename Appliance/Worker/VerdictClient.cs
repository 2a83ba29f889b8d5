using System.Buffers;
using System.Buffers.Binary;
using System.Collections.Concurrent;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Results;

namespace Vmsweep.Appliance.Worker;

/// <summary>
/// A worker's way to remembered verdicts: it asks on its pipe of events for some dozen contents at once, goes on, and finds the answers on
/// its standard input. A snapshot of all verdicts bound into the sandbox would spare the asking, but would have to be written for each run
/// (of 50 million verdicts some gigabytes), would show every worker all that is known of other tenants' contents, and would not know what
/// another worker has just found out. A question of 64 contents costs the supervisor a millisecond while the worker hashes the next ones.
/// </summary>
internal sealed class VerdictClient : IVerdictMemory
{
    private const int VerdictsInMessage = 128;
    private const int BytesInMessage = 1 << 20;

    private readonly EventWriter _writer;
    private readonly Stream _answers;
    private readonly Lock _lock = new();
    private readonly Lock _asking = new();
    private readonly ConcurrentQueue<Question> _open = new();
    private List<KeptVerdict> _kept = [];
    private int _keptBytes;
    private volatile bool _isClosed;

    public VerdictClient(EventWriter writer, Stream answers)
    {
        _writer = writer;
        _answers = answers;
        new Thread(Listen) { IsBackground = true, Name = "answers" }.Start();
    }

    public Func<KnownVerdict[]> Ask(IReadOnlyList<ContentKey> keys, CancellationToken cancellation)
    {
        byte[] bytes = new byte[keys.Count * ContentKey.Bytes];
        for (int i = 0; i < keys.Count; i++)
        {
            keys[i].Write(bytes.AsSpan(i * ContentKey.Bytes));
        }

        var question = new Question(keys.Count);
        lock (_asking)
        {
            // In line before it is asked, and both under one lock: answers come in the order of asking. Whoever listens takes no lock, so
            // that answers are taken whatever this waits for.
            _open.Enqueue(question);
            if (!_isClosed)
            {
                _writer.Send(new AskEvent(bytes));
            }
        }

        if (_isClosed)
        {
            GiveUp();
        }

        return () => question.Wait(cancellation);
    }

    public void Keep(ContentKey key, byte[] payload, bool hangsOnHashLists)
    {
        byte[] bytes = new byte[ContentKey.Bytes];
        key.Write(bytes);
        List<KeptVerdict>? full = null;
        lock (_lock)
        {
            _kept.Add(new KeptVerdict(bytes, payload, hangsOnHashLists));
            _keptBytes += payload.Length;
            if (_kept.Count >= VerdictsInMessage || _keptBytes >= BytesInMessage)
            {
                (full, _kept, _keptBytes) = (_kept, [], 0);
            }
        }

        Send(full);
    }

    /// <summary>Hands on what was kept until now.</summary>
    public void Flush()
    {
        List<KeptVerdict> rest;
        lock (_lock)
        {
            (rest, _kept, _keptBytes) = (_kept, [], 0);
        }

        Send(rest);
    }

    /// <summary>An answer: for each key u32 plan (-1: nothing known), u32 length and the payload; little-endian.</summary>
    public static byte[] Encode(IReadOnlyList<KnownVerdict> verdicts)
    {
        byte[] bytes = new byte[verdicts.Sum(v => 8 + v.Payload.Length)];
        int at = 0;
        foreach (KnownVerdict verdict in verdicts)
        {
            BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(at), verdict.Plan);
            BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(at + 4), verdict.Payload.Length);
            verdict.Payload.CopyTo(bytes.AsSpan(at + 8));
            at += 8 + verdict.Payload.Length;
        }

        return bytes;
    }

    /// <exception cref="InvalidDataException">It is no answer to so many keys.</exception>
    public static KnownVerdict[] Decode(ReadOnlySpan<byte> bytes, int keys)
    {
        var verdicts = new KnownVerdict[keys];
        for (int i = 0; i < keys; i++)
        {
            int length = bytes.Length < 8 ? -1 : BinaryPrimitives.ReadInt32LittleEndian(bytes[4..]);
            if (length < 0 || length > bytes.Length - 8)
            {
                throw new InvalidDataException("an answer is cut short");
            }

            verdicts[i] = new KnownVerdict(BinaryPrimitives.ReadInt32LittleEndian(bytes), bytes.Slice(8, length).ToArray());
            bytes = bytes[(8 + length)..];
        }

        return bytes.IsEmpty ? verdicts : throw new InvalidDataException("an answer is too long");
    }

    private void Send(List<KeptVerdict>? verdicts)
    {
        if (verdicts is { Count: > 0 })
        {
            _writer.Send(new KeepEvent(verdicts));
        }
    }

    private void Listen()
    {
        try
        {
            while (Frames.Read(_answers) is { } frame)
            {
                KnownVerdict[] verdicts = _open.TryPeek(out Question? next)
                    ? Decode(frame.Buffer.AsSpan(0, frame.Length), next.Keys)
                    : throw new InvalidDataException("an answer to nothing");
                ArrayPool<byte>.Shared.Return(frame.Buffer);
                _open.TryDequeue(out _);
                next.Answer(verdicts);
            }
        }
        catch (Exception e) when (e is IOException or InvalidDataException or NoFrameException or ObjectDisposedException)
        {
            // Without answers everything is matched, which is slower and as right.
        }

        _isClosed = true;
        GiveUp();
    }

    private void GiveUp()
    {
        while (_open.TryDequeue(out Question? left))
        {
            left.Answer([.. Enumerable.Repeat(KnownVerdict.None, left.Keys)]);
        }
    }

    private sealed class Question(int keys)
    {
        private readonly TaskCompletionSource<KnownVerdict[]> _answer = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int Keys => keys;

        public void Answer(KnownVerdict[] verdicts) => _answer.TrySetResult(verdicts);

        public KnownVerdict[] Wait(CancellationToken cancellation)
        {
            _answer.Task.Wait(cancellation);
            return _answer.Task.GetAwaiter().GetResult();
        }
    }
}
