using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text.Json;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Nbd;
using Vmsweep.Golden;
using Vmsweep.Rigs;
using Vmsweep.Rigs.Xen;

namespace Vmsweep.DiskReaders.Tests.Blocks.Nbd;

/// <summary>The client against other people's servers.</summary>
public sealed class NbdSourceTests : IDisposable
{
    private const int ImageBytes = 24 << 20;

    private readonly Scratch _scratch = new();
    private readonly byte[] _content = new byte[ImageBytes];

    public NbdSourceTests()
    {
        // Data, holes and data whose ends lie within clusters.
        var random = new Random(7);
        foreach ((int at, int count) in ((int, int)[])[(0, 5000), (1 << 20, 3 << 20), (10 << 20, 100), ((16 << 20) - 700, 3000), (ImageBytes - 5000, 5000)])
        {
            random.NextBytes(_content.AsSpan(at, count));
        }

        // A copy that leaves out what is zero, as the file system itself may not.
        File.WriteAllBytes(_scratch["dense.raw"], _content);
        Tool.Run("qemu-img", "convert", "-q", "-f", "raw", "-O", "raw", _scratch["dense.raw"], _scratch["disk.raw"]);
        Tool.Run("qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", _scratch["disk.raw"], _scratch["disk.qcow2"]);
    }

    private string SocketPath => _scratch["s"];

    public void Dispose() => _scratch.Dispose();

    public static TheoryData<string, string> Servers => new()
    {
        { "qemu-nbd", "-t -r -f qcow2 -k S -x vda -e 8 disk.qcow2" },
        { "qemu-nbd, raw", "-t -r -f raw -k S -x vda disk.raw" },
        { "nbdkit", "-f -r -U S --exit-with-parent file disk.raw" },
        { "nbdkit without structured replies", "-f -r --no-sr -U S --exit-with-parent file disk.raw" },
        { "nbdkit with small requests", "-f -r -U S --exit-with-parent --filter=blocksize-policy file disk.raw blocksize-minimum=512 blocksize-preferred=4096 blocksize-maximum=16384 blocksize-error-policy=error" },
        { "nbdkit with large blocks", "-f -r -U S --exit-with-parent --filter=blocksize-policy file disk.raw blocksize-minimum=65536 blocksize-preferred=65536 blocksize-maximum=65536 blocksize-error-policy=error" },
        { "nbdkit, no extents", "-f -r -U S --exit-with-parent --filter=noextents file disk.raw" },
        { "nbdkit, slow", "-f -r -U S --exit-with-parent --filter=delay file disk.raw rdelay=5ms" },
    };

    /// <summary>XenServer's hosts know no other option than NBD_OPT_EXPORT_NAME, no structured replies, and nothing below a sector.</summary>
    [Fact]
    public void A_server_that_knows_names_alone_is_read()
    {
        using Daemon daemon = Serve("nbdkit", "-f -r -U S --exit-with-parent file disk.raw");
        using var front = new NbdFront(SocketPath, null, name => name == "/vdi?session_id=1");
        var transport = new NbdTransport("front", () => new NetworkStream(Connected(front.Port), ownsSocket: true));
        var budget = new ScanBudget(64 << 20);
        using (NbdSource source = NbdSource.Open(transport, "/vdi?session_id=1", budget))
        {
            Assert.Equal(ImageBytes, source.Length);
            byte[] whole = new byte[ImageBytes], some = new byte[1001];
            source.Read(0, whole);
            Assert.Equal(SHA256.HashData(_content), SHA256.HashData(whole));
            source.Read(777, some);
            Assert.True(some.AsSpan().SequenceEqual(_content.AsSpan(777, some.Length)));
        }

        Assert.Contains("closed the connection", Assert.Throws<IOException>(() => NbdSource.Open(transport, "/other", budget)).Message, StringComparison.Ordinal);
        Assert.Equal(0, budget.InUse);

        static Socket Connected(int port)
        {
            var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
            socket.Connect(System.Net.IPAddress.Loopback, port);
            return socket;
        }
    }

    [Theory]
    [MemberData(nameof(Servers))]
    public void Content_equals_the_file_however_it_is_read(string server, string arguments)
    {
        using Daemon daemon = Serve(server, arguments);
        var budget = new ScanBudget(64 << 20);
        using (NbdSource source = NbdSource.Open(NbdTransport.Unix(SocketPath), "vda", budget, fileId: 3))
        {
            Assert.Equal(ImageBytes, source.Length);
            byte[] whole = new byte[ImageBytes];
            source.Read(0, whole);
            Assert.Equal(SHA256.HashData(_content), SHA256.HashData(whole));

            // In order, in pieces, on several threads, and anywhere.
            byte[] pieces = new byte[ImageBytes];
            for (int at = 0; at < ImageBytes; at += 48_611)
            {
                source.Read(at, pieces.AsSpan(at, Math.Min(48_611, ImageBytes - at)));
            }

            Assert.Equal(SHA256.HashData(_content), SHA256.HashData(pieces));
            Parallel.For(0, 4, new ParallelOptions { MaxDegreeOfParallelism = 4 }, seed =>
            {
                var random = new Random(seed);
                for (int i = 0; i < 200; i++)
                {
                    byte[] some = new byte[random.Next(1 << random.Next(19))];
                    int at = random.Next(ImageBytes - some.Length + 1);
                    source.Read(at, some);
                    Assert.True(some.AsSpan().SequenceEqual(_content.AsSpan(at, some.Length)), $"{some.Length} bytes at {at}");
                }
            });
            Assert.Throws<DiskFormatException>(() => source.Read(ImageBytes - 1, new byte[2]));
            Assert.True(budget.InUse is > 0 and <= 16 << 20, $"{budget.InUse}");
        }

        Assert.Equal(0, budget.InUse);
    }

    [Theory]
    [InlineData("qemu-nbd", "-t -r -f qcow2 -k S -x vda -e 8 disk.qcow2")]
    [InlineData("nbdkit", "-f -r -U S --exit-with-parent file disk.raw")]
    public void Holes_are_those_that_nbdinfo_shows(string server, string arguments)
    {
        using Daemon daemon = Serve(server, arguments);
        using NbdSource source = Open();
        List<string> ours = [];
        for (long at = 0; at < source.Length;)
        {
            StoredExtent extent = source.Locate(at, source.Length - at);
            long from = at;
            bool isStored = extent.IsStored;
            while (at < source.Length && source.Locate(at, source.Length - at) is var next && next.IsStored == isStored)
            {
                Assert.Equal((isStored ? at : 0, isStored ? 3 : 0), (next.Position, next.File));
                at += next.Length;
            }

            ours.Add($"{from} {at - from} {(isStored ? "data" : "hole")}");
        }

        List<string> theirs = [];
        using JsonDocument map = JsonDocument.Parse(Tool.Run("nbdinfo", "--map", "--json", $"nbd+unix:///vda?socket={SocketPath}"));
        foreach (JsonElement run in map.RootElement.EnumerateArray())
        {
            theirs.Add($"{run.GetProperty("offset").GetInt64()} {run.GetProperty("length").GetInt64()} {((run.GetProperty("type").GetInt32() & 2) != 0 ? "hole" : "data")}");
        }

        Assert.Equal(theirs, ours);
        Assert.Contains(ours, r => r.EndsWith("hole", StringComparison.Ordinal));
    }

    [Fact]
    public void Ranges_of_a_dirty_bitmap_are_what_was_written()
    {
        Tool.Run("qemu-img", "bitmap", "--add", "-g", "65536", _scratch["disk.qcow2"], "since");
        Tool.Run("qemu-io", "-c", "write -P 7 1M 1M", "-c", "write -P 7 5000k 1", _scratch["disk.qcow2"]);
        using Daemon daemon = Serve("qemu-nbd", "-t -r -f qcow2 -k S -x vda -B since disk.qcow2");
        using NbdSource source = NbdSource.Open(NbdTransport.Unix(SocketPath), "vda", new ScanBudget(64 << 20), context: "qemu:dirty-bitmap:since");
        Assert.Equal([(1 << 20, 1 << 20), (5000 << 10 & ~0xFFFF, 1 << 16)], source.Ranges("qemu:dirty-bitmap:since", 1));
        Assert.Equal([(1 << 20, (5000 << 10 & ~0xFFFF) + (1 << 16) - (1 << 20))], source.Ranges("qemu:dirty-bitmap:since", 1, most: 1));
        Assert.Throws<IOException>(() => source.Ranges("qemu:dirty-bitmap:other", 1));
    }

    [Fact]
    public void A_range_that_cannot_be_read_fails_and_the_others_are_read()
    {
        using Daemon daemon = Serve("nbdkit", "-f -r -U S --exit-with-parent --filter=error file disk.raw error=EIO error-pread-rate=100% error-file=fails");
        using NbdSource source = Open();
        byte[] some = new byte[4096];
        source.Read(1 << 20, some);
        File.WriteAllText(_scratch["fails"], "");
        IOException failure = Assert.Throws<IOException>(() => source.Read(8 << 20, some));
        Assert.Contains("input/output error", failure.Message, StringComparison.OrdinalIgnoreCase);
        File.Delete(_scratch["fails"]);
        source.Read(8 << 20, some);
        Assert.Equal(_content[(8 << 20)..((8 << 20) + 4096)], some);
    }

    [Fact]
    public void A_server_that_is_killed_is_an_IOException_and_one_that_comes_back_is_read_on()
    {
        using NbdSource source = OpenAndKill(out byte[] _);
        for (int i = 0; i < 5; i++)
        {
            Assert.Throws<IOException>(() => source.Read(9 << 20, new byte[100]));
        }

        Assert.Equal(ExtentKind.Data, source.Locate(9 << 20, 100).Kind);

        using Daemon first = Serve("qemu-nbd", "-t -r -f qcow2 -k S -x vda disk.qcow2");
        using NbdSource lasting = Open();
        byte[] some = new byte[4096];
        lasting.Read(0, some);
        first.Kill();
        File.Delete(SocketPath);
        using Daemon again = Serve("qemu-nbd", "-t -r -f qcow2 -k S -x vda disk.qcow2");
        lasting.Read(2 << 20, some);
        Assert.Equal(_content[(2 << 20)..((2 << 20) + 4096)], some);
    }

    [Fact]
    public void What_a_server_refuses_is_said()
    {
        Assert.Contains("cannot connect", Assert.Throws<IOException>(Open).Message, StringComparison.Ordinal);
        using Daemon daemon = Serve("qemu-nbd", "-t -r -f qcow2 -k S -x other disk.qcow2");
        Assert.Contains("none of this name", Assert.Throws<IOException>(Open).Message, StringComparison.Ordinal);
        Assert.Throws<IOException>(() => NbdSource.Open(NbdTransport.Unix("/" + new string('x', 200)), "vda", new ScanBudget(1 << 20)));
    }

    private NbdSource OpenAndKill(out byte[] read)
    {
        using Daemon daemon = Serve("qemu-nbd", "-t -r -f qcow2 -k S -x vda disk.qcow2");
        NbdSource source = Open();
        read = new byte[4096];
        source.Read(0, read);
        daemon.Kill();
        File.Delete(SocketPath);
        return source;
    }

    private NbdSource Open() => NbdSource.Open(NbdTransport.Unix(SocketPath), "vda", new ScanBudget(64 << 20), fileId: 3);

    private Daemon Serve(string server, string arguments)
    {
        string[] words = [.. arguments.Split(' ').Select(w => w == "S" ? SocketPath : w.StartsWith("disk.", StringComparison.Ordinal) ? _scratch[w] : w.Replace("fails", _scratch["fails"], StringComparison.Ordinal))];
        return Daemon.Start(server.Split([' ', ','])[0], () => Daemon.Listens(SocketPath), words);
    }
}
