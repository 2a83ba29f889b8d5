#!/bin/bash
# Runs a shell script as the only process of a Linux kernel of its own, under software emulation, with the named files as its
# disks vda, vdb, ...: device-mapper volumes are made and read by the kernel that owns the format, whatever this machine's has.
# usage: kernel.sh SCRIPT DISK...   The script's standard output is that of this program.
set -euo pipefail
script=$1; shift
kernel=$(ls -v /boot/vmlinuz-* | tail -1)
modules=/lib/modules/${kernel#/boot/vmlinuz-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{bin,sbin,dev,proc,sys,run,tmp,etc/lvm,mnt,"$modules"}
cp "$(command -v busybox)" "$root/bin/busybox"
for tool in lvm dmsetup mke2fs thin_check thin_repair thin_restore thin_dump cache_check; do
    path=$(PATH=$PATH:/usr/sbin:/sbin command -v $tool)
    cp "$path" "$root/sbin/$tool"
    for library in $(ldd "$path" | grep -o '/[^ ]*'); do mkdir -p "$root${library%/*}"; cp -n "$library" "$root$library"; done
done
cp "$modules"/modules.{dep,builtin,order} "$root$modules/"
for module in crc32c_generic virtio_pci virtio_blk ext4 dm-mod dm-mirror dm-log dm-raid raid456 raid1 raid10 raid0 dm-snapshot dm-thin-pool dm-cache dm-cache-smq dm-writecache dm-integrity dm-zero; do
    file=$(grep -m1 "/${module/-/[-_]}\.ko:" "$modules/modules.dep" | tr -d ':') || continue
    for needed in $file; do mkdir -p "$root$modules/${needed%/*}"; cp -n "$modules/$needed" "$root$modules/$needed"; done
done
cat > "$root/etc/lvm/lvm.conf" <<'CONF'
devices { dir="/dev" scan=["/dev"] obtain_device_list_from_udev=0 use_devicesfile=0 md_component_detection=0 issue_discards=0 }
activation { udev_sync=0 udev_rules=0 verify_udev_operations=1 monitoring=0 }
global { use_lvmpolld=0 event_activation=0 thin_check_options=["-q"] }
backup { backup=0 archive=0 }
CONF
cp "$script" "$root/script"
# To unpack itself takes an emulated processor half of the boot, so the payload of the bzImage (Linux/x86 boot protocol), which QEMU boots by PVH. Debian's is xz.
number() { od -An "-tu$2" -j "$1" -N "$2" "$kernel" | tr -d ' '; }
start=$((($(number 497 1) + 1) * 512 + $(number 584 4) + 1))
head -c "$((start - 1 + $(number 588 4)))" "$kernel" | tail -c "+$start" > "$work/payload.xz"
if xz -dc --single-stream "$work/payload.xz" > "$work/vmlinux" 2>/dev/null; then kernel=$work/vmlinux; fi
cat > "$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/sbin:/bin LVM_SUPPRESS_FD_WARNINGS=1
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
for m in crc32c_generic virtio_pci virtio_blk ext4 dm-mod dm-mirror raid0 raid1 raid10 raid456 dm-raid dm-snapshot dm-thin-pool dm-cache dm-cache-smq dm-writecache dm-integrity dm-zero; do modprobe $m || echo "no $m" > /dev/ttyS0; done
exec </dev/null 2>/dev/ttyS0 >/dev/ttyS1
sh -eu /script && echo RIG-DONE
sync; poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1 > "$work/initrd")
drives=()
for disk; do drives+=(-drive "file=$disk,format=raw,if=virtio,cache=unsafe"); done
timeout 1800 qemu-system-x86_64 -accel tcg -m 1024 -smp 1 -nodefaults -display none -no-reboot -kernel "$kernel" -initrd "$work/initrd" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check" "${drives[@]}" -serial "file:$work/console" -serial "file:$work/out"
if ! grep -q RIG-DONE "$work/out"; then cat "$work/console" "$work/out" >&2; exit 1; fi
if [ -n "${RIG_CONSOLE:-}" ]; then cat "$work/console" >&2; fi
tr -d '\r' < "$work/out" | grep -v RIG-DONE
