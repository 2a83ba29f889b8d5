#!/bin/bash
# Makes the images beside it, and sums.tsv: group/volume, bytes and SHA-256 as the kernel's device shows them.
# usage: recipe.sh FOLDER [pack]   With "pack" also as they are kept here. Needs: busybox-static cpio linux-image-amd64 lvm2 qemu-system-x86 thin-provisioning-tools xz-utils
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$1"
disks=(plain.{1..4} raid.{1..6} thin.{1,2} cow.1 cache.{1,2} integrity.{1,2})
for disk in "${disks[@]}"; do rm -f "$disk"; truncate -s 24M "$disk"; done
"$here/kernel.sh" "$here/volumes.sh" "${disks[@]}" | grep ^SUM | cut -f2- | sort > sums.tsv
[ "${2:-}" = pack ] || exit 0
for disk in "${disks[@]}"; do xz -9e -c "$disk" > "$disk.xz"; done
