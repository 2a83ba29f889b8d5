using CsCheck;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Blocks;

public sealed class MappedSourceTests
{
    private const int Unit = 16;

    [Fact]
    public void Any_slicing_of_reads_equals_one_read() =>
        Gen.Select(Gen.Int[0, 3].Array[1, 12], Gen.Int[0, 15], Gen.Int[1, 40], Gen.Int[0, 400]).Sample((kinds, cut, step, parentLength) =>
        {
            var budget = new ScanBudget(1 << 20);
            var context = new ReadContext(budget, new GapList());
            var map = new UnitMap(kinds, (kinds.Length * Unit) - cut);
            using (var parent = new MemorySource(Enumerable.Range(0, parentLength).Select(i => (byte)(200 + i)).ToArray()))
            using (var source = new MappedSource(map, [map.Data], context, parent, map))
            {
                byte[] whole = source.ReadAll();
                byte[] pieces = new byte[whole.Length];
                for (int at = 0; at < pieces.Length; at += step)
                {
                    source.Read(at, pieces.AsSpan(at, Math.Min(step, pieces.Length - at)));
                }

                Assert.Equal(whole, pieces);
                for (int i = 0; i < whole.Length; i++)
                {
                    Assert.Equal(map.Expected(i, parentLength), whole[i]);
                }
            }

            Assert.Equal(0, budget.InUse);
        });

    [Fact]
    public void Neighbouring_data_extents_become_one_read()
    {
        var map = new UnitMap([0, 0, 0, 0], 4 * Unit);
        var counting = new CountingSource(map.Data);
        using var source = new MappedSource(map, [counting]);
        source.ReadAll();
        Assert.Equal(1, counting.Reads);
    }

    [Theory]
    [InlineData(-1, 1)]
    [InlineData(0, 65)]
    [InlineData(64, 1)]
    [InlineData(long.MaxValue, 1)]
    public void A_read_outside_the_source_is_refused(long offset, int count)
    {
        var map = new UnitMap([0, 0, 0, 0], 4 * Unit);
        using var source = new MappedSource(map, [map.Data]);
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => source.Read(offset, new byte[count]));
        Assert.Equal(Fault.Truncated, e.Fault);
    }

    [Fact]
    public void The_budget_refuses_what_would_pass_its_ceiling()
    {
        var budget = new ScanBudget(100);
        using (budget.Rent(60))
        {
            Assert.Equal(Fault.Limit, Assert.Throws<DiskFormatException>(() => budget.Rent(41)).Fault);
            using RentedBuffer fits = budget.Rent(40);
            Assert.Equal(100, budget.InUse);
        }

        Assert.Equal(0, budget.InUse);
    }

    /// <summary>Units of data, zeros, hole and packed, as the digits say.</summary>
    private sealed class UnitMap(int[] kinds, long length) : IExtentMap, IUnpacker
    {
        public MemorySource Data { get; } = new(Enumerable.Range(0, kinds.Length * Unit).Select(i => (byte)(1 + i)).ToArray());

        public long Length => length;

        public int UnitBytes => Unit;

        public Extent Map(long offset, long count)
        {
            long left = Math.Min(count, Unit - (offset % Unit));
            return new Extent((ExtentKind)kinds[offset / Unit], left, offset);
        }

        public void Unpack(long unitOffset, long location, Span<byte> unit) => unit.Fill((byte)(100 + (unitOffset / Unit)));

        public byte Expected(int at, int parentLength) => (ExtentKind)kinds[at / Unit] switch
        {
            ExtentKind.Data => (byte)(1 + at),
            ExtentKind.Packed => (byte)(100 + (at / Unit)),
            ExtentKind.Hole when at < parentLength => (byte)(200 + at),
            _ => 0,
        };
    }

    private sealed class CountingSource(IBlockSource inner) : IBlockSource
    {
        public int Reads { get; private set; }

        public long Length => inner.Length;

        public void Read(long offset, Span<byte> destination)
        {
            Reads++;
            inner.Read(offset, destination);
        }

        public StoredExtent Locate(long offset, long count) => inner.Locate(offset, count);

        public void Dispose() => inner.Dispose();
    }
}
