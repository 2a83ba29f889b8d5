using Vmsweep.Appliance.Cli;

namespace Vmsweep.Appliance.Tests.Cli;

public sealed class TextTests
{
    [Theory]
    [InlineData("plain", "plain")]
    [InlineData("é 漢 😀", "é 漢 😀")]
    [InlineData("a\u001b[31mred", @"a\x1B[31mred")]
    [InlineData("a\rb\u0007", @"a\x0Db\x07")]
    [InlineData("a\nb\tc", @"a\nb\tc")]
    [InlineData("evil\u202Eexe.txt", @"evil\xE2\x80\xAEexe.txt")]
    [InlineData("\u009b31m", @"\xC2\x9B31m")]
    [InlineData(@"kept\x41\\", @"kept\x41\\")]
    public void Nothing_that_acts_on_a_terminal_gets_through(string text, string shown) => Assert.Equal(shown, Printable.Of(text));

    [Fact]
    public void A_lone_surrogate_becomes_the_replacement_character_in_hexadecimal() => Assert.Equal(@"lone\xEF\xBF\xBD", Printable.Of("lone\uD800"));

    [Theory]
    [InlineData("4096", 4096)]
    [InlineData("512M", 512L << 20)]
    [InlineData("1.5 GiB", 3L << 29)]
    [InlineData("2k", 2048)]
    [InlineData("8E", -1)]
    [InlineData("7E", 7L << 60)]
    [InlineData("", -1)]
    [InlineData("M", -1)]
    [InlineData("12Q", -1)]
    [InlineData("-5", -1)]
    public void Sizes_are_read_as_people_write_them(string text, long bytes)
    {
        Assert.Equal(bytes >= 0, Sizes.TryParse(text, out long read));
        Assert.Equal(Math.Max(0, bytes), read);
    }
}
