using System.Diagnostics;
using System.Text;

namespace Vmsweep.Golden;

/// <summary>Runs other people's programs. A missing one fails the test with the command that installs it; nothing is skipped.</summary>
public static class Tool
{
    private static readonly Dictionary<string, string> Packages = new(StringComparer.Ordinal)
    {
        // Files are named by their whole paths.
        ["/usr/lib/grub/i386-pc/boot.img"] = "grub-pc-bin",
        ["/usr/lib/syslinux/mbr/mbr.bin"] = "syslinux-common",
        ["/usr/lib/apache2/modules/mod_auth_gssapi.so"] = "libapache2-mod-auth-gssapi",
        ["/usr/lib/x86_64-linux-gnu/gssntlmssp/gssntlmssp.so"] = "gss-ntlmssp",
        ["/usr/share/clamav-testfiles/clam.exe"] = "clamav-testfiles",
        ["/usr/share/gocode/src/github.com/vmware/govmomi/simulator/simulator.go"] = "golang-github-vmware-govmomi-dev",
        ["7z"] = "p7zip-full",
        ["apache2"] = "apache2-bin",
        ["arj"] = "arj",
        ["bdemount"] = "libbde-utils",
        ["blkid"] = "util-linux",
        ["blkls"] = "sleuthkit",
        ["bsdtar"] = "libarchive-tools",
        ["busybox"] = "busybox-static",
        ["bwrap"] = "bubblewrap",
        ["bzip2"] = "bzip2",
        ["cache_restore"] = "thin-provisioning-tools",
        ["ar"] = "binutils",
        ["chattr"] = "e2fsprogs",
        ["chromium"] = "chromium",
        ["clamd"] = "clamav-daemon",
        ["clamscan"] = "clamav",
        ["cpio"] = "cpio",
        ["cryptsetup"] = "cryptsetup-bin",
        ["db5.3_load"] = "db5.3-util",
        ["debugfs"] = "e2fsprogs",
        ["dislocker-file"] = "dislocker",
        ["fdisk"] = "fdisk",
        ["flock"] = "util-linux",
        ["fls"] = "sleuthkit",
        ["fsck.erofs"] = "erofs-utils",
        ["fusermount3"] = "fuse3",
        ["file"] = "file",
        ["gcab"] = "gcab",
        ["makensis"] = "nsis",
        ["genisoimage"] = "genisoimage",
        ["go"] = "golang-go",
        ["gsf"] = "libgsf-bin",
        ["gvpr"] = "graphviz",
        ["gzip"] = "gzip",
        ["hivexsh"] = "libhivex-bin python3-hivex",
        ["icat"] = "sleuthkit",
        ["jlha"] = "jlha-utils",
        ["kadmin.local"] = "krb5-admin-server",
        ["kdb5_util"] = "krb5-kdc",
        ["krb5kdc"] = "krb5-kdc",
        ["ldmtool"] = "ldmtool",
        ["lha"] = "lhasa",
        ["libvirtd"] = "libvirt-daemon-system",
        ["lz4"] = "lz4",
        ["losetup"] = "mount",
        ["lvm"] = "lvm2",
        ["lzop"] = "lzop",
        ["mcopy"] = "mtools",
        ["mdadm"] = "mdadm",
        ["mke2fs"] = "e2fsprogs",
        ["mkfs.btrfs"] = "btrfs-progs",
        ["mkfs.cramfs"] = "util-linux",
        ["mkfs.erofs"] = "erofs-utils",
        ["mkfs.exfat"] = "exfatprogs",
        ["mkfs.fat"] = "dosfstools",
        ["mkfs.minix"] = "util-linux",
        ["mkfs.ntfs"] = "ntfs-3g",
        ["mkfs.xfs"] = "xfsprogs",
        ["mkntfs"] = "ntfs-3g",
        ["mksquashfs"] = "squashfs-tools",
        ["mkswap"] = "util-linux",
        ["mkudffs"] = "udftools",
        ["mkzftree"] = "genisoimage",
        ["mmls"] = "sleuthkit",
        ["modprobe"] = "kmod",
        ["mount.exfat-fuse"] = "exfat-fuse",
        ["msibuild"] = "msitools",
        ["nbdcopy"] = "libnbd-bin",
        ["nbdinfo"] = "libnbd-bin",
        ["nbdkit"] = "nbdkit",
        ["nbdsh"] = "python3-libnbd",
        ["ntfs-3g"] = "ntfs-3g",
        ["ntfscat"] = "ntfs-3g",
        ["ntfscp"] = "ntfs-3g",
        ["ntfsinfo"] = "ntfs-3g",
        ["openssl"] = "openssl",
        ["parted"] = "parted",
        ["partx"] = "util-linux",
        ["pg_ctlcluster"] = "postgresql",
        ["python3"] = "python3",
        ["qemu-img"] = "qemu-utils",
        ["readelf"] = "binutils",
        ["qemu-io"] = "qemu-utils",
        ["qemu-nbd"] = "qemu-utils",
        ["qemu-system-x86_64"] = "qemu-system-x86",
        ["rpm"] = "rpm",
        ["rpmbuild"] = "rpm",
        ["script"] = "bsdutils",
        ["setfattr"] = "attr",
        ["setpriv"] = "util-linux",
        ["sfdisk"] = "fdisk",
        ["sgdisk"] = "gdisk",
        ["ssh"] = "openssh-client",
        ["ssh-keygen"] = "openssh-client",
        ["sshd"] = "openssh-server",
        ["thin_check"] = "thin-provisioning-tools",
        ["thin_restore"] = "thin-provisioning-tools",
        ["unshare"] = "util-linux",
        ["unsquashfs"] = "squashfs-tools",
        ["unzip"] = "unzip",
        ["vhdiinfo"] = "libvhdi-utils",
        ["vhdimount"] = "libvhdi-utils",
        ["virsh"] = "libvirt-clients",
        ["vshadowinfo"] = "libvshadow-utils",
        ["vshadowmount"] = "libvshadow-utils",
        ["wimlib-imagex"] = "wimtools",
        ["xfs_io"] = "xfsprogs",
        ["xorriso"] = "xorriso",
        ["xz"] = "xz-utils",
        ["yara"] = "yara",
        ["zip"] = "zip",
        ["zstd"] = "zstd",
    };

    /// <summary>Runs a program to its end and returns its standard output; any exit status but 0 fails with what it said.</summary>
    public static string Run(string program, params string[] arguments) => Encoding.UTF8.GetString(RunRaw(program, null, arguments));

    /// <summary>Runs a shell script with <c>bash -euo pipefail</c> in a folder.</summary>
    public static string Shell(string script, string? folder = null) =>
        Encoding.UTF8.GetString(RunRaw("bash", folder, "-euo", "pipefail", "-c", script));

    /// <summary>As <see cref="Run"/>, bytes.</summary>
    public static byte[] RunRaw(string program, string? folder, params string[] arguments)
    {
        foreach (string image in program == "mount" ? arguments.Where(File.Exists) : [])
        {
            LoopDevices.WaitUntilReleased(image);
        }

        (int status, byte[] output, string error) = Try(program, folder, arguments);
        if (folder is not null && arguments is [.., string script] && script.Contains("umount", StringComparison.Ordinal))
        {
            LoopDevices.WaitUntilReleased(folder);
        }

        return status == 0
            ? output
            : throw new InvalidOperationException($"{program} {string.Join(' ', arguments)} ended with {status}: {error}{Encoding.UTF8.GetString(output)}");
    }

    /// <summary>Runs a program and returns its status, standard output and standard error, whatever the status.</summary>
    public static (int Status, byte[] Output, string Error) Try(string program, string? folder, params string[] arguments)
    {
        var start = new ProcessStartInfo(Find(program), arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = folder ?? "",
        };
        start.Environment["LC_ALL"] = "C.UTF-8";
        start.Environment["MTOOLS_SKIP_CHECK"] = "1";
        using Process process = Process.Start(start)!;
        process.StandardInput.Close();
        var error = new StringBuilder();
        process.ErrorDataReceived += (_, line) => error.AppendLine(line.Data);
        process.BeginErrorReadLine();
        using var output = new MemoryStream();
        process.StandardOutput.BaseStream.CopyTo(output);
        process.WaitForExit();
        return (process.ExitCode, output.ToArray(), error.ToString());
    }

    /// <summary>The path of a program, or a failure that says how to install it.</summary>
    public static string Find(string program)
    {
        if (program.Contains('/', StringComparison.Ordinal))
        {
            return !Packages.TryGetValue(program, out string? from) || File.Exists(program)
                ? program
                : throw new InvalidOperationException($"{program} is missing; install it with: apt-get install -y {from}");
        }

        foreach (string folder in $"{Environment.GetEnvironmentVariable("PATH")}:/usr/sbin:/sbin".Split(':', StringSplitOptions.RemoveEmptyEntries))
        {
            string path = Path.Combine(folder, program);
            if (File.Exists(path))
            {
                return path;
            }
        }

        string package = Packages.GetValueOrDefault(program, program);
        throw new InvalidOperationException($"{program} is missing; install it with: apt-get install -y {package}");
    }
}
