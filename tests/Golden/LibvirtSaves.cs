namespace Vmsweep.Golden;

/// <summary>
/// Save images of the guest of <see cref="MemoryGuest"/> by a libvirt of its own, packed in each way that its version knows, and an ELF core of the same
/// moment: the guest is paused, saved, and restored paused for the next. The daemon runs in a mount namespace in which libvirt's folders are
/// private, so that no other is touched.
/// </summary>
public sealed class LibvirtSaves : IDisposable
{
    public static readonly IReadOnlyList<string> Formats = ["raw", "gzip", "bzip2", "xz", "lzop"];

    private static readonly Lazy<LibvirtSaves> Shared = new(() => new LibvirtSaves());

    private readonly Scratch _scratch = new();

    private LibvirtSaves()
    {
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Dispose();
        foreach (string needed in (ReadOnlySpan<string>)["libvirtd", "virsh", "unshare", "qemu-system-x86_64", .. Formats.Skip(1)])
        {
            Tool.Find(needed);
        }

        // That of MemoryGuest unpacks itself and goes to a random place; this one stays where it was linked to.
        string initrd = MemoryGuest.Boot(_scratch).Initrd;
        string kernel = LinuxGuest.UnpackedKernel;
        File.WriteAllText(_scratch["guest.xml"],
            $"""
            <domain type='qemu'>
              <name>memory guest</name>
              <uuid>0b1a2c3d-0000-4000-8000-00000000002a</uuid>
              <memory unit='MiB'>{MemoryGuest.MemoryMiB}</memory>
              <vcpu>1</vcpu>
              <os><type arch='x86_64' machine='pc'>hvm</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd><cmdline>console=ttyS0 quiet no_timer_check panic=-1</cmdline></os>
              <cpu mode='custom'><model>qemu64</model></cpu>
              <devices>
                <emulator>{Tool.Find("qemu-system-x86_64")}</emulator>
                <serial type='file'><source path='{_scratch["serial"]}'/></serial>
                <memballoon model='none'/>
              </devices>
            </domain>
            """);
        File.WriteAllText(_scratch["rig.sh"], $"{LoopDevices.LetGo}\n{Script}".ReplaceLineEndings("\n"));
        Tool.Run("timeout", "-k", "20", "540", Tool.Find("unshare"), "-m", "--propagation", "private", "bash", "-euo", "pipefail", _scratch["rig.sh"], _scratch.Folder, string.Join(' ', Formats));
    }

    public static LibvirtSaves Instance => Shared.Value;

    /// <summary>By <c>virsh dump --memory-only</c>.</summary>
    public string Core => _scratch["guest.core"];

    public string Of(string format) => _scratch[$"guest.{format}.save"];

    public void Dispose() => _scratch.Dispose();

    private static string Script =>
        """
        cd "$1"
        export PATH=$PATH:/usr/sbin:/sbin
        for d in /etc/libvirt /var/lib/libvirt /run/libvirt /var/log/libvirt; do
          mkdir -p "private$d" "$d"
        done
        mkdir -p private/var/lib/libvirt/qemu private/etc/libvirt/qemu
        for d in /etc/libvirt /var/lib/libvirt /run/libvirt /var/log/libvirt; do
          mount --bind "private$d" "$d"
        done
        printf 'unix_sock_dir="%s"\nauth_unix_rw="none"\nauth_unix_ro="none"\n' "$PWD" > libvirtd.conf
        v() { virsh -q -c "qemu:///system?socket=$PWD/libvirt-sock" "$@"; }
        start() {
          printf 'stdio_handler="file"\nuser="root"\ngroup="root"\ndynamic_ownership=0\nremember_owner=0\nsecurity_driver="none"\nnamespaces=[]\ncgroup_controllers=[]\nsave_image_format="%s"\n' "$1" > /etc/libvirt/qemu.conf
          libvirtd -f libvirtd.conf -p libvirtd.pid > libvirtd.log 2>&1 &
          daemon=$!
          for i in $(seq 600); do v version > /dev/null 2>&1 && return; sleep 0.1; done
          cat libvirtd.log >&2
          return 1
        }
        stop() { [ "$daemon" = 0 ] || { kill "$daemon" && wait "$daemon" || true; }; daemon=0; }
        daemon=0
        trap 'for p in /run/libvirt/qemu/memory*.pid; do [ ! -f "$p" ] || kill "$(cat "$p")"; done; stop' EXIT
        first=1
        for format in $2; do
          start "$format"
          if [ $first = 1 ]; then
            v create guest.xml
            for i in $(seq 3000); do grep -q "guest is ready" serial && break; sleep 0.1; done
            v suspend "memory guest"
            v dump --memory-only --format elf "memory guest" guest.core
            first=0
          fi
          v save "memory guest" "guest.$format.save" --paused
          v restore "guest.$format.save" --paused
          stop
        done
        """;
}
