using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace Vmsweep.Golden;

/// <summary>
/// A small Linux guest under QEMU, without hardware virtualization, one of whose processes holds a text in its memory, and dumps of that memory by
/// QEMU itself. Made once for a test run.
/// </summary>
public sealed class MemoryGuest : IDisposable
{
    /// <summary>What the process "holder" has in its heap. Its script only has the parts.</summary>
    public const string Planted = "vmsweep-planted-4711-vmsweep";

    public const int MemoryMiB = 128;

    private static readonly Lazy<MemoryGuest> Shared = new(() => new MemoryGuest());
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    private readonly Scratch _scratch = new();
    private readonly Dictionary<string, string> _packed = new(StringComparer.Ordinal);

    private MemoryGuest()
    {
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Dispose();
        WriteInitrd();
        using Process qemu = Start();
        try
        {
            HolderPid = WaitForGuest(qemu);
            Dump();
        }
        finally
        {
            qemu.Kill();
            qemu.WaitForExit();
        }

        DumpTakenIn();
    }

    public static MemoryGuest Instance => Shared.Value;

    /// <summary>Pid of "holder" in the guest.</summary>
    public int HolderPid { get; }

    /// <summary>ELF core by <c>dump-guest-memory</c>.</summary>
    public string Core => _scratch["guest.core"];

    /// <summary>Migration stream of the stopped guest.</summary>
    public string Stream => _scratch["guest.qemu"];

    /// <summary>Migration stream of the guest as it ran, in several rounds with XBZRLE.</summary>
    public string LiveStream => _scratch["live.qemu"];

    /// <summary>
    /// ELF core of another QEMU that took <see cref="LiveStream"/> in. Not that of the guest itself: under software emulation QEMU may copy a page
    /// while a processor writes to it and then not send it again, so the stream need not be what the guest had.
    /// </summary>
    public string LiveCore => _scratch["live.core"];

    /// <summary>Rounds that the live migration took.</summary>
    public int LiveRounds { get; private set; }

    /// <summary>Pages that came as changes.</summary>
    public long DeltaPages { get; private set; }

    /// <summary>The stream packed by a program.</summary>
    public string PackedStream(string program, params string[] options)
    {
        string name = string.Join(' ', [program, .. options]);
        lock (_packed)
        {
            if (!_packed.TryGetValue(name, out string? path))
            {
                path = _scratch["guest.qemu." + _packed.Count.ToString(CultureInfo.InvariantCulture)];
                Tool.Shell($"{Tool.Find(program)} -c {string.Join(' ', options)} < {Stream} > {path}");
                _packed.Add(name, path);
            }

            return path;
        }
    }

    /// <summary>The kernel and its initial file system, for other rigs of the same guest.</summary>
    public static (string Kernel, string Initrd) Boot(Scratch scratch)
    {
        Directory.CreateDirectory(scratch["root"]);
        File.WriteAllText(scratch["root/init"], Init.ReplaceLineEndings("\n"));
        File.WriteAllText(scratch["root/holder"], Holder.ReplaceLineEndings("\n"));
        File.WriteAllText(scratch["root/worker"], Worker.ReplaceLineEndings("\n"));
        Tool.Find("cpio");
        Tool.Shell(
            $$"""
            mkdir -p root/bin root/dev root/proc root/sys
            cp {{Tool.Find("busybox")}} root/bin/busybox
            chmod +x root/init root/holder root/worker
            (cd root && find . | cpio -o -H newc --quiet | gzip -1) > initrd
            """,
            scratch.Folder);
        return (LinuxGuest.PackedKernel, scratch["initrd"]);
    }

    /// <summary>Speaks QMP: gives the answer to a command.</summary>
    public static JsonElement Command(StreamWriter to, StreamReader from, string json)
    {
        to.WriteLine(json);
        to.Flush();
        while (from.ReadLine() is { } line)
        {
            JsonElement answer = JsonDocument.Parse(line).RootElement;
            if (answer.TryGetProperty("error", out JsonElement error))
            {
                throw new InvalidOperationException($"{json}: {error}");
            }

            if (answer.TryGetProperty("return", out JsonElement result))
            {
                return result;
            }
        }

        throw new InvalidOperationException($"{json}: QEMU went away");
    }

    public void Dispose() => _scratch.Dispose();

    private static string Init =>
        """
        #!/bin/busybox sh
        /bin/busybox --install -s /bin
        mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
        export PATH=/bin
        /holder &
        echo "holder is $!."
        /worker &
        sleep 2
        echo "guest is ready"
        while :; do sleep 1; done
        """;

    private static string Holder =>
        """
        #!/bin/busybox sh
        A=vmsweep; B=planted; C=4711
        SECRET="$A-$B-$C-$A"
        # Waits without a program: until it is one, a child is a second process of this name with the same text.
        mkfifo /never
        exec 3<>/never
        read X <&3
        """;

    // Changes a little of its memory over and over.
    private static string Worker =>
        """
        #!/bin/busybox sh
        while :; do I=$((I+1)); sleep 0.01; done
        """;

    private void WriteInitrd() => Boot(_scratch);

    private Process Start(params string[] more)
    {
        var start = new ProcessStartInfo(
            Tool.Find("qemu-system-x86_64"),
            [
                "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", MemoryMiB.ToString(CultureInfo.InvariantCulture), "-smp", "2", "-nodefaults", "-no-reboot", "-nographic", "-serial", "stdio",
                "-kernel", LinuxGuest.PackedKernel, "-initrd", _scratch["initrd"], "-append", "console=ttyS0 quiet no_timer_check panic=-1",
                "-qmp", $"unix:{_scratch["qmp"]},server=on,wait=off", .. more,
            ])
        {
            RedirectStandardOutput = true,
            RedirectStandardInput = true,
        };
        return Process.Start(start)!;
    }

    private static int WaitForGuest(Process qemu)
    {
        using var late = new CancellationTokenSource(Patience);
        using CancellationTokenRegistration stop = late.Token.Register(qemu.Kill);
        var said = new StringBuilder();
        int pid = 0;
        while (qemu.StandardOutput.ReadLine() is { } line)
        {
            said.AppendLine(line);
            int at = line.IndexOf("holder is ", StringComparison.Ordinal);
            if (at >= 0)
            {
                pid = int.Parse(line[(at + 10)..line.IndexOf('.', at)], CultureInfo.InvariantCulture);
            }

            if (line.Contains("guest is ready", StringComparison.Ordinal))
            {
                return pid;
            }
        }

        throw new InvalidOperationException("the guest did not come up: " + said);
    }

    private void Dump()
    {
        using var monitor = new Monitor(_scratch["qmp"]);
        monitor.Command("""{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"xbzrle","state":true}]}}""");
        monitor.Command("""{"execute":"migrate-set-parameters","arguments":{"max-bandwidth":33554432,"downtime-limit":50}}""");
        JsonElement live = Migrate(monitor, LiveStream);
        LiveRounds = live.GetProperty("ram").GetProperty("dirty-sync-count").GetInt32();
        DeltaPages = live.GetProperty("xbzrle-cache").GetProperty("pages").GetInt64();

        // It is not migrated again before it ran.
        monitor.Command("""{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"xbzrle","state":false}]}}""");
        monitor.Command("""{"execute":"migrate-set-parameters","arguments":{"max-bandwidth":0}}""");
        monitor.Command("""{"execute":"cont"}""");
        monitor.Command("""{"execute":"stop"}""");
        DumpCore(monitor, Core);
        Migrate(monitor, Stream);
    }

    private void DumpTakenIn()
    {
        File.Delete(_scratch["qmp"]);
        using Process qemu = Start("-S", "-incoming", $"exec:cat {LiveStream}");
        try
        {
            using var monitor = new Monitor(_scratch["qmp"]);
            WaitFor(monitor, "query-status", "paused", "inmigrate");
            DumpCore(monitor, LiveCore);
        }
        finally
        {
            qemu.Kill();
            qemu.WaitForExit();
        }
    }

    private static void DumpCore(Monitor monitor, string path) =>
        monitor.Command($$$"""{"execute":"dump-guest-memory","arguments":{"paging":false,"protocol":"file:{{{path}}}"}}""");

    private static JsonElement Migrate(Monitor monitor, string path)
    {
        monitor.Command($$$"""{"execute":"migrate","arguments":{"uri":"exec:cat > {{{path}}}"}}""");
        return WaitFor(monitor, "query-migrate", "completed", "setup", "active", "device");
    }

    private static JsonElement WaitFor(Monitor monitor, string query, string wanted, params string[] before)
    {
        var taken = Stopwatch.StartNew();
        while (taken.Elapsed < Patience)
        {
            JsonElement state = monitor.Command($$"""{"execute":"{{query}}"}""");
            string? status = state.TryGetProperty("status", out JsonElement given) ? given.GetString() : before[0];
            if (status == wanted)
            {
                return state;
            }

            if (!before.Contains(status))
            {
                throw new InvalidOperationException($"{query}: {state}");
            }

            Thread.Sleep(100);
        }

        throw new InvalidOperationException($"{query}: not {wanted} in time");
    }

    /// <summary>A connection to a QEMU's monitor, which may be about to start.</summary>
    private sealed class Monitor : IDisposable
    {
        private readonly Socket _socket;
        private readonly StreamReader _from;
        private readonly StreamWriter _to;

        public Monitor(string path)
        {
            long started = Stopwatch.GetTimestamp();
            while (true)
            {
                _socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                try
                {
                    _socket.Connect(new UnixDomainSocketEndPoint(path));
                    break;
                }
                catch (SocketException) when (Stopwatch.GetElapsedTime(started) < Patience)
                {
                    // A socket whose connection failed cannot be used again.
                    _socket.Dispose();
                    Thread.Sleep(50);
                }
            }

            var stream = new NetworkStream(_socket);
            _from = new StreamReader(stream);
            _to = new StreamWriter(stream);
            _from.ReadLine();
            Command("""{"execute":"qmp_capabilities"}""");
        }

        public JsonElement Command(string json) => MemoryGuest.Command(_to, _from, json);

        public void Dispose()
        {
            _from.Dispose();
            _to.Dispose();
            _socket.Dispose();
        }
    }
}
