using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors.Configuration;

namespace Vmsweep.Appliance.Connectors.Views;

/// <summary>Fills some of a buffer; 0 at the end.</summary>
internal delegate int ReadSome(Span<byte> buffer);

/// <summary>
/// Disks that come as streams are written down before they are scanned, because a stream has no ranges: all of one VM together within what the operator
/// allows for it, and never for longer than a view may stay.
/// </summary>
internal sealed class StreamSpool(ConnectorSettings settings)
{
    private const int BufferBytes = 1 << 20;

    /// <summary>Zeros of this many bytes at a multiple of it are left out of a sparse file.</summary>
    private const int HoleBytes = 64 << 10;

    private long _used;

    /// <summary>Writes a stream into a new file.</summary>
    /// <param name="isSparse">What is zeros is left out, and takes nothing of what is allowed.</param>
    /// <param name="mostBytes">Longer it must not become; -1: not known.</param>
    /// <param name="between">Called again and again meanwhile.</param>
    /// <returns>Its length.</returns>
    /// <exception cref="IOException">It is too long, takes too long, or breaks off.</exception>
    public long Write(string path, ReadSome next, bool isSparse, long mostBytes, Action between)
    {
        byte[] buffer = new byte[BufferBytes];
        using FileStream file = new(path, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite });
        long got = 0;
        long started = Environment.TickCount64;
        while (next(buffer) is > 0 and var count)
        {
            if (mostBytes >= 0 && count > mostBytes - got)
            {
                throw new IOException($"the stream is longer than the disk, which has {mostBytes} bytes");
            }

            if (Environment.TickCount64 - started > settings.MaximumAge.TotalMilliseconds)
            {
                throw new IOException($"the stream takes longer than {settings.MaximumAge.TotalHours} hours (\"maximumHours\")");
            }

            for (int at = 0; at < count;)
            {
                int piece = isSparse ? (int)Math.Min(count - at, HoleBytes - ((got + at) % HoleBytes)) : count;
                Put(file, buffer.AsSpan(at, piece), isSparse);
                at += piece;
            }

            got += count;
            between();
        }

        file.SetLength(got);
        return got;
    }

    private void Put(FileStream file, ReadOnlySpan<byte> bytes, bool isSparse)
    {
        if (isSparse && !bytes.ContainsAnyExcept((byte)0))
        {
            file.Seek(bytes.Length, SeekOrigin.Current);
            return;
        }

        if ((_used += bytes.Length) > settings.SpoolBytes)
        {
            throw new IOException($"the streams take more than {Sizes.Show(settings.SpoolBytes)} (\"spoolSize\")");
        }

        file.Write(bytes);
    }
}
