using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Xen;

namespace Vmsweep.Appliance.Tests.Connectors;

/// <summary>The bitmap of changed blocks, which a pool sends.</summary>
public sealed class ChangedBlocksTests
{
    private const int Block = ChangedBlocks.BlockBytes;

    [Fact]
    public void The_first_block_is_the_highest_bit()
    {
        byte[] bits = [0b1100_0001, 0b1000_0000, 0, 0b0000_1000];
        Assert.Equal(
            [new ChangedRange(0, 2 * Block), new ChangedRange(7 * Block, 2 * Block), new ChangedRange(28 * Block, 100)],
            ChangedBlocks.Parse(Convert.ToBase64String(bits), (28 * Block) + 100));
    }

    [Theory]
    [InlineData("", 1)]
    [InlineData("", 0, true)]
    [InlineData("AAAA", (24 * Block) + 1)]
    [InlineData("AAAA", 24 * Block, true)]
    [InlineData("!!!!", 1)]
    [InlineData("AAA", 1)]
    [InlineData("<value>AAAA</value>", 1)]
    [InlineData("AAAA", long.MaxValue)]
    public void What_is_no_bitmap_of_the_whole_disk_says_nothing(string text, long size, bool isOne = false) =>
        Assert.Equal(isOne ? [] : null, ChangedBlocks.Parse(text, size));
}
