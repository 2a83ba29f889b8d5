using System.Globalization;
using Vmsweep.Golden;

namespace Vmsweep.Rigs;

/// <summary>
/// A libvirtd of its own with QEMU below it, without hardware virtualization. It runs in a mount namespace in which libvirt's folders are this rig's, so that
/// neither another daemon nor this machine's configuration is touched.
/// </summary>
public sealed class LibvirtRig : IDisposable
{
    private static readonly string[] Folders = ["/etc/libvirt", "/var/lib/libvirt", "/run/libvirt", "/var/cache/libvirt"];

    public const int SmallMebibytes = 16;

    private readonly Scratch _scratch = new();
    private readonly List<string> _domains = [];
    private readonly string? _host;
    private readonly SmallFileSystem _small;
    private Daemon _daemon;

    /// <param name="host">What the daemon takes its host for; null for this machine.</param>
    public LibvirtRig(string? host = null)
    {
        _host = host;
        foreach (string needed in (string[])["libvirtd", "virsh", "unshare", "qemu-system-x86_64"])
        {
            Tool.Find(needed);
        }

        // QEMU runs as another account and must pass through.
        Tool.Shell(
            """
            chmod 711 .
            mkdir -p etc/libvirt/qemu var/lib/libvirt run/libvirt var/cache/libvirt images views/x saves
            rmdir views/x
            chmod 711 images
            printf 'stdio_handler = "file"\n' > etc/libvirt/qemu.conf
            cp -r /var/lib/libvirt/. var/lib/libvirt/ 2>/dev/null || true
            rm -rf var/lib/libvirt/qemu/save/* var/lib/libvirt/qemu/checkpoint/* var/lib/libvirt/qemu/domain-* var/lib/libvirt/qemu/nvram/*
            cp -r /var/cache/libvirt/. var/cache/libvirt/ 2>/dev/null || true
            printf 'unix_sock_dir="%s"\nauth_unix_rw="none"\nauth_unix_ro="none"\nhost_uuid="%s"\n' "$PWD" "$(cat /proc/sys/kernel/random/uuid)" > libvirtd.conf
            """,
            Folder);
        RunningGuest.MakeBoot(Images);
        _small = new SmallFileSystem(_scratch["small"], SmallMebibytes);
        _daemon = StartDaemon();
    }

    public string Folder => _scratch.Folder;

    /// <summary>Where disks and boot files lie.</summary>
    public string Images => _scratch["images"];

    /// <summary>A file system of <see cref="SmallMebibytes"/>, for what guests overwrite.</summary>
    public string Small => _small.Folder;

    public string Views => _scratch["views"];

    public string Saves => _scratch["var/lib/libvirt/qemu/save"];

    public string Socket => _scratch["libvirt-sock"];

    /// <summary>As a target or a configured address has it, without a VM.</summary>
    public string Address => $"libvirt:///system?socket={Socket}";

    public string Virsh(params string[] arguments) => Tool.Run("virsh", ["-q", "-c", $"qemu:///system?socket={Socket}", .. arguments]);

    public (int Status, byte[] Output, string Error) TryVirsh(params string[] arguments) => Tool.Try("virsh", null, ["-q", "-c", $"qemu:///system?socket={Socket}", .. arguments]);

    /// <summary>Defines and starts a guest; returns when it has begun to write.</summary>
    /// <param name="disks">Files in <see cref="Images"/>, the first one with the ext4.</param>
    public GuestSerial Start(string name, params IReadOnlyList<string> disks)
    {
        Define(name, disks);
        return Boot(name);
    }

    public GuestSerial Boot(string name)
    {
        File.Delete(SerialOf(name));
        Virsh("start", name);
        var serial = new GuestSerial(SerialOf(name));
        serial.WaitUntilUp();
        return serial;
    }

    public string SerialOf(string name) => Path.Combine(Images, name + ".serial");

    public void Define(string name, params IReadOnlyList<string> disks)
    {
        string letters = "abcdefgh";
        string devices = string.Concat(disks.Select((d, i) =>
            $"<disk type='file' device='disk'><driver name='qemu' type='{Path.GetExtension(d)[1..]}' cache='writeback'/><source file='{Path.Combine(Images, d)}'/><target dev='vd{letters[i]}' bus='virtio'/></disk>"));
        string xml =
            $"""
            <domain type='qemu'>
              <name>{name}</name>
              <memory unit='MiB'>256</memory>
              <vcpu>1</vcpu>
              <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{Images}/vmlinux</kernel><initrd>{Images}/initrd</initrd><cmdline>console=ttyS0 quiet no_timer_check panic=-1</cmdline></os>
              <cpu mode='maximum'/>
              <devices>
                <emulator>/usr/bin/qemu-system-x86_64</emulator>
                {devices}
                <interface type='user'><mac address='52:54:00:12:34:56'/><model type='virtio'/></interface>
                <serial type='unix'><source mode='bind' path='{SerialOf(name)}'/><target port='0'/></serial>
                <memballoon model='none'/>
              </devices>
            </domain>
            """;
        File.WriteAllText(_scratch[name + ".xml"], xml);
        // QEMU makes its serial socket in the folder of the disks.
        Tool.Shell("chown libvirt-qemu images && chmod 711 images", Folder);
        Virsh("define", _scratch[name + ".xml"]);
        _domains.Add(name);
    }

    /// <summary>As an update of the package does it: the guests go on.</summary>
    public void RestartDaemon()
    {
        StopDaemon();
        _daemon = StartDaemon();
    }

    public void StopDaemon()
    {
        _daemon.Signal("KILL");
        for (int i = 0; i < 100 && !_daemon.HasExited; i++)
        {
            Thread.Sleep(50);
        }

        _daemon.Dispose();
    }

    public void StartDaemonAgain() => _daemon = StartDaemon();

    public void Dispose()
    {
        foreach (string name in _domains)
        {
            TryVirsh("destroy", name);
        }

        _daemon.Dispose();
        foreach (string pid in Directory.Exists(_scratch["run/libvirt/qemu"]) ? Directory.GetFiles(_scratch["run/libvirt/qemu"], "*.pid") : [])
        {
            string id = File.ReadAllText(pid).Trim();
            if (Path.GetFileName(pid) != "driver.pid" && int.TryParse(id, NumberStyles.None, CultureInfo.InvariantCulture, out _))
            {
                Tool.Try("/bin/kill", null, "-9", id);
            }
        }

        _small.Dispose();
        _scratch.Dispose();
    }

    private Daemon StartDaemon()
    {
        File.Delete(Socket);
        string binds = string.Join("; ", Folders.Select(f => $"mkdir -p {f} && mount --bind {Folder}{f} {f}"));
        // Without --fork: unshare becomes the shell, and the shell becomes the daemon, so that its process id is the daemon's.
        return Daemon.Start("unshare", () => Daemon.Listens(Socket) && TryVirsh("version").Status == 0, ["--mount", "--propagation", "private", .. (string[])(_host is null ? [] : ["--uts"]), "bash", "-ec", $"{LoopDevices.LetGo}; {binds}; {(_host is null ? "" : $"hostname {_host}; ")}exec setsid libvirtd -f {Folder}/libvirtd.conf -p {Folder}/libvirtd.pid"]);
    }
}
