using CsCheck;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Tests.Blocks;

public sealed class Crc32CTests
{
    /// <summary>RFC 3720, appendix B.4, and the usual check value.</summary>
    public static TheoryData<byte[], uint> Known => new()
    {
        { [], 0 },
        { "123456789"u8.ToArray(), 0xE306_9283 },
        { new byte[32], 0x8A91_36AA },
        { Enumerable.Repeat((byte)0xFF, 32).ToArray(), 0x62A8_AB43 },
        { Enumerable.Range(0, 32).Select(i => (byte)i).ToArray(), 0x46DD_794E },
        { Enumerable.Range(0, 32).Select(i => (byte)(31 - i)).ToArray(), 0x113F_DB5C },
    };

    [Theory]
    [MemberData(nameof(Known))]
    public void Known_values_are_computed_by_instruction_and_by_tables(byte[] data, uint expected)
    {
        Assert.Equal(expected, Crc32C.Compute(data));
        Assert.Equal(expected, ~Crc32C.UpdateInSoftware(~0u, data));
    }

    [Fact]
    public void Tables_equal_the_instruction_and_pieces_equal_the_whole() =>
        Gen.Select(Gen.OneOf(Gen.Byte.Array[0, 100], Gen.Byte.Array[4000, 9000]), Gen.Int[0, 9000], Gen.UInt).Sample((data, cut, state) =>
        {
            cut = Math.Min(cut, data.Length);
            Assert.Equal(Crc32C.UpdateInSoftware(state, data), Crc32C.Update(state, data));
            Assert.Equal(Crc32C.Compute(data), Crc32C.Compute(data.AsSpan(cut), Crc32C.Compute(data.AsSpan(0, cut))));
        });
}
