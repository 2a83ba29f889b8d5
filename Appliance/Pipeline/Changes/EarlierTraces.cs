using System.Buffers.Binary;

namespace Vmsweep.Appliance.Pipeline.Changes;

/// <summary>
/// What an earlier scan did without a gap. The file: u64 count, so many records of a trace and the first bytes of the content's SHA-256, then to the
/// end for each that has a payload the trace, u32 length and payload. Little-endian but for records, which are bytes.
/// </summary>
internal sealed class EarlierTraces
{
    public const int TraceBytes = 16;

    /// <summary>A trace, and what its content is checked by.</summary>
    public const int RecordBytes = TraceBytes + sizeof(ulong);

    private readonly UInt128[] _traces;
    private readonly ulong[] _checks;
    private readonly Dictionary<UInt128, byte[]> _findings = [];

    /// <exception cref="InvalidDataException">The file is not as its supervisor writes it.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public EarlierTraces(string path)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 64 << 10);
        long left = file.Length;
        Span<byte> head = stackalloc byte[RecordBytes];
        long count = left < sizeof(long) ? -1 : BinaryPrimitives.ReadInt64LittleEndian(Next(head[..sizeof(long)]));
        if (count < 0 || count > left / RecordBytes)
        {
            throw new InvalidDataException($"{path}: {count} traces do not fit");
        }

        _traces = new UInt128[count];
        _checks = new ulong[count];
        for (int i = 0; i < count; i++)
        {
            Next(head);
            _traces[i] = BinaryPrimitives.ReadUInt128BigEndian(head);
            _checks[i] = BinaryPrimitives.ReadUInt64BigEndian(head[TraceBytes..]);
        }

        Array.Sort(_traces, _checks);
        head = head[..(TraceBytes + sizeof(uint))];
        while (left > 0)
        {
            uint length = left < head.Length ? uint.MaxValue : BinaryPrimitives.ReadUInt32LittleEndian(Next(head)[TraceBytes..]);
            if (length > Worker.TracedFindings.MostPayloadBytes || length > left)
            {
                throw new InvalidDataException($"{path}: a payload is cut off");
            }

            byte[] payload = new byte[length];
            Next(payload);
            _findings[BinaryPrimitives.ReadUInt128BigEndian(head)] = payload;
        }

        Span<byte> Next(Span<byte> part)
        {
            file.ReadExactly(part);
            left -= part.Length;
            return part;
        }
    }

    /// <param name="check">The first bytes of the content's SHA-256.</param>
    /// <param name="payload">As <see cref="TracedPayload"/> has it.</param>
    public bool Has(UInt128 trace, out ulong check, out byte[] payload)
    {
        payload = _findings.GetValueOrDefault(trace) ?? [];
        int at = Array.BinarySearch(_traces, trace);
        check = at >= 0 ? _checks[at] : 0;
        return at >= 0;
    }
}
