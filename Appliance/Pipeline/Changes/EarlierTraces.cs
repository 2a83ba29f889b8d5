using System.Buffers.Binary;

namespace Vmsweep.Appliance.Pipeline.Changes;

/// <summary>
/// What an earlier scan did without a gap. The file: u64 count, so many traces, then to the end for each that has findings the trace, u32 length and
/// payload. Little-endian but for traces, which are bytes.
/// </summary>
internal sealed class EarlierTraces
{
    public const int TraceBytes = 16;

    private readonly UInt128[] _traces;
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
            if (count < 0 || count > (file.Length - sizeof(long)) / TraceBytes)
            {
                throw new InvalidDataException($"{path}: {count} traces do not fit");
            }

            _traces = new UInt128[count];
            for (long i = 0; i < count; i++)
            {
                _traces[i] = Read(reader);
            }

            Array.Sort(_traces);
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

    /// <param name="findings">Empty where there were none.</param>
    public bool Has(UInt128 trace, out byte[] findings)
    {
        findings = _findings.GetValueOrDefault(trace) ?? [];
        return Array.BinarySearch(_traces, trace) >= 0;
    }

    private static UInt128 Read(BinaryReader reader)
    {
        byte[] bytes = reader.ReadBytes(TraceBytes);
        return bytes.Length == TraceBytes ? BinaryPrimitives.ReadUInt128BigEndian(bytes) : throw new EndOfStreamException();
    }
}
