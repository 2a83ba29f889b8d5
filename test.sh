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

# Programs of the tests and the Debian packages that bring them: one list, the one that a test's own message is made from.
missing=()
while IFS=$'\t' read -r program packages; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || [ -e "$program" ] || missing+=($packages)
done < <(sed -nE 's/^ *\["([^"]+)"\] = "([^"]+)",$/\1\t\2/p' tests/Golden/Tool.cs)
ldconfig -p 2>/dev/null | grep -q 'libyara\.so\.9' || /sbin/ldconfig -p | grep -q 'libyara\.so\.9' || missing+=(libyara9)
ldconfig -p 2>/dev/null | grep -q 'libfwnt\.so\.1' || /sbin/ldconfig -p | grep -q 'libfwnt\.so\.1' || missing+=(libfwnt1)
# What this machine's kernel does not offer (MD, device mapper) runs on one in a small guest.
compgen -G '/boot/vmlinuz-*' >/dev/null || missing+=(linux-image-amd64)
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
# One compiler for all projects: one for each spends most of its time on starting. It is not left behind.
dotnet build appliance.sln -c Release --no-restore --nologo -v quiet -p:UseSharedCompilation=true
dotnet build-server shutdown --vbcscompiler >/dev/null 2>&1 || true

export VMSWEEP_CORPUS="${VMSWEEP_CORPUS-$PWD/../shared/corpus}"
passed=0 failed=0 skipped=0
logs=$(mktemp -d)
row=
trap '[ -z "$row" ] || kill -- "-$row" 2>/dev/null; rm -rf "$logs"' EXIT
trap 'exit 130' INT TERM

run() {
    echo "== $1"
    "tests/$1.Tests/bin/Release/net10.0/Vmsweep.$1.Tests" -noLogo -noColor "${@:2}" "${filter[@]}" 2>&1
}

add() {
    local status=$2 summary bad
    summary=$(grep -E 'Total: [0-9]+, Errors: ' "$logs/$1" | tail -n 1) || true
    count() { sed -nE "s/.*$1: ([0-9]+).*/\1/p" <<<"$summary"; }
    if [ -z "$summary" ]; then
        failed=$((failed + 1))
        return
    fi
    bad=$(($(count Failed) + $(count Errors)))
    [ "$status" = 0 ] || [ "$bad" -gt 0 ] || bad=1
    failed=$((failed + bad))
    skipped=$((skipped + $(count Skipped)))
    passed=$((passed + $(count Total) - $(count Failed) - $(count Skipped) - $(count 'Not Run')))
}

# The quick ones first. Then two rows side by side: many tests of the appliance wait for guests and servers while those of the readers keep a processor
# busy, and some of the readers' wait for tools, so that in each row one more than there are processors run.
later() {
    local status=0
    run "$@" >"$logs/$1" || status=$?
    echo "$status" >"$logs/$1.status"
}

status=0; run Scheduler | tee "$logs/Scheduler" || status=$?
add Scheduler "$status"
# A process group of its own, so that it can be ended with all that it started. One in the background is stopped when it reads from the terminal.
# It fills what the other leaves of the processors: that one is the longer.
set -m
{ renice -n 5 "$BASHPID" >/dev/null; later DiskReaders -maxThreads 1.5x; later Signatures; } </dev/null &
row=$!
set +m
# The end-to-end tests go through the launcher; its build is done here so that no test waits for it, and beside the readers' tests, which do not.
./vmsweep --version
status=0; run Appliance -maxThreads 1.5x | tee "$logs/Appliance" || status=$?
add Appliance "$status"
wait "$row"
row=
for project in DiskReaders Signatures; do
    cat "$logs/$project"
    add "$project" "$(cat "$logs/$project.status")"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
