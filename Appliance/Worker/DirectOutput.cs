using System.ComponentModel;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Worker;

/// <summary>Where content that a user asked for goes, in order.</summary>
internal interface IContentOutput
{
    /// <exception cref="OutputException">It cannot be written.</exception>
    void Write(ReadOnlySpan<byte> bytes);

    /// <summary>Zeros that are stored nowhere.</summary>
    /// <exception cref="OutputException">It cannot be written.</exception>
    void WriteZeros(long count);

    /// <summary>Everything was written.</summary>
    void Finish();
}

/// <summary>Content as frames to the supervisor, which writes it where it belongs.</summary>
internal sealed class FrameOutput(EventWriter writer) : IContentOutput
{
    public void Write(ReadOnlySpan<byte> bytes) => writer.SendData(bytes);

    public void WriteZeros(long count) => Zeros.Write(count, Write);

    public void Finish()
    {
    }
}

/// <summary>
/// The user's own standard output, which this process was given: content takes no way through the supervisor. Where it is a regular
/// file that grows, zeros that are stored nowhere are left out of it, as <c>cp --sparse</c> does.
/// </summary>
internal sealed partial class DirectOutput : IContentOutput
{
    private const int Output = 1;
    private const int GetFlags = 3;
    private const int SetPipeSize = 1031;
    private const int Append = 0x400;
    private const int FromCurrent = 1;
    private const int FromEnd = 2;
    private const int Interrupted = 4;

    /// <summary>What an unprivileged process may ask for; 64 KiB by default.</summary>
    private const int PipeBytes = 1 << 20;

    /// <summary>The kernel itself ends a little below 2 GiB.</summary>
    private const int MostSent = 1 << 30;

    /// <summary>A hole takes at least a block of its file.</summary>
    private const int SmallestHole = 4096;

    private readonly bool _isSparse;
    private long _skipped;
    private bool _cannotSend;
    private volatile bool _isWriting;

    public DirectOutput()
    {
        _ = FileControl(Output, SetPipeSize, PipeBytes);

        // Only a file that ends where writing begins may be left with holes: what stands there already would show through them.
        long at = LSeek(Output, 0, FromCurrent);
        _isSparse = at >= 0 && (FileControl(Output, GetFlags, 0) & Append) == 0 && LSeek(Output, 0, FromEnd) == at && FTruncate(Output, at) == 0;
        if (at >= 0 && !_isSparse)
        {
            _ = LSeek(Output, at, 0);
        }
    }

    /// <summary>True while somebody is slow to take what is written: that is no hang.</summary>
    public bool IsWriting => _isWriting;

    /// <summary>
    /// Has the kernel copy bytes of a file, and answers how many it did. Where it cannot, or fails, none: who reads and writes them learns
    /// whether it was the one or the other.
    /// </summary>
    public long Send(FileRange range)
    {
        Skip();
        long sent = 0;
        _isWriting = true;
        while (sent < range.Length && !_cannotSend)
        {
            long at = range.Offset + sent;
            nint now = SendFile(Output, range.File, ref at, (nuint)Math.Min(range.Length - sent, MostSent));
            _cannotSend = now < 0 && Marshal.GetLastPInvokeError() != Interrupted;
            if (now == 0)
            {
                break;
            }

            sent += Math.Max(0, now);
        }

        _isWriting = false;
        return sent;
    }

    public void Write(ReadOnlySpan<byte> bytes)
    {
        Skip();
        _isWriting = true;
        while (!bytes.IsEmpty)
        {
            nint written = WriteTo(Output, bytes, (nuint)bytes.Length);
            if (written < 0 && Marshal.GetLastPInvokeError() == Interrupted)
            {
                continue;
            }

            bytes = bytes[(int)Check(written)..];
        }

        _isWriting = false;
    }

    public void WriteZeros(long count)
    {
        if (_isSparse && count >= SmallestHole)
        {
            _skipped += count;
        }
        else
        {
            Zeros.Write(count, Write);
        }
    }

    public void Finish()
    {
        if (_skipped > 0)
        {
            long end = Check(LSeek(Output, _skipped, FromCurrent));
            Check(FTruncate(Output, end));
        }
    }

    private void Skip()
    {
        if (_skipped > 0)
        {
            Check(LSeek(Output, _skipped, FromCurrent));
            _skipped = 0;
        }
    }

    private static long Check(nint answer) => answer >= 0 ? answer : throw new OutputException(Marshal.GetLastPInvokeError());

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint WriteTo(int file, ReadOnlySpan<byte> bytes, nuint count);

    [LibraryImport("libc", EntryPoint = "sendfile", SetLastError = true)]
    private static partial nint SendFile(int to, SafeFileHandle from, ref long offset, nuint count);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    private static partial nint LSeek(int file, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    private static partial int FTruncate(int file, long length);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int FileControl(int file, int command, int argument);
}

/// <summary>Content cannot be written where the user wants it.</summary>
internal sealed class OutputException(int error) : Exception("standard output: " + new Win32Exception(error).Message)
{
    private const int BrokenPipe = 32;

    /// <summary>Nobody reads it any more.</summary>
    public bool IsReaderGone => error == BrokenPipe;
}

internal static class Zeros
{
    private static readonly byte[] Bytes = new byte[256 << 10];

    public static void Write(long count, Action<ReadOnlySpan<byte>> write)
    {
        for (; count > 0; count -= Bytes.Length)
        {
            write(Bytes.AsSpan(0, (int)Math.Min(count, Bytes.Length)));
        }
    }
}
