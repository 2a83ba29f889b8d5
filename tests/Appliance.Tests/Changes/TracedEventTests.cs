using System.Buffers.Binary;
using Vmsweep.Appliance.Pipeline.Changes;
using Vmsweep.Appliance.Worker;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Changes;

/// <summary>What a worker says it has done is held to its form, and so is the file that the next one is given.</summary>
public sealed class TracedEventTests
{
    [Fact]
    public void Traces_and_findings_come_through_and_misshapen_ones_do_not()
    {
        var sound = new TracedEvent(new byte[48], [new TracedFindings(new byte[16], [1, 2])]);
        var read = Assert.IsType<TracedEvent>(MessageText.Event(MessageText.Of(sound)));
        WorkerEvents.Check(read);
        Assert.Equal((48, 2), (read.Traces.Length, read.Findings[0].Payload.Length));
        foreach (TracedEvent wrong in (TracedEvent[])
        [
            new(new byte[25], []),
            new(new byte[24], []) { Layer = -2 },
            new(new byte[(TracedEvent.MostTraces + 1) * 24], []),
            new(new byte[24], [new TracedFindings(new byte[15], [])]),
            new(new byte[24], [new TracedFindings(new byte[16], new byte[TracedFindings.MostPayloadBytes + 1])]),
            new(new byte[24], [null!]),
        ])
        {
            Assert.Throws<InvalidDataException>(() => WorkerEvents.Check(wrong));
        }
    }

    [Fact]
    public void A_file_of_traces_that_is_cut_or_lies_is_refused()
    {
        using var scratch = new Scratch();
        byte[] sound = new byte[8 + 48 + 16 + 4 + 3];
        sound[0] = 2;
        sound[8 + 24] = 7;
        sound[8 + 24 + 16 + 7] = 9;
        sound[8 + 48] = 7;
        BinaryPrimitives.WriteInt32LittleEndian(sound.AsSpan(8 + 64), 3);
        File.WriteAllBytes(scratch["t"], sound);
        var traces = new EarlierTraces(scratch["t"]);
        Assert.True(traces.Has((UInt128)7 << 120, out ulong check, out byte[] findings));
        Assert.Equal((9ul, 3), (check, findings.Length));
        Assert.True(traces.Has(0, out check, out findings));
        Assert.Empty(findings);
        Assert.False(traces.Has(1, out _, out _));
        for (int length = 0; length < sound.Length; length++)
        {
            File.WriteAllBytes(scratch["t"], sound[..length]);
            if (length == 8 + 48)
            {
                continue;
            }

            Assert.Throws<InvalidDataException>(() => new EarlierTraces(scratch["t"]));
        }

        foreach (long count in (long[])[-1, 3, long.MaxValue, long.MinValue])
        {
            BinaryPrimitives.WriteInt64LittleEndian(sound, count);
            File.WriteAllBytes(scratch["t"], sound);
            Assert.Throws<InvalidDataException>(() => new EarlierTraces(scratch["t"]));
        }
    }
}
