#!/usr/bin/env bash
# Runs every test from a clean clone: installs what the tests need, restores, builds, tests.
#   ./test.sh           everything
#   ./test.sh --fast    without what needs servers, large images or minutes
# VMSWEEP_CORPUS names the folder of real disk images (default ../shared/corpus); without it those tests say that they are skipped.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"

filter=()
case "${1-}" in
    '') ;;
    --fast) filter=(-trait- Category=Slow) ;;
    *) sed -n '2,5s/^# \?//p' "$0" >&2; exit 2 ;;
esac

# Program that proves it, and the Debian package that brings it.
needs=(
    /usr/lib/x86_64-linux-gnu/libyara.so.9:libyara9 bwrap:bubblewrap yara:yara
    qemu-img:qemu-utils mke2fs:e2fsprogs mkfs.fat:dosfstools mcopy:mtools mkntfs:ntfs-3g fls:sleuthkit wimlib-imagex:wimtools
    sfdisk:fdisk sgdisk:gdisk setfattr:attr mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs 7z:p7zip-full
    fusermount3:fuse3 xz:xz-utils unzip:unzip openssl:openssl script:bsdutils
    cryptsetup:cryptsetup-bin dislocker-file:dislocker bdemount:libbde-utils
)
missing=()
for need in "${needs[@]}"; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${need%%:*}" >/dev/null || [ -e "${need%%:*}" ] || missing+=("${need##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "missing packages; install them with: sudo apt-get install -y ${missing[*]}" >&2
        exit 2
    fi
    echo "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

dotnet restore appliance.sln --locked-mode -v quiet
dotnet build appliance.sln -c Release --no-restore --nologo -v quiet
# The end-to-end tests go through the launcher; its build is done here so that no test waits for it.
./vmsweep --version

export VMSWEEP_CORPUS="${VMSWEEP_CORPUS-$PWD/../shared/corpus}"
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for project in Signatures DiskReaders Appliance; do
    echo "== $project"
    status=0
    "tests/$project.Tests/bin/Release/net10.0/Vmsweep.$project.Tests" -noLogo -noColor "${filter[@]}" 2>&1 | tee "$log" || status=$?
    summary=$(grep -E 'Total: [0-9]+, Errors: ' "$log" | tail -n 1)
    count() { sed -nE "s/.*$1: ([0-9]+).*/\1/p" <<<"$summary"; }
    if [ -z "$summary" ]; then
        failed=$((failed + 1))
        continue
    fi
    bad=$(($(count Failed) + $(count Errors)))
    [ "$status" = 0 ] || [ "$bad" -gt 0 ] || bad=1
    failed=$((failed + bad))
    skipped=$((skipped + $(count Skipped)))
    passed=$((passed + $(count Total) - $(count Failed) - $(count Skipped) - $(count 'Not Run')))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
