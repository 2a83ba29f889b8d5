using System.Diagnostics;
using System.Runtime.ExceptionServices;
using Vmsweep.Signatures.Archives.Formats;

namespace Vmsweep.Signatures.Archives;

/// <summary>
/// Opens everything inside of one content, under budgets. Here is the one boundary behind which a reader, ours or a library's, may throw what it
/// likes: it becomes a gap of the member or archive. Belongs to one thread.
/// </summary>
public sealed class ArchiveWalk : IMemberSink
{
    private const int StepBytes = 64 << 10;

    /// <summary>A hostile archive must not fill the report.</summary>
    private const int MostGaps = 100;

    private const int MostNameLength = 512;

    private readonly ArchiveLimits _limits;
    private readonly ArchiveFormats _formats;
    private readonly MemberLease _lease;
    private readonly IMemberConsumer _consumer;
    private readonly Action _onStep;
    private readonly CancellationToken _cancellation;
    private readonly Stopwatch _clock = new();
    private readonly List<string> _inside = [];
    private string _format = "";
    private long _bytesAllowed;
    private bool _isRatioLower;
    private int _gaps;
    private bool _saidDepth;

    private ArchiveWalk(
        ArchiveLimits limits, ArchiveFormats formats, MemberLease lease, IMemberConsumer consumer, Action onStep, CancellationToken cancellation)
    {
        _limits = limits;
        _formats = formats;
        _lease = lease;
        _consumer = consumer;
        _onStep = onStep;
        _cancellation = cancellation;
    }

    IReadOnlyList<string> IMemberSink.Passwords => _limits.Passwords;

    /// <summary>Members seen so far, and those that were taken for known.</summary>
    public int Members { get; private set; }

    /// <summary>Bytes of these members.</summary>
    public long Bytes { get; private set; }

    /// <summary>A budget ended the walk or kept it from opening something: what was found is not all that could be under other budgets.</summary>
    public bool IsCut { get; private set; }

    /// <summary>The time was over; another run may come further.</summary>
    public bool IsLate { get; private set; }

    /// <summary>How deep the member lies that is read now; 0 for the content itself.</summary>
    public int Depth => _inside.Count;

    /// <summary>What the member that is being delivered was in: the format's name, and <c>:</c> and how it was packed where that is uncommon.</summary>
    public string Way { get; private set; } = "";

    /// <summary>Opens what is inside of a content.</summary>
    /// <param name="content">The content, which was matched itself.</param>
    /// <param name="limits">Budgets.</param>
    /// <param name="formats">What is opened.</param>
    /// <param name="memory">Shared by all threads.</param>
    /// <param name="createConsumer">Makes what takes members and gaps; its exceptions come out unchanged.</param>
    /// <param name="onStep">Called as work is done.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>The finished walk.</returns>
    public static unsafe ArchiveWalk Open(
        ReadOnlySpan<byte> content,
        ArchiveLimits limits,
        ArchiveFormats formats,
        MemberMemory memory,
        Func<ArchiveWalk, IMemberConsumer> createConsumer,
        Action onStep,
        CancellationToken cancellation)
    {
        var late = new LateConsumer();
        ArchiveWalk? walk = null;
        using MemberLease lease = memory.Open(isWaiting => walk!.Wait(isWaiting), cancellation);
        walk = new ArchiveWalk(limits, formats, lease, late, onStep, cancellation);
        late.Consumer = createConsumer(walk);
        fixed (byte* bytes = content)
        {
            walk.Run(new BorrowedBytes(bytes, content.Length).Memory);
        }

        return walk;
    }

    /// <summary>Counts what is inside of a member that is known, as if it had been opened: budgets must not depend on what was met before.</summary>
    /// <returns>False when that is over a budget, so that it must be opened.</returns>
    public bool TryCharge(int members, long bytes, int depth)
    {
        if (members > _limits.Members - Members || bytes > _bytesAllowed - Bytes || Depth + depth > _limits.Depth)
        {
            return false;
        }

        Members += members;
        Bytes += bytes;
        return true;
    }

    void IMemberSink.Tick() => Step();

    void IMemberSink.Stored(string name, ReadOnlyMemory<byte> content, string packing)
    {
        Enter(name);
        Count(content.Length);
        Deliver(content, isPartial: false, packing);
        Leave();
    }

    void IMemberSink.Packed(string name, long sizeBytes, Func<Stream> open, bool canReopen, string packing)
    {
        Enter(name);
        using MemberBuffer buffer = new(_lease);
        bool isPartial = !Guard(() =>
        {
            using Stream stream = open();
            Fill(buffer, stream, sizeBytes);
        });
        bool isTooLarge = isPartial && buffer.Length > 0 && _lease.LeftBytes == 0;
        if (isTooLarge && canReopen && TarFormat.IsTar(buffer.Content.Span))
        {
            // A packed tar may be larger than memory by far; its members need not be. They are read as it is unpacked once more.
            buffer.Free();
            string outer = _format;
            Guard(() =>
            {
                using Stream stream = open();
                _format = "tar";
                TarFormat.Read(new StepStream(this, stream), this);
            });
            _format = outer;
        }
        else if (buffer.Length > 0 || !isPartial)
        {
            Deliver(buffer.Content, isPartial, packing);
        }

        Leave();
    }

    void IMemberSink.Gap(ArchiveFault fault, string structure, long offset, long bytes, string detail, string? member) =>
        Gap(fault, structure, offset, bytes, detail, member);

    IDisposable IMemberSink.Reserve(long bytes, string structure) =>
        _lease.TryTake(bytes)
            ? new Reserved(_lease, bytes)
            : throw new ArchiveException(ArchiveFault.Limit, structure, -1, $"it needs {bytes} bytes of memory to be unpacked, over what is left for members ({_lease.LeftBytes})");

    private void Run(ReadOnlyMemory<byte> content)
    {
        long byRatio = Math.Max(ArchiveLimits.FreeBytes, content.Length > long.MaxValue / _limits.Ratio ? long.MaxValue : (long)content.Length * _limits.Ratio);
        _isRatioLower = byRatio < _limits.Bytes;
        _bytesAllowed = Math.Min(byRatio, _limits.Bytes);
        _clock.Start();
        try
        {
            OpenInner(content);
        }
        catch (ArchiveBudgetException e)
        {
            IsCut = true;
            IsLate |= e.Fault == ArchiveFault.Timeout;
            // Always said, however many gaps there are: it is the one that ends the walk.
            Tell(() => _consumer.OnGap(_inside, e.Fault, e.Structure, -1, 0, e.Message));
        }
        catch (ConsumerException e)
        {
            e.Inner.Throw();
        }
    }

    private void OpenInner(ReadOnlyMemory<byte> content)
    {
        foreach (IArchiveFormat format in _formats.Asked(content.Span))
        {
            if (!format.Fits(content.Span))
            {
                continue;
            }

            if (Depth >= _limits.Depth)
            {
                IsCut = true;
                if (!_saidDepth)
                {
                    _saidDepth = true;
                    Gap(ArchiveFault.Limit, "archive depth", 0, content.Length, $"archives are opened down to depth {_limits.Depth}; this {format.Name}, and others as deep, were matched but not opened", null);
                }

                return;
            }

            int depth = Depth;
            string outer = _format;
            _format = format.Name;
            Guard(() => format.Read(content, this));
            _format = outer;
            Debug.Assert(Depth == depth, "every member that was entered was left");
        }
    }

    private void Fill(MemberBuffer buffer, Stream stream, long declaredBytes)
    {
        while (true)
        {
            Step();
            Span<byte> room = buffer.Room(declaredBytes);
            if (room.IsEmpty)
            {
                // Whether the member ends exactly here is not worth another byte of memory.
                IsCut = true;
                throw new ArchiveException(ArchiveFault.Limit, "member", buffer.Length, $"the member is over the memory that is left for members; its first {buffer.Length} bytes are matched");
            }

            int read = stream.Read(room[..Math.Min(room.Length, StepBytes)]);
            if (read <= 0)
            {
                return;
            }

            buffer.Advance(read);
            CountBytes(read);
        }
    }

    private void Deliver(ReadOnlyMemory<byte> content, bool isPartial, string packing)
    {
        bool isOpened = true;
        Way = packing.Length == 0 ? _format : $"{_format}:{packing}";
        _clock.Stop();
        Tell(() => isOpened = _consumer.OnMember(_inside, content.Span, isPartial));
        _clock.Start();
        if (isOpened)
        {
            OpenInner(content);
        }

        Tell(_consumer.OnLeave);
    }

    private void Enter(string name)
    {
        _inside.Add(name.Length <= MostNameLength ? name : name[..MostNameLength] + "…");
        if (Members >= _limits.Members)
        {
            throw new ArchiveBudgetException(ArchiveFault.Limit, "archive members", $"more than {_limits.Members} members; the rest was not read");
        }

        Members++;
        Step();
    }

    private void Leave() => _inside.RemoveAt(_inside.Count - 1);

    private void Count(long bytes)
    {
        CountBytes(bytes);
        Step();
    }

    private void CountBytes(long bytes)
    {
        Bytes += bytes;
        if (Bytes > _bytesAllowed)
        {
            throw _isRatioLower
                ? new ArchiveBudgetException(ArchiveFault.Limit, "archive ratio", $"its members are more than {_bytesAllowed} bytes, over {_limits.Ratio} times the content; the rest was not read")
                : new ArchiveBudgetException(ArchiveFault.Limit, "archive bytes", $"its members are more than {_limits.Bytes} bytes; the rest was not read");
        }
    }

    private void Step()
    {
        _cancellation.ThrowIfCancellationRequested();
        _onStep();
        if (_clock.Elapsed > _limits.Time)
        {
            throw new ArchiveBudgetException(ArchiveFault.Timeout, "archive time", $"unpacking took longer than {_limits.Time.TotalSeconds:0.###} s; the rest was not read");
        }
    }

    /// <summary>Another content's members have the memory: that is not this one's time.</summary>
    private void Wait(bool isWaiting)
    {
        _onStep();
        if (isWaiting)
        {
            _clock.Stop();
        }
        else
        {
            _clock.Start();
        }
    }

    private void Gap(ArchiveFault fault, string structure, long offset, long bytes, string detail, string? member)
    {
        _gaps++;
        if (_gaps > MostGaps + 1)
        {
            return;
        }

        if (_gaps == MostGaps + 1)
        {
            (fault, structure, offset, bytes, detail) = (ArchiveFault.Limit, "gaps", -1, 0, $"more than {MostGaps} gaps in one content; no more are listed");
        }

        string[] inside = member is null ? [.. _inside] : [.. _inside, member];
        Tell(() => _consumer.OnGap(inside, fault, structure, offset, bytes, detail));
    }

    /// <summary>Runs a reader. Whatever it throws, because of the bytes that it was given, is a gap here.</summary>
    private bool Guard(Action read)
    {
        int depth = Depth;
        try
        {
            read();
            return true;
        }
        catch (ArchiveException e)
        {
            Cut(depth);
            Gap(e.Fault, e.Structure, e.Offset, 0, e.Detail, null);
        }
        catch (Exception e) when (e is not (ArchiveBudgetException or ConsumerException or OperationCanceledException))
        {
            // Libraries that read formats throw whatever their arithmetic leads to. Memory is reserved before they run, so what is
            // "out of memory" here is an array longer than any can be.
            Cut(depth);
            (ArchiveFault fault, string detail) = LibraryFaults.Of(e);
            Gap(fault, "archive", -1, 0, detail, null);
        }

        return false;

        void Cut(int kept) => _inside.RemoveRange(kept, _inside.Count - kept);
    }

    private void Tell(Action call)
    {
        bool wasRunning = _clock.IsRunning;
        try
        {
            call();
        }
        catch (OperationCanceledException)
        {
            throw;
        }
        catch (Exception e)
        {
            throw new ConsumerException(ExceptionDispatchInfo.Capture(e));
        }

        if (wasRunning)
        {
            _clock.Start();
        }
    }

    /// <summary>A consumer's failure on its way through the readers, which are not to blame for it.</summary>
    private sealed class ConsumerException(ExceptionDispatchInfo inner) : Exception
    {
        public ExceptionDispatchInfo Inner { get; } = inner;
    }

    private sealed class Reserved(MemberLease lease, long bytes) : IDisposable
    {
        private long _bytes = bytes;

        public void Dispose() => lease.Give(Interlocked.Exchange(ref _bytes, 0));
    }

    /// <summary>Lets the consumer know the walk and the walk the consumer.</summary>
    private sealed class LateConsumer : IMemberConsumer
    {
        public IMemberConsumer? Consumer { get; set; }

        public bool OnMember(IReadOnlyList<string> inside, ReadOnlySpan<byte> content, bool isPartial) => Consumer!.OnMember(inside, content, isPartial);

        public void OnLeave() => Consumer!.OnLeave();

        public void OnGap(IReadOnlyList<string> inside, ArchiveFault fault, string part, long offset, long bytes, string detail) =>
            Consumer!.OnGap(inside, fault, part, offset, bytes, detail);
    }

    /// <summary>A stream whose every read is a step.</summary>
    private sealed class StepStream(ArchiveWalk walk, Stream inner) : Decoders.ReadOnlyStream
    {
        public override int Read(Span<byte> buffer)
        {
            walk.Step();
            return inner.Read(buffer);
        }
    }
}
