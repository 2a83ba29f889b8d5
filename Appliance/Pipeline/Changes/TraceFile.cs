using System.Buffers.Binary;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Pipeline.Changes;

/// <summary>Traces on their way from a worker to the database, and from there to the next worker.</summary>
internal static class TraceFile
{
    /// <summary>A part as the database has it: u32 length of the records, these, then payloads as in the file. Little-endian.</summary>
    public static byte[] Encode(TracedEvent traced)
    {
        using var part = new MemoryStream();
        Span<byte> count = stackalloc byte[sizeof(int)];
        BinaryPrimitives.WriteInt32LittleEndian(count, traced.Traces.Length);
        part.Write(count);
        part.Write(traced.Traces);
        foreach (TracedFindings findings in traced.Findings)
        {
            part.Write(findings.Trace);
            BinaryPrimitives.WriteInt32LittleEndian(count, findings.Payload.Length);
            part.Write(count);
            part.Write(findings.Payload);
        }

        return part.ToArray();
    }

    /// <summary>As <see cref="EarlierTraces"/> reads it.</summary>
    public static void Write(string path, IReadOnlyList<byte[]> parts)
    {
        using FileStream file = PrivateFiles.Create(path);
        Span<byte> count = stackalloc byte[sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(count, parts.Sum(p => (long)BinaryPrimitives.ReadInt32LittleEndian(p)) / EarlierTraces.RecordBytes);
        file.Write(count);
        foreach (byte[] part in parts)
        {
            file.Write(part.AsSpan(sizeof(int), BinaryPrimitives.ReadInt32LittleEndian(part)));
        }

        foreach (byte[] part in parts)
        {
            file.Write(part.AsSpan(sizeof(int) + BinaryPrimitives.ReadInt32LittleEndian(part)));
        }
    }
}
