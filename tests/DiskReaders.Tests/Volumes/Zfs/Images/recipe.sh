#!/bin/bash
# Makes pool.xz beside it: labels 0 and 1 of a pool of one disk, the first 512 KiB. As root, on a machine without another zfs-fuse.
# Needs: zfs-fuse (its programs are enough, in the path; no service) xz-utils
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
truncate -s 64M "$work/disk"
mkdir -p /var/run/zfs
zfs-fuse --no-daemon --no-kstat-mount & daemon=$!
trap 'kill $daemon; rm -r "$work"' EXIT
for _ in {1..50}; do [ -S /var/run/zfs/zfs_socket ] && break; sleep 0.2; done
zpool create -m none pool "$work/disk"
zpool export pool
head -c 512K "$work/disk" | xz -9e > "$here/pool.xz"
