using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace Vmsweep.Signatures.ClamAv;

/// <summary>How one exchange with the daemon ended.</summary>
internal enum ExchangeEnd
{
    /// <summary>There is an answer.</summary>
    Answered,

    /// <summary>No daemon took the connection.</summary>
    Unreachable,

    /// <summary>The daemon took the connection and was gone before it answered.</summary>
    Lost,

    /// <summary>The time was over.</summary>
    Timeout,
}

/// <param name="Text">The answer without its closing zero, or what happened.</param>
internal readonly record struct ExchangeResult(ExchangeEnd End, string Text);

/// <summary>
/// One command to <c>clamd</c> on a connection of its own, as clamd(8) has it: <c>z</c>, the command, a zero; for INSTREAM chunks of a
/// length in four bytes, big-endian, and as many bytes, closed by a length of zero; the answer ends with a zero. One connection for each
/// content keeps contents apart whatever the daemon does, and its queue is the back-pressure.
/// </summary>
internal static class ClamdExchange
{
    private const int ChunkBytes = 256 << 10;
    private const int MostAnswerBytes = 4096;

    /// <summary>How often a wait looks at the clock and the cancellation.</summary>
    private const int StepMicroseconds = 100_000;

    private const int BusyMilliseconds = 20;

    public static ExchangeResult Ask(string path, string command, TimeSpan timeout, CancellationToken cancellation) =>
        Run(path, Encoding.ASCII.GetBytes($"z{command}\0"), hasContent: false, [], Stopwatch.GetTimestamp() + Ticks(timeout), cancellation);

    public static ExchangeResult Scan(string path, ReadOnlySpan<byte> content, TimeSpan timeout, CancellationToken cancellation) =>
        Run(path, ClamdOptions.ScanCommand, hasContent: true, content, Stopwatch.GetTimestamp() + Ticks(timeout), cancellation);

    private static long Ticks(TimeSpan time) => (long)(time.TotalSeconds * Stopwatch.Frequency);

    private static ExchangeResult Run(string path, ReadOnlySpan<byte> command, bool hasContent, ReadOnlySpan<byte> content, long deadline, CancellationToken cancellation)
    {
        try
        {
            if (Connect(path, deadline, cancellation) is not { } socket)
            {
                return new ExchangeResult(ExchangeEnd.Timeout, "clamd is too busy to take a connection");
            }

            using (socket)
            {
                // Whoever does not take all of a content says why, and then closes: that answer counts.
                bool isInTime = Send(socket, command, deadline, cancellation) != SendEnd.Late
                    && (!hasContent || SendContent(socket, content, deadline, cancellation));
                return isInTime ? Receive(socket, deadline, cancellation) : new ExchangeResult(ExchangeEnd.Timeout, "clamd does not take the content");
            }
        }
        catch (SocketException e)
        {
            return new ExchangeResult(ExchangeEnd.Unreachable, File.Exists(path) ? e.Message : "there is no such socket");
        }
    }

    /// <summary>Null when the daemon's queue of connections stays full. A socket that does not block is refused while it is.</summary>
    private static Socket? Connect(string path, long deadline, CancellationToken cancellation)
    {
        while (true)
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { Blocking = false };
            try
            {
                socket.Connect(new UnixDomainSocketEndPoint(path));
                return socket;
            }
            catch (SocketException e) when (e.SocketErrorCode is SocketError.WouldBlock or SocketError.TryAgain)
            {
                socket.Dispose();
            }
            catch
            {
                socket.Dispose();
                throw;
            }

            if (Stopwatch.GetTimestamp() >= deadline)
            {
                return null;
            }

            cancellation.WaitHandle.WaitOne(BusyMilliseconds);
            cancellation.ThrowIfCancellationRequested();
        }
    }

    private enum SendEnd
    {
        Sent,

        /// <summary>The other side has closed, or has answered already: what it said is to be read.</summary>
        Stopped,

        Late,
    }

    private static bool SendContent(Socket socket, ReadOnlySpan<byte> content, long deadline, CancellationToken cancellation)
    {
        Span<byte> length = stackalloc byte[4];
        while (true)
        {
            ReadOnlySpan<byte> chunk = content[..Math.Min(content.Length, ChunkBytes)];
            content = content[chunk.Length..];
            BinaryPrimitives.WriteInt32BigEndian(length, chunk.Length);
            SendEnd end = Send(socket, length, deadline, cancellation);
            end = end == SendEnd.Sent ? Send(socket, chunk, deadline, cancellation) : end;
            if (end != SendEnd.Sent || chunk.IsEmpty)
            {
                return end != SendEnd.Late;
            }
        }
    }

    private static SendEnd Send(Socket socket, ReadOnlySpan<byte> bytes, long deadline, CancellationToken cancellation)
    {
        while (!bytes.IsEmpty)
        {
            int sent = socket.Send(bytes, SocketFlags.None, out SocketError error);
            if (error == SocketError.Success)
            {
                bytes = bytes[sent..];
                continue;
            }

            if (error != SocketError.WouldBlock || socket.Poll(0, SelectMode.SelectRead))
            {
                return SendEnd.Stopped;
            }

            if (!IsInTime(deadline, cancellation))
            {
                return SendEnd.Late;
            }

            socket.Poll(StepMicroseconds, SelectMode.SelectWrite);
        }

        return SendEnd.Sent;
    }

    private static ExchangeResult Receive(Socket socket, long deadline, CancellationToken cancellation)
    {
        byte[] answer = new byte[MostAnswerBytes];
        int length = 0;
        while (true)
        {
            int got = socket.Receive(answer.AsSpan(length), SocketFlags.None, out SocketError error);
            if (error == SocketError.WouldBlock)
            {
                if (!IsInTime(deadline, cancellation))
                {
                    return new ExchangeResult(ExchangeEnd.Timeout, "clamd does not answer");
                }

                socket.Poll(StepMicroseconds, SelectMode.SelectRead);
                continue;
            }

            if (error != SocketError.Success || got == 0)
            {
                // An answer that was cut off is none: its lost end may say that something was found.
                return new ExchangeResult(ExchangeEnd.Lost, error is SocketError.Success ? "clamd closed the connection without an answer" : string.Create(CultureInfo.InvariantCulture, $"the connection broke ({error})"));
            }

            int end = answer.AsSpan(length, got).IndexOf((byte)0);
            length += got;
            if (end >= 0)
            {
                string text = Encoding.UTF8.GetString(answer, 0, length - got + end);
                return text.StartsWith(ClamdOptions.UnreachablePrefix, StringComparison.Ordinal)
                    ? new ExchangeResult(ExchangeEnd.Unreachable, text[ClamdOptions.UnreachablePrefix.Length..])
                    : new ExchangeResult(ExchangeEnd.Answered, text);
            }

            if (length == answer.Length)
            {
                return new ExchangeResult(ExchangeEnd.Answered, "");
            }
        }
    }

    private static bool IsInTime(long deadline, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        return Stopwatch.GetTimestamp() < deadline;
    }
}
