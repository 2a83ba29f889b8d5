using System.Buffers.Binary;
using System.Globalization;

namespace Vmsweep.Golden;

/// <summary>
/// Runs a shell script as root on a real Linux kernel of its own, for what this machine's kernel does not offer (MD, device mapper).
/// A small guest under QEMU, without hardware virtualization: Debian's kernel, busybox, the modules and programs asked for. Up in 5 s.
/// </summary>
public static class LinuxGuest
{
    private const string DoneMark = "guest is done";

    private static readonly Lazy<string> Unpacked = new(Unpack);

    /// <summary>
    /// Runs <paramref name="script"/> in an empty folder of the guest; everything it leaves there is then found in
    /// <paramref name="folder"/>. Files of the host are block devices there, /dev/vdc for the first of <paramref name="disks"/> and so on.
    /// </summary>
    /// <returns>What the script printed.</returns>
    public static string Run(string folder, string script, IReadOnlyList<string> modules, IReadOnlyList<string> programs, params IReadOnlyList<string> disks)
    {
        string kernel = Kernel();
        using var scratch = new Scratch();
        File.WriteAllText(scratch["script"], script.ReplaceLineEndings("\n"));
        File.WriteAllText(scratch["init"], Init.ReplaceLineEndings("\n"));
        string wanted = string.Join(' ', programs.Select(Tool.Find));
        foreach (string needed in (ReadOnlySpan<string>)["busybox", "cpio", "modprobe", "qemu-system-x86_64"])
        {
            Tool.Find(needed);
        }

        Tool.Shell(
            $$"""
            export PATH=$PATH:/usr/sbin:/sbin
            mkdir -p root/bin root/dev root/proc root/sys root/modules root/tmp root/run
            cp "$(command -v busybox)" root/bin/busybox
            for p in {{wanted}}; do
              cp "$p" root/bin/
              for l in $(ldd "$p" | grep -o '/[^ ]*'); do mkdir -p root/$(dirname $l); cp -n $l root/$l; done
            done
            n=100
            for m in virtio_pci virtio_blk loop {{string.Join(' ', modules)}}; do
              for f in $(modprobe -S {{kernel}} --show-depends $m | awk '$1 == "insmod" { print $2 }'); do
                b=$(basename $f .xz)
                ls root/modules | grep -q -- "^[0-9]*-$b\$" && continue
                case $f in *.xz) xz -dc $f ;; *) cat $f ;; esac > root/modules/$n-$b
                n=$((n+1))
              done
            done
            cp init script root/; chmod +x root/init
            (cd root && find . | cpio -o -H newc --quiet) > initrd
            truncate -s 4G out
            """,
            scratch.Folder);

        List<string> arguments =
        [
            "900", "qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "2048", "-nodefaults", "-no-reboot", "-nographic", "-serial", "stdio",
            "-kernel", UnpackedKernel, "-initrd", scratch["initrd"], "-append", "console=ttyS0 quiet no_timer_check mitigations=off panic=-1",
        ];
        foreach (string disk in (string[])[scratch["out"], scratch["initrd"], .. disks])
        {
            arguments.AddRange(["-drive", $"file={disk},format=raw,if=virtio,cache=unsafe" + (disk == scratch["out"] ? "" : ",readonly=on")]);
        }

        (int status, byte[] output, string error) = Tool.Try("timeout", null, [.. arguments]);
        string text = System.Text.Encoding.UTF8.GetString(output).ReplaceLineEndings("\n");
        if (!text.Contains(DoneMark + " 0\n", StringComparison.Ordinal))
        {
            throw new InvalidOperationException(string.Create(CultureInfo.InvariantCulture, $"the guest ended with {status}: {error}\n{text}"));
        }

        Directory.CreateDirectory(folder);
        Tool.Run("tar", "-xSf", scratch["out"], "-C", folder);
        return text;
    }

    private static string Init =>
        $$"""
        #!/bin/busybox sh
        /bin/busybox --install -s /bin
        mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
        for m in /modules/*; do insmod $m; done
        mkdir /work; mount -t tmpfs -o size=90% t /work; cd /work
        export PATH=/bin MDADM_NO_UDEV=1 DM_DISABLE_UDEV=1
        echo
        sh -e /script
        status=$?
        [ $status = 0 ] || dmesg | tail -30
        tar cf /dev/vda . && sync
        echo {{DoneMark}} $status
        poweroff -f
        """;

    /// <summary>The kernel that guests boot, as its package brings it.</summary>
    public static string PackedKernel => "/boot/vmlinuz-" + Kernel();

    /// <summary>
    /// The same as an ELF file, made once for a test run: QEMU boots it by the PVH protocol. Unpacking itself takes half the processor time of a boot under
    /// software emulation.
    /// </summary>
    public static string UnpackedKernel => Unpacked.Value;

    /// <summary>The release of the kernel that guests boot.</summary>
    public static string Kernel()
    {
        string? found = Directory.Exists("/lib/modules")
            ? Directory.GetDirectories("/lib/modules").Select(Path.GetFileName).Where(k => File.Exists("/boot/vmlinuz-" + k)).Max(StringComparer.Ordinal)
            : null;
        return found ?? throw new InvalidOperationException("no kernel for a guest; install it with: apt-get install -y linux-image-amd64");
    }

    /// <summary>The payload of a bzImage, by the Linux/x86 boot protocol: setup_sects, payload_offset, payload_length. Debian's is xz.</summary>
    private static string Unpack()
    {
        byte[] image = File.ReadAllBytes(PackedKernel);
        int setupBytes = (image[0x1F1] + 1) * 512;
        int at = setupBytes + BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(0x248));
        ReadOnlySpan<byte> payload = image.AsSpan(at, BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(0x24C)));
        if (!payload.StartsWith((ReadOnlySpan<byte>)[0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0]))
        {
            // Another distribution's: it boots as it is.
            return PackedKernel;
        }

        var scratch = new Scratch();
        AppDomain.CurrentDomain.ProcessExit += (_, _) => scratch.Dispose();
        File.WriteAllBytes(scratch["payload.xz"], payload);

        // The unpacked size stands behind the stream.
        Tool.Shell("xz -dc --single-stream payload.xz > vmlinux && rm payload.xz", scratch.Folder);
        return scratch["vmlinux"];
    }
}
