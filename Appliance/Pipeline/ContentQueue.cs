using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>
/// Contents between one reader and its consumers, bounded in number and bytes. The reader is the faster of the two: without a bound on bytes the
/// whole budget would wait here, and each content would come from memory that no processor's cache holds any more.
/// </summary>
internal sealed class ContentQueue(int consumers) : IDisposable
{
    private const int MostContents = 1024;
    private const long MostBytesOfConsumer = 8 << 20;

    private readonly Lock _lock = new();
    private readonly SemaphoreSlim _taken = new(0);
    private readonly BlockingCollection<Content> _contents = new(MostContents);
    private long _bytes;

    /// <summary>Takes the content over, once there is room; one may always wait, whatever its size. It is disposed when that fails.</summary>
    public void Add(Content content, CancellationToken stop)
    {
        try
        {
            WaitForRoom(content.Bytes.Length, stop);
            _contents.Add(content, stop);
        }
        catch
        {
            content.Dispose();
            throw;
        }
    }

    public void CompleteAdding() => _contents.CompleteAdding();

    /// <summary>False when nothing came in time, or nothing more will.</summary>
    public bool TryTake([NotNullWhen(true)] out Content? content, int milliseconds, CancellationToken stop)
    {
        if (!_contents.TryTake(out content, milliseconds, stop))
        {
            return false;
        }

        lock (_lock)
        {
            _bytes -= content.Bytes.Length;
        }

        if (_taken.CurrentCount == 0)
        {
            _taken.Release();
        }

        return true;
    }

    /// <summary>Whatever was not taken is disposed.</summary>
    public void Dispose()
    {
        while (_contents.TryTake(out Content? left))
        {
            left.Dispose();
        }

        _contents.Dispose();
        _taken.Dispose();
    }

    private void WaitForRoom(int bytes, CancellationToken stop)
    {
        while (true)
        {
            lock (_lock)
            {
                if (_bytes == 0 || _bytes + bytes <= MostBytesOfConsumer * consumers)
                {
                    _bytes += bytes;
                    return;
                }
            }

            _taken.Wait(stop);
        }
    }
}
