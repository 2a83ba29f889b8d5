using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Vmsweep.Golden;

namespace Vmsweep.Rigs;

/// <summary>
/// What a small Linux guest boots from, and how it is told what to do: Debian's kernel, busybox and the modules it needs. It mounts the first partition of
/// its first disk, keeps writing to it with a sync after each write, and runs what comes over its serial line.
/// </summary>
public static class RunningGuest
{
    public const string Alive = "guest is up";

    /// <summary>Of the first disk: a GPT with one ext4 partition.</summary>
    public const int DiskBytes = 256 << 20;

    public const int PartitionOffset = 1 << 20;

    /// <summary>Makes <c>vmlinux</c> and <c>initrd</c>.</summary>
    /// <param name="isPacked">The kernel as a distribution boots it: it unpacks itself, and goes to a random place.</param>
    public static void MakeBoot(string folder, bool isPacked = false)
    {
        string kernel = LinuxGuest.Kernel();
        File.WriteAllText(Path.Combine(folder, "init"), Init.ReplaceLineEndings("\n"));
        Tool.Find("busybox");
        Tool.Find("cpio");
        Tool.Find("modprobe");
        Tool.Shell(
            $$"""
            export PATH=$PATH:/usr/sbin:/sbin
            mkdir -p root/bin root/dev root/proc root/sys root/modules root/mnt
            cp "$(command -v busybox)" root/bin/busybox
            n=100
            for m in virtio_pci virtio_blk ext4; do
              for f in $(modprobe -S {{kernel}} --show-depends $m | awk '$1 == "insmod" { print $2 }'); do
                b=$(basename $f .xz)
                ls root/modules | grep -q -- "^[0-9]*-$b\$" && continue
                case $f in *.xz) xz -dc $f ;; *) cat $f ;; esac > root/modules/$n-$b
                n=$((n+1))
              done
            done
            mv init root/init; chmod +x root/init
            (cd root && find . | cpio -o -H newc --quiet) > initrd
            rm -r root
            cp {{(isPacked ? LinuxGuest.PackedKernel : LinuxGuest.UnpackedKernel)}} vmlinux
            chmod 644 initrd vmlinux
            """,
            folder);
    }

    /// <summary>Makes the first disk with an ext4 that holds some files, and a second one that is an NTFS volume.</summary>
    public static void MakeDisks(string folder, string format = "qcow2")
    {
        string option = format == "qcow2" ? "-o compat=1.1" : "";
        Tool.Find("sfdisk");
        Tool.Find("mkfs.ntfs");
        Tool.Find("ntfscp");
        Tool.Shell(
            $$"""
            export PATH=$PATH:/usr/sbin:/sbin
            mkdir -p tree/etc tree/data
            echo guest > tree/etc/hostname
            for i in $(seq 10); do head -c 3000000 /dev/urandom > tree/data/large$i; done
            for i in $(seq 100); do head -c 20000 /dev/urandom > tree/data/f$i; done
            truncate -s {{DiskBytes}} a.raw
            echo 'start=2048, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4' | sfdisk -q --label gpt a.raw
            mke2fs -q -t ext4 -E offset={{PartitionOffset}} -d tree a.raw {{(DiskBytes - (2 * PartitionOffset)) / 1024}}k
            truncate -s 64M b.raw
            mkfs.ntfs -q -F -p 0 b.raw
            echo hello > hello.txt
            ntfscp -f b.raw hello.txt hello.txt
            qemu-img convert -q -f raw -O {{format}} {{option}} a.raw a.{{format}}.disk
            qemu-img convert -q -f raw -O {{format}} {{option}} b.raw b.{{format}}.disk
            rm -r tree a.raw b.raw hello.txt
            mv a.{{format}}.disk a.{{format}}; mv b.{{format}}.disk b.{{format}}
            """,
            folder);
    }

    private static string Init =>
        $$"""
        #!/bin/busybox sh
        /bin/busybox --install -s /bin
        mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
        for m in /modules/*; do insmod $m; done
        export PATH=/bin
        mount -t ext4 /dev/vda1 /mnt || { echo the disk is not there; cat /proc/partitions; exec sleep 100000; }
        stty -echo
        # Each program that a beat starts takes processor time under emulation: one for the write, none for the rest.
        mkfifo /never; exec 3<>/never
        (n=0; while :; do
          n=$((n+1))
          read -r t r < /proc/uptime
          dd if=/dev/zero of=/mnt/beat bs=4k count=8 conv=fsync 2>/dev/null
          read -r u r < /proc/uptime
          echo $(( ${u%.*}${u#*.} - ${t%.*}${t#*.} )) >> /latency
          echo $n >> /beats
          read -r -t 0.2 x <&3
        done) &
        echo {{Alive}}
        while read -r line; do eval "$line"; echo "status $?"; done
        """;
}

/// <summary>The serial line of a running guest, a Unix socket that QEMU listens on.</summary>
public sealed class GuestSerial : IDisposable
{
    private static readonly TimeSpan MostWait = TimeSpan.FromSeconds(180);

    private readonly Socket _socket;
    private readonly StringBuilder _said = new();

    public GuestSerial(string path)
    {
        long started = Stopwatch.GetTimestamp();
        while (true)
        {
            _socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                _socket.Connect(new UnixDomainSocketEndPoint(path));
                _socket.ReceiveTimeout = 1000;
                return;
            }
            catch (SocketException) when (Stopwatch.GetElapsedTime(started) < MostWait)
            {
                _socket.Dispose();
                Thread.Sleep(50);
            }
        }
    }

    public void WaitUntilUp() => WaitFor(RunningGuest.Alive, 0);

    /// <summary>Runs a line of shell and returns what it printed.</summary>
    public string Run(string line)
    {
        int from = _said.Length;
        _socket.Send(Encoding.UTF8.GetBytes(line + "\n"));
        string answer = WaitFor("status ", from);
        int at = answer.LastIndexOf("status ", StringComparison.Ordinal);
        string status = answer[(at + 7)..].Trim();
        return status == "0" ? answer[..at].Trim() : throw new InvalidOperationException($"the guest's {line} ended with {status}: {answer}");
    }

    /// <summary>Writes the EICAR test file where the guest's first disk is mounted, and makes it last.</summary>
    public void PlantEicar(string name)
    {
        string coded = Convert.ToBase64String(Encoding.ASCII.GetBytes(@"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR" + "-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"));
        Run($"echo {coded} | base64 -d > '/mnt/{name}' && sync");
    }

    /// <summary>Begins to overwrite, in the background, the 30 MB of large files that its disk came with.</summary>
    public void Overwrite() => Run("(for f in /mnt/data/large*; do dd if=/dev/zero of=$f bs=60k count=50 conv=notrunc,fsync 2>/dev/null || exit 1; done; : > /overwritten) &");

    public void WaitUntilOverwritten() => Run("until [ -e /overwritten ]; do usleep 100000; done; rm /overwritten");

    /// <summary>How often it has written so far.</summary>
    public int Beats => int.Parse(Run("tail -n 1 /beats"), CultureInfo.InvariantCulture);

    /// <summary>Seconds that its synced writes took since this was last asked for, in steps of a hundredth: what its kernel tells to a shell.</summary>
    public IReadOnlyList<double> Latencies()
    {
        string[] lines = Run("cat /latency; : > /latency").Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        return [.. lines.Select(l => int.Parse(l, CultureInfo.InvariantCulture) / 100.0)];
    }

    public void Dispose() => _socket.Dispose();

    private string WaitFor(string text, int from)
    {
        byte[] buffer = new byte[4096];
        long started = Stopwatch.GetTimestamp();
        while (true)
        {
            string said = _said.ToString(from, _said.Length - from).Replace("\r", "", StringComparison.Ordinal);
            int at = said.IndexOf(text, StringComparison.Ordinal);
            if (at >= 0 && said.IndexOf('\n', at) >= 0)
            {
                return said;
            }

            if (Stopwatch.GetElapsedTime(started) > MostWait)
            {
                throw new InvalidOperationException($"the guest does not say \"{text}\": {_said}");
            }

            try
            {
                int got = _socket.Receive(buffer);
                _said.Append(Encoding.UTF8.GetString(buffer, 0, got > 0 ? got : throw new InvalidOperationException($"the guest went away: {_said}")));
            }
            catch (SocketException e) when (e.SocketErrorCode is SocketError.TimedOut or SocketError.WouldBlock)
            {
                // Not yet.
            }
        }
    }
}
