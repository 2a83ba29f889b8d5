namespace Vmsweep.Signatures.Archives.Formats;

/// <summary>Memory for what a reader keeps of an archive's directory, reserved as it grows: a few bytes may declare an entry that takes hundreds.</summary>
internal sealed class TableMemory(IMemberSink sink, string structure) : IDisposable
{
    private const long StepBytes = 1 << 20;

    private readonly List<IDisposable> _reserved = [];
    private long _left;

    /// <exception cref="ArchiveException">It is over the limit.</exception>
    public void Add(long bytes)
    {
        _left -= bytes;
        if (_left < 0)
        {
            sink.Tick();
            long more = Math.Max(StepBytes, -_left);
            _reserved.Add(sink.Reserve(more, structure));
            _left += more;
        }
    }

    public void Dispose() => _reserved.ForEach(r => r.Dispose());
}
