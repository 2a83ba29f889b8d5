using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using Serilog;
using Vmsweep.DiskReaders.Blocks;
using static Vmsweep.DiskReaders.Blocks.Nbd.NbdProtocol;

namespace Vmsweep.Appliance.Connectors.Nbd;

/// <summary>The server's part of the transmission phase: several requests at work at once, answers in the order in which they are ready.</summary>
internal sealed class NbdTransmission(Stream stream, NbdChoice choice)
{
    /// <summary>At work at once on one connection.</summary>
    private const int MostAtWork = 8;

    /// <summary>What is read and sent at once; a longer answer goes in pieces, so that no client decides how much memory is held.</summary>
    private const int PieceBytes = 1 << 20;

    /// <summary>A hole that is shorter is sent as zeros.</summary>
    private const int SmallestHole = 4096;

    private const int MostRuns = 8192;

    private readonly Lock _sending = new();
    private readonly byte[] _header = new byte[28];

    /// <exception cref="IOException">The client broke the protocol or went away.</exception>
    public void Run()
    {
        using var atWork = new SemaphoreSlim(MostAtWork);
        try
        {
            byte[] request = new byte[RequestBytes];
            while (ReadRequest(request))
            {
                ushort flags = BinaryPrimitives.ReadUInt16BigEndian(request.AsSpan(4));
                ushort command = BinaryPrimitives.ReadUInt16BigEndian(request.AsSpan(6));
                ulong cookie = BinaryPrimitives.ReadUInt64BigEndian(request.AsSpan(8));
                long offset = BinaryPrimitives.ReadInt64BigEndian(request.AsSpan(16));
                uint length = BinaryPrimitives.ReadUInt32BigEndian(request.AsSpan(24));
                if (command == CmdDisc)
                {
                    return;
                }

                if (command == 1)
                {
                    // Its payload would have to be read to go on, and who writes to a read-only export is lost anyway.
                    throw new IOException("the client writes");
                }

                atWork.Wait();
                ThreadPool.UnsafeQueueUserWorkItem(
                    _ =>
                    {
                        try
                        {
                            Answer(command, flags, cookie, offset, length);
                        }
                        catch (Exception e) when (e is IOException or ObjectDisposedException)
                        {
                            // The client is gone; the reading side notices too.
                            stream.Dispose();
                        }
                        finally
                        {
                            atWork.Release();
                        }
                    },
                    null);
            }
        }
        finally
        {
            for (int i = 0; i < MostAtWork; i++)
            {
                atWork.Wait();
            }
        }
    }

    private bool ReadRequest(byte[] request)
    {
        int got = stream.ReadAtLeast(request, request.Length, throwOnEndOfStream: false);
        return got == 0 ? false
            : got < request.Length ? throw new IOException("the client went away in the middle of a request")
            : BinaryPrimitives.ReadUInt32BigEndian(request) == RequestMagic ? true
            : throw new IOException("what came is no request");
    }

    private void Answer(ushort command, ushort flags, ulong cookie, long offset, uint length)
    {
        long size = choice.Source.Length;
        if (offset < 0 || offset > size || length > size - offset || length == 0 || (command == CmdRead && length > DefaultMostPayload))
        {
            Fail(cookie, ErrInval, "outside the export, or too long");
            return;
        }

        try
        {
            switch (command)
            {
                case CmdRead when !choice.IsStructured:
                    ReadSimple(cookie, offset, (int)length);
                    break;
                case CmdRead when (flags & CmdFlagDf) != 0 && length > PieceBytes:
                    Fail(cookie, ErrOverflow, "too long for one piece");
                    break;
                case CmdRead:
                    ReadStructured(cookie, offset, length, (flags & CmdFlagDf) != 0);
                    break;
                case CmdBlockStatus when choice.WithAllocation:
                    BlockStatus(cookie, offset, length, (flags & CmdFlagReqOne) != 0);
                    break;
                default:
                    Fail(cookie, ErrInval, "no such command here");
                    break;
            }
        }
        catch (SourceFailedException e)
        {
            Log.Warning("a source that is served over NBD failed at {Offset}: {Reason}", offset, e.Message);
            Fail(cookie, ErrIo, e.Message);
        }
    }

    private void ReadSimple(ulong cookie, long offset, int length)
    {
        // An error can only be said before the content, so that all of it must be had first.
        byte[] buffer = ArrayPool<byte>.Shared.Rent(16 + length);
        try
        {
            Read(offset, buffer.AsSpan(16, length));
            BinaryPrimitives.WriteUInt32BigEndian(buffer, SimpleReplyMagic);
            BinaryPrimitives.WriteUInt32BigEndian(buffer.AsSpan(4), 0);
            BinaryPrimitives.WriteUInt64BigEndian(buffer.AsSpan(8), cookie);
            lock (_sending)
            {
                stream.Write(buffer.AsSpan(0, 16 + length));
                stream.Flush();
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private void ReadStructured(ulong cookie, long offset, uint length, bool inOnePiece)
    {
        long end = offset + length;
        byte[]? buffer = null;
        Span<byte> at = stackalloc byte[12];
        try
        {
            while (offset < end)
            {
                long hole = inOnePiece ? 0 : HoleAt(offset, end - offset);
                if (hole >= SmallestHole || (hole > 0 && hole == end - offset))
                {
                    BinaryPrimitives.WriteInt64BigEndian(at, offset);
                    BinaryPrimitives.WriteUInt32BigEndian(at[8..], (uint)hole);
                    offset += hole;
                    SendChunk(offset == end, ReplyOffsetHole, cookie, at, []);
                    continue;
                }

                // Up to the next hole that is worth one.
                int count = (int)Math.Min(PieceBytes, end - offset);
                for (int next = SmallestHole; !inOnePiece && next < count; next += SmallestHole)
                {
                    long later = HoleAt(offset + next, end - offset - next);
                    if (later >= SmallestHole)
                    {
                        count = next;
                    }
                    else
                    {
                        StoredRun(offset + next, count - next, ref next);
                    }
                }

                buffer ??= ArrayPool<byte>.Shared.Rent((int)Math.Min(PieceBytes, length));
                Read(offset, buffer.AsSpan(0, count));
                BinaryPrimitives.WriteInt64BigEndian(at, offset);
                offset += count;
                SendChunk(offset == end, ReplyOffsetData, cookie, at[..8], buffer.AsSpan(0, count));
            }
        }
        finally
        {
            if (buffer is not null)
            {
                ArrayPool<byte>.Shared.Return(buffer);
            }
        }
    }

    /// <summary>Moves on to the last whole step of the stored run at an offset.</summary>
    private void StoredRun(long offset, int most, ref int next)
    {
        StoredExtent extent = Locate(offset, most);
        if (extent.IsStored)
        {
            next += (int)(extent.Length / SmallestHole * SmallestHole);
        }
    }

    private void BlockStatus(ulong cookie, long offset, uint length, bool one)
    {
        List<(uint Length, uint State)> runs = [];
        long end = offset + length;
        for (long at = offset; at < end;)
        {
            StoredExtent extent = Locate(at, end - at);
            uint state = extent.IsStored ? 0 : StateHole | StateZero;
            if (runs.Count > 0 && runs[^1].State == state)
            {
                runs[^1] = (runs[^1].Length + (uint)extent.Length, state);
            }
            else if (runs.Count == (one ? 1 : MostRuns))
            {
                break;
            }
            else
            {
                runs.Add(((uint)extent.Length, state));
            }

            at += extent.Length;
        }

        byte[] data = new byte[4 + (8 * runs.Count)];
        BinaryPrimitives.WriteUInt32BigEndian(data, NbdNegotiation.AllocationId);
        for (int i = 0; i < runs.Count; i++)
        {
            BinaryPrimitives.WriteUInt32BigEndian(data.AsSpan(4 + (8 * i)), runs[i].Length);
            BinaryPrimitives.WriteUInt32BigEndian(data.AsSpan(8 + (8 * i)), runs[i].State);
        }

        SendChunk(true, ReplyBlockStatus, cookie, data, []);
    }

    private void Fail(ulong cookie, uint error, string why)
    {
        byte[] text = Encoding.UTF8.GetBytes(why.Length > 1000 ? why[..1000] : why);
        if (choice.IsStructured)
        {
            byte[] data = new byte[6 + text.Length];
            BinaryPrimitives.WriteUInt32BigEndian(data, error);
            BinaryPrimitives.WriteUInt16BigEndian(data.AsSpan(4), (ushort)text.Length);
            text.CopyTo(data, 6);
            SendChunk(true, ReplyError, cookie, data, []);
            return;
        }

        byte[] reply = new byte[16];
        BinaryPrimitives.WriteUInt32BigEndian(reply, SimpleReplyMagic);
        BinaryPrimitives.WriteUInt32BigEndian(reply.AsSpan(4), error);
        BinaryPrimitives.WriteUInt64BigEndian(reply.AsSpan(8), cookie);
        lock (_sending)
        {
            stream.Write(reply);
            stream.Flush();
        }
    }

    private void SendChunk(bool isLast, ushort type, ulong cookie, ReadOnlySpan<byte> head, ReadOnlySpan<byte> content)
    {
        lock (_sending)
        {
            BinaryPrimitives.WriteUInt32BigEndian(_header, StructuredReplyMagic);
            BinaryPrimitives.WriteUInt16BigEndian(_header.AsSpan(4), isLast ? ReplyFlagDone : (ushort)0);
            BinaryPrimitives.WriteUInt16BigEndian(_header.AsSpan(6), type);
            BinaryPrimitives.WriteUInt64BigEndian(_header.AsSpan(8), cookie);
            BinaryPrimitives.WriteUInt32BigEndian(_header.AsSpan(16), (uint)(head.Length + content.Length));
            stream.Write(_header.AsSpan(0, 20));
            stream.Write(head);
            stream.Write(content);
            stream.Flush();
        }
    }

    private long HoleAt(long offset, long most)
    {
        try
        {
            return choice.Source.HoleLength(offset, most);
        }
        catch (Exception e) when (e is IOException or DiskFormatException)
        {
            throw new SourceFailedException(e);
        }
    }

    private StoredExtent Locate(long offset, long count)
    {
        try
        {
            return choice.Source.Locate(offset, count);
        }
        catch (Exception e) when (e is IOException or DiskFormatException)
        {
            throw new SourceFailedException(e);
        }
    }

    private void Read(long offset, Span<byte> destination)
    {
        try
        {
            choice.Source.Read(offset, destination);
        }
        catch (Exception e) when (e is IOException or DiskFormatException)
        {
            throw new SourceFailedException(e);
        }
    }

    /// <summary>The source is at fault, and not the client.</summary>
    private sealed class SourceFailedException(Exception fault) : Exception(fault.Message, fault);
}
