using System.Buffers;
using System.Buffers.Binary;

namespace Vmsweep.Appliance.Worker;

/// <summary>What a frame carries.</summary>
internal enum FrameKind : byte
{
    /// <summary>A job or an event as JSON.</summary>
    Message = 1,

    /// <summary>Raw content: guest bytes or a compiled bundle.</summary>
    Data = 2,
}

/// <summary>Frames on a pipe: u32 little-endian length of the payload, u8 kind, payload.</summary>
internal static class Frames
{
    /// <summary>A longer frame is not ours: the peer is broken or hostile.</summary>
    public const int MostBytes = 16 << 20;

    private const int HeaderBytes = 5;

    public static void Write(Stream pipe, FrameKind kind, ReadOnlySpan<byte> payload)
    {
        Span<byte> header = stackalloc byte[HeaderBytes];
        BinaryPrimitives.WriteInt32LittleEndian(header, payload.Length);
        header[4] = (byte)kind;
        if (payload.Length > 64 << 10)
        {
            pipe.Write(header);
            pipe.Write(payload);
            return;
        }

        // Small frames go out whole, so that a reader is woken once.
        byte[] whole = ArrayPool<byte>.Shared.Rent(HeaderBytes + payload.Length);
        header.CopyTo(whole);
        payload.CopyTo(whole.AsSpan(HeaderBytes));
        pipe.Write(whole, 0, HeaderBytes + payload.Length);
        ArrayPool<byte>.Shared.Return(whole);
    }

    /// <summary>The next frame's payload in a buffer rented from the shared pool, or null at the end of the pipe.</summary>
    /// <exception cref="NoFrameException">What came is no frame.</exception>
    /// <exception cref="InvalidDataException">A frame was cut short.</exception>
    public static (FrameKind Kind, byte[] Buffer, int Length)? Read(Stream pipe)
    {
        Span<byte> header = stackalloc byte[HeaderBytes];
        int got = pipe.ReadAtLeast(header, HeaderBytes, throwOnEndOfStream: false);
        if (got == 0)
        {
            return null;
        }

        int length = got == HeaderBytes ? BinaryPrimitives.ReadInt32LittleEndian(header) : -1;
        var kind = (FrameKind)header[4];
        if (length is < 0 or > MostBytes || kind is not (FrameKind.Message or FrameKind.Data))
        {
            throw new NoFrameException(header[..got].ToArray());
        }

        byte[] buffer = ArrayPool<byte>.Shared.Rent(length);
        if (pipe.ReadAtLeast(buffer.AsSpan(0, length), length, throwOnEndOfStream: false) < length)
        {
            ArrayPool<byte>.Shared.Return(buffer);
            throw new InvalidDataException("a frame was cut short");
        }

        return (kind, buffer, length);
    }
}

/// <summary>What came is no frame.</summary>
/// <param name="found">The bytes in its place.</param>
internal sealed class NoFrameException(byte[] found) : Exception("what came is no frame")
{
    public byte[] Found { get; } = found;
}
