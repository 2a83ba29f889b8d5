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
        using FileStream file = File.OpenRead(path);
        using var reader = new BinaryReader(file);
        try
        {
            long count = reader.ReadInt64();
            if (count < 0 || count > (file.Length - sizeof(long)) / RecordBytes)
            {
                throw new InvalidDataException($"{path}: {count} traces do not fit");
            }

            _traces = new UInt128[count];
            _checks = new ulong[count];
            for (long i = 0; i < count; i++)
            {
                _traces[i] = Read(reader);
                _checks[i] = BinaryPrimitives.ReverseEndianness(reader.ReadUInt64());
            }

            Array.Sort(_traces, _checks);
            while (file.Position < file.Length)
            {
                UInt128 trace = Read(reader);
                uint length = reader.ReadUInt32();
                _findings[trace] = length <= Worker.TracedFindings.MostPayloadBytes && reader.ReadBytes((int)length) is var payload && payload.Length == length
                    ? payload
                    : throw new InvalidDataException($"{path}: a payload is cut off");
            }
        }
        catch (EndOfStreamException e)
        {
            throw new InvalidDataException($"{path}: it ends too early", e);
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

    private static UInt128 Read(BinaryReader reader)
    {
        byte[] bytes = reader.ReadBytes(TraceBytes);
        return bytes.Length == TraceBytes ? BinaryPrimitives.ReadUInt128BigEndian(bytes) : throw new EndOfStreamException();
    }
}
