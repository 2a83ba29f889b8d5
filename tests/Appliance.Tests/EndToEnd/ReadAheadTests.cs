using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Tests.EndToEnd;

public sealed class ReadAheadTests
{
    private const int PartBytes = 4096;

    private readonly ScanBudget _budget = new(1 << 20);

    [Theory]
    [InlineData(0, 100_000, 4)]
    [InlineData(1, 99_999, 4)]
    [InlineData(4095, 4097, 2)]
    [InlineData(50_000, 50_001, 8)]
    [InlineData(0, 100_000, 1)]
    public void Parts_come_in_order_whichever_is_ready_first(int start, int end, int parts)
    {
        using var source = new Slow(100_000, faultAt: -1, ExtentKind.Packed);
        Assert.Equal(source.Content[start..end], Read(source, start, end, parts));
        Assert.Equal(0, _budget.InUse);
        Assert.InRange(source.Most, 1, parts);
    }

    [Fact]
    public void What_only_has_to_be_read_is_read_by_one()
    {
        using var source = new Slow(100_000, faultAt: -1, ExtentKind.Data);
        Assert.Equal(source.Content, Read(source, 0, 100_000, 4));
        Assert.Equal(1, source.Most);
    }

    [Fact]
    public void Everything_before_a_fault_comes_and_nothing_is_kept_after_it()
    {
        using var source = new Slow(100_000, faultAt: 9 * PartBytes, ExtentKind.Packed);
        using var got = new MemoryStream();
        Assert.Equal(Fault.Corrupt, Assert.Throws<DiskFormatException>(() => Read(source, 0, 100_000, 4, got)).Fault);
        Assert.Equal(source.Content[..(9 * PartBytes)], got.ToArray());
        Assert.Equal(0, _budget.InUse);
    }

    [Fact]
    public void Whoever_stops_early_waits_for_what_is_being_read()
    {
        using var source = new Slow(100_000, faultAt: -1, ExtentKind.Packed);
        using (var ahead = new ReadAhead(source, _budget, 0, 100_000, PartBytes, PartBytes, 4))
        {
            ahead.Take(0);
        }

        Assert.Equal((0, 0L), (source.Reading, _budget.InUse));
    }

    [Theory]
    [InlineData(ExtentKind.Packed, 4 * PartBytes)]
    [InlineData(ExtentKind.Data, PartBytes)]
    public void Packed_units_are_never_cut_between_two_threads(ExtentKind kind, int expected)
    {
        using var source = new Slow(25 * PartBytes, faultAt: -1, kind);
        using var ahead = new ReadAhead(source, _budget, 100, source.Length, PartBytes, 4 * PartBytes, 4);
        List<int> lengths = [];
        for (long at = 100; at < source.Length; at += lengths[^1])
        {
            lengths.Add(ahead.Take(at).Length);
        }

        Assert.Equal(expected - 100, lengths[0]);
        Assert.All(lengths[1..^1], l => Assert.Equal(expected, l));
        Assert.Equal(source.Length - 100, lengths.Sum());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_file_that_is_one_stream_is_read_by_one_thread(bool isGzip) =>
        Assert.Equal(isGzip, new ReadJob(0, -1) { Limits = InProcess.Limits, Disks = [new ChainPlan(null, [new PlannedFile(0, "a", "a"), new PlannedFile(1, "b", "b", IsGzip: isGzip)], [])] }.IsOneStream);

    private byte[] Read(Slow source, int start, int end, int parts)
    {
        using var got = new MemoryStream();
        Read(source, start, end, parts, got);
        return got.ToArray();
    }

    private void Read(Slow source, int start, int end, int parts, MemoryStream got)
    {
        using var ahead = new ReadAhead(source, _budget, start, end, PartBytes, PartBytes, parts);
        for (long at = start; at < end;)
        {
            ReadOnlySpan<byte> part = ahead.Take(at);
            got.Write(part);
            at += part.Length;
        }
    }

    /// <summary>Later parts are ready before earlier ones.</summary>
    private sealed class Slow : IBlockSource
    {
        private readonly long _faultAt;
        private readonly ExtentKind _kind;
        private int _reading;
        private int _most;

        public Slow(int length, long faultAt, ExtentKind kind)
        {
            Content = new byte[length];
            new Random(7).NextBytes(Content);
            (_faultAt, _kind) = (faultAt, kind);
        }

        public byte[] Content { get; }

        public int Reading => Volatile.Read(ref _reading);

        public int Most => Volatile.Read(ref _most);

        public long Length => Content.Length;

        public void Read(long offset, Span<byte> destination)
        {
            int now = Interlocked.Increment(ref _reading);
            for (int most; now > (most = Most) && Interlocked.CompareExchange(ref _most, now, most) != most;)
            {
            }

            Thread.Sleep(offset / PartBytes % 4 == 0 ? 12 : 1);
            Interlocked.Decrement(ref _reading);
            if (_faultAt >= offset && _faultAt < offset + destination.Length)
            {
                throw new DiskFormatException(Fault.Corrupt, "unit", offset, "made so");
            }

            Content.AsSpan((int)offset, destination.Length).CopyTo(destination);
        }

        public StoredExtent Locate(long offset, long count) => new(_kind, count);

        public void Dispose()
        {
        }
    }
}
