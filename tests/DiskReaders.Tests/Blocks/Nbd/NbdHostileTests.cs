using System.Diagnostics;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Nbd;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Blocks.Nbd;

/// <summary>A server that lies: data or an IOException, nothing else, in time, and no byte that it did not send.</summary>
public sealed class NbdHostileTests
{
    private static readonly byte[] Content = MakeContent(192 << 10);

    // Two of the cache's pages, whose answers do not count as large objects.
    private static readonly byte[] SmallContent = MakeContent(96 << 10);

    [Fact]
    public void The_script_is_sound()
    {
        byte[] read = ReadAll(new ScanBudget(1 << 20), (_, answer) => answer);
        Assert.Equal(Content, read);
    }

    [Theory]
    [InlineData(0, 0xFF, 0, "no magic")]
    [InlineData(8, 0xFF, 0, "oldstyle")]
    [InlineData(17, 0xFF, 0x02, "no fixed newstyle")]
    [InlineData(34, 0xFF, 0xFF, "option reply as long as memory")]
    public void A_greeting_that_lies_is_refused(int at, byte keep, byte set, string why)
    {
        IOException e = Assert.Throws<IOException>(() => ReadAll(new ScanBudget(1 << 20), (start, answer) => Patched(start, answer, at, _ => (byte)((set == 0 ? 0 : set) & keep))));
        Assert.True(e.Message.Length > 0, why);
    }

    /// <summary>The size of the export is the server's to say: beyond what was planned it is refused, and a negative one is none.</summary>
    [Fact]
    public void A_size_beyond_any_disk_is_refused() =>
        Assert.Throws<IOException>(() => ReadAll(new ScanBudget(1 << 20), (_, answer) => answer.Length == 32 && answer[15] == 3 ? Replaced(answer, 22, 0xFF) : answer));

    [Theory]
    [InlineData("cookie")]
    [InlineData("type")]
    [InlineData("long")]
    [InlineData("short")]
    [InlineData("outside")]
    [InlineData("overlap")]
    [InlineData("magic")]
    [InlineData("simple")]
    [InlineData("never done")]
    [InlineData("cut")]
    public void A_reply_that_lies_costs_the_request(string lie)
    {
        var budget = new ScanBudget(1 << 20);
        Assert.Throws<IOException>(() => ReadAll(budget, (_, answer) => answer[0] == 0x66 && answer[7] is 0 or 1 ? Lie(answer, lie) : answer));
        Assert.Equal(0, budget.InUse);
    }

    [Theory]
    [InlineData("silent")]
    [InlineData("dripping")]
    public void A_server_that_says_nothing_or_little_is_given_up(string how)
    {
        long started = Stopwatch.GetTimestamp();
        var budget = new ScanBudget(1 << 20);
        var transport = new NbdTransport("test", () => new ScriptedServer(Content, (_, answer) => answer[0] != 0x66 || answer[7] == 5 ? answer : how == "silent" ? [] : answer[..1], TimeSpan.FromMinutes(10)));
        using (NbdSource source = NbdSource.Open(transport, "x", budget, timeout: TimeSpan.FromMilliseconds(300)))
        {
            for (int i = 0; i < 8; i++)
            {
                Assert.Throws<IOException>(() => source.Read(0, new byte[4096]));
            }
        }

        Assert.Equal(0, budget.InUse);
        Assert.True(Stopwatch.GetElapsedTime(started) < TimeSpan.FromSeconds(60), "it waited for every request");
    }

    [Fact]
    public void Options_that_are_answered_without_end_are_given_up()
    {
        byte[] more = [0, 3, 0xE8, 0x89, 4, 0x55, 0x65, 0xA9, 0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0, 3, 0, 9, 0];
        IEnumerable<byte> Endless() => Enumerable.Repeat(more, 100_000).SelectMany(b => b);
        Assert.Throws<IOException>(() => ReadAll(new ScanBudget(1 << 20), (_, answer) => answer[0] == 0 && answer[11] == 7 ? [.. Endless()] : answer));
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void Mutated_answers_give_data_or_an_IOException()
    {
        int[] ends = new int[3];
        Parallel.For(0, Mutations.PerFormat, new ParallelOptions { MaxDegreeOfParallelism = 16 }, seed =>
        {
            var random = new Random(seed);
            long[] places = [.. Enumerable.Range(0, 1 + random.Next(3)).Select(_ => (long)random.Next(random.Next(2) == 0 ? 300 : SmallContent.Length + 1500))];
            int cut = random.Next(16) == 0 ? random.Next(2000) : int.MaxValue;
            var budget = new ScanBudget(1 << 20);
            long started = Stopwatch.GetTimestamp();
            try
            {
                byte[] read = ReadAll(budget, (start, answer) =>
                {
                    byte[] damaged = places.Any(p => p >= start && p < start + answer.Length) ? (byte[])answer.Clone() : answer;
                    foreach (long place in places.Where(p => p >= start && p < start + answer.Length))
                    {
                        damaged[place - start] = (byte)(random.Next(3) switch { 0 => random.Next(256), 1 => damaged[place - start] ^ (1 << random.Next(8)), _ => random.Next(2) * 255 });
                    }

                    return start > cut ? null : damaged;
                }, patience: 4, SmallContent);
                Interlocked.Increment(ref ends[0]);
                Assert.True(read.Length <= 64 << 20);
            }
            catch (IOException)
            {
                Interlocked.Increment(ref ends[1]);
            }
            catch (DiskFormatException)
            {
                Interlocked.Increment(ref ends[2]);
            }

            Assert.Equal(0, budget.InUse);
            Assert.True(Stopwatch.GetElapsedTime(started) < TimeSpan.FromSeconds(60), $"seed {seed}");
        });
        Assert.True(ends[0] > 1000 && ends[1] > 1000, string.Join(" ", ends));
    }

    private static byte[] ReadAll(ScanBudget budget, Func<long, byte[], byte[]?> damage, int patience = 1000, byte[]? content = null)
    {
        var transport = new NbdTransport("test", () => new ScriptedServer(content ?? Content, damage, TimeSpan.FromMilliseconds(patience)));
        using NbdSource source = NbdSource.Open(transport, "x", budget, timeout: TimeSpan.FromSeconds(20));
        byte[] read = new byte[Math.Min(source.Length, 1 << 20)];
        for (long at = 0; at < read.Length;)
        {
            long length = Math.Min(source.Locate(at, source.Length - at).Length, read.Length - at);
            source.Read(at, read.AsSpan((int)at, (int)length));
            at += length;
        }

        return read;
    }

    private static byte[] Lie(byte[] answer, string lie)
    {
        byte[] lied = (byte[])answer.Clone();
        switch (lie)
        {
            case "cookie":
                lied[15] += 77;
                break;
            case "type":
                lied[6] = 0x40;
                break;
            case "long":
                lied[16] = 0x7F;
                break;
            case "short":
                lied[5] = 1;
                return answer[7] == 1 ? [.. lied[..16], 0, 0, 0, 9, .. lied[20..29]] : lied;
            case "outside" when answer.Length > 20:
                lied[22] = 0x40;
                break;
            case "overlap":
                return answer[7] == 1 ? [.. lied[..5], 0, .. lied[6..], .. lied] : lied;
            case "magic":
                lied[0] = 0;
                break;
            case "simple":
                return [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0, .. lied[8..16]];
            case "never done":
                lied[5] = 0;
                break;
            default:
                return lied[..(lied.Length / 2)];
        }

        return lied;
    }

    private static byte[] Patched(long start, byte[] answer, long at, Func<byte, byte> change)
    {
        if (at < start || at >= start + answer.Length)
        {
            return answer;
        }

        byte[] patched = (byte[])answer.Clone();
        patched[at - start] = change(patched[at - start]);
        return patched;
    }

    private static byte[] Replaced(byte[] answer, int at, byte value)
    {
        byte[] replaced = (byte[])answer.Clone();
        replaced[at] = value;
        return replaced;
    }

    private static byte[] MakeContent(int bytes)
    {
        byte[] content = new byte[bytes];
        new Random(3).NextBytes(content.AsSpan(0, bytes * 9 / 20));
        return content;
    }
}
