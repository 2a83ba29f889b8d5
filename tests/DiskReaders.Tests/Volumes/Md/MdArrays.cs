using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Volumes.Md;

/// <summary>Arrays that mdadm and the kernel made and filled in a guest, once for all tests; with what the kernel then read from each.</summary>
public sealed class MdArrays : IDisposable
{
    private const int ContentBytes = 16 << 20;

    private static readonly string[] Raid5Layouts = ["left-asymmetric", "right-asymmetric", "left-symmetric", "right-symmetric", "parity-first", "parity-last"];
    private static readonly string[] Raid6Layouts =
    [
        .. Raid5Layouts, "ddf-zero-restart", "ddf-N-restart", "ddf-N-continue",
        "left-asymmetric-6", "right-asymmetric-6", "left-symmetric-6", "right-symmetric-6", "parity-first-6",
    ];

    private readonly Scratch _scratch = new();
    private readonly Dictionary<string, (long Bytes, string Sha256)> _read = new(StringComparer.Ordinal);

    public MdArrays()
    {
        byte[] content = new byte[ContentBytes];
        new Random(20).NextBytes(content);
        File.WriteAllBytes(_scratch["content"], content);
        var script = new StringBuilder(Functions);
        foreach ((string name, int count, string options) in Plain)
        {
            script.Append(CultureInfo.InvariantCulture, $"make {name} \"{Sizes(name, count)}\" {options}\n");
        }

        script.Append(Troubled).Append(FarSets);
        string printed = LinuxGuest.Run(
            _scratch["arrays"], script.ToString(), ["raid0", "raid1", "raid10", "raid456", "linear"], ["mdadm"], _scratch["content"]);
        foreach (string[] line in printed.Split('\n').Select(l => l.Trim().Split(' ')).Where(l => l is ["array", _, _, _]))
        {
            _read[line[1]] = (long.Parse(line[2], CultureInfo.InvariantCulture), line[3]);
        }
    }

    /// <summary>Sound arrays: name, members, options of mdadm. The name begins with the level.</summary>
    public static IReadOnlyList<(string Name, int Count, string Options)> Plain { get; } =
    [
        ("linear-12", 3, "--level=linear --metadata=1.2"),
        ("linear-090", 2, "--level=linear --metadata=0.90"),
        ("linear-10-unequal", 3, "--level=linear --metadata=1.0"),
        ("raid0-10", 3, "--level=0 --chunk=12 --metadata=1.0"),
        ("raid0-11", 3, "--level=0 --chunk=16 --metadata=1.1"),
        ("raid0-12", 3, "--level=0 --chunk=64 --metadata=1.2"),
        ("raid0-unequal-original", 4, "--level=0 --chunk=16 --metadata=1.2 --layout=original"),
        ("raid0-unequal-alternate", 4, "--level=0 --chunk=16 --metadata=1.2 --layout=alternate"),
        ("raid1-090", 2, "--level=1 --metadata=0.90"),
        ("raid1-10", 2, "--level=1 --metadata=1.0"),
        ("raid1-11", 3, "--level=1 --metadata=1.1"),
        ("raid1-12", 3, "--level=1 --metadata=1.2 --bitmap=internal"),
        ("raid1-12-unequal", 3, "--level=1 --metadata=1.2"),
        ("raid4-12", 4, "--level=4 --chunk=16 --metadata=1.2"),
        ("raid4-090", 3, "--level=4 --chunk=16 --metadata=0.90"),
        ("raid5-two", 2, "--level=5 --chunk=16 --metadata=1.2"),
        ("raid5-090", 4, "--level=5 --chunk=16 --metadata=0.90"),
        ("raid5-10-unequal", 4, "--level=5 --chunk=128 --metadata=1.0"),
        ("raid5-11", 4, "--level=5 --chunk=4 --metadata=1.1"),
        ("raid5-bitmap", 4, "--level=5 --chunk=16 --metadata=1.2 --bitmap=internal"),
        ("raid5-ppl", 4, "--level=5 --chunk=16 --metadata=1.2 --consistency-policy=ppl"),
        ("raid6-090", 5, "--level=6 --chunk=16 --metadata=0.90"),
        ("raid6-four", 4, "--level=6 --chunk=16 --metadata=1.0"),
        .. Raid5Layouts.Select((l, i) => ("raid5-" + l, 4 + (i % 2), $"--level=5 --chunk=16 --metadata=1.2 --layout={l}")),
        .. Raid6Layouts.Select((l, i) => ("raid6-" + l, 5 + (i % 2), $"--level=6 --chunk=16 --metadata=1.2 --layout={l}")),
        ("raid10-090", 4, "--level=10 --chunk=16 --metadata=0.90 --layout=n2"),
        .. from layout in (string[])["n2", "n3", "f2", "f3", "o2", "o3"]
           from count in (int[])[4, 5]
           select ($"raid10-{layout}-{count}", count, $"--level=10 --chunk=16 --metadata=1.2 --layout={layout}"),
    ];

    // A list of the members' sizes in KiB.
    private static string Sizes(string name, int count) =>
        string.Join(' ', Enumerable.Range(0, count).Select(i =>
            name.Contains("unequal", StringComparison.Ordinal) ? 900 + (200 * (i * i % 4)) + (7 * i)
            : name.Contains("ppl", StringComparison.Ordinal) ? 4000
            : 900));

    private static string Functions =>
        """
        n=0; offset=64
        # loops NAME SIZES: members as loop devices
        loops() {
          mkdir $1; devs=""; i=0
          for s in $2; do
            truncate -s ${s}K $1/$i; l=$(losetup -f); losetup $l $1/$i; devs="$devs $l"; i=$((i+1))
          done
          md=/dev/md$n; n=$((n+1)); count=$i
        }
        # create NAME OPTIONS: a new array over $devs
        create() {
          name=$1; shift
          case "$*" in *1.[12]*) o="--data-offset=$offset" ;; *) o="" ;; esac
          mdadm --create $md --run --assume-clean --force --homehost=rig --name=$name --raid-devices=$count $o "$@" $devs > log 2>&1 || { cat log; false; }
        }
        fill() { dd if=/dev/vdc of=$md bs=64k count=$(blockdev --getsize64 $md) iflag=count_bytes conv=fsync 2>/dev/null; }
        show() { echo array $1 $(blockdev --getsize64 $md) $(sha256sum $md | cut -c1-64); }
        stop() { mdadm --stop $md >/dev/null 2>&1; for l in $(losetup -a | cut -d: -f1); do losetup -d $l; done; }
        finish() { show $1; stop; }
        make() {
          case $1 in *ppl*) offset=2048 ;; *) offset=64 ;; esac
          name=$1; loops $name "$2"; shift 2; create $name "$@"; fill; finish $name
        }

        """;

    private static string Troubled =>
        """
        offset=64
        again() { dd if=/dev/vdc of=$md bs=64k skip=64 count=$(blockdev --getsize64 $md) iflag=count_bytes conv=fsync 2>/dev/null; }
        loop() { i=$1; set -- $devs; shift $i; echo $1; }
        slow() { echo $1 > /proc/sys/dev/raid/speed_limit_min; echo $1 > /proc/sys/dev/raid/speed_limit_max; }
        # midway: stops the array once some of the kernel's work on it is done, however fast or slow this guest is
        midway() {
          s=/sys/block/${md#/dev/}/md; t=0
          while case "$(cat $s/sync_completed)" in none|0*|delayed) [ $t -lt 120 ] ;; *) false ;; esac; do sleep 1; t=$((t+1)); done
          echo $1 stands at $(cat $s/sync_action $s/sync_completed) after $t s; stop
        }
        # bad NUMBER SECTOR COUNT: the kernel logs these (and would mend them when it reads), and the member loses them
        bad() { echo "$2 $3" > /sys/block/${md#/dev/}/md/dev-$(basename $(loop $1))/bad_blocks; }
        lose() { dd if=/dev/zero of=$1 bs=512 seek=$2 count=$3 conv=notrunc 2>/dev/null; }

        loops raid5-stale "900 900 900"; create raid5-stale --level=5 --chunk=16 --metadata=1.2; fill
        mdadm $md --fail $(loop 1) 2>/dev/null; again; finish raid5-stale

        loops raid1-090-stale "900 900"; create raid1-090-stale --level=1 --metadata=0.90; fill
        mdadm $md --fail $(loop 0) --remove $(loop 0) 2>/dev/null; again; finish raid1-090-stale

        loops raid5-spare "900 900 900 900"; count=3; create raid5-spare --level=5 --chunk=16 --metadata=1.2 --spare-devices=1; fill; finish raid5-spare

        loops raid5-bad "900 900 900"; create raid5-bad --level=5 --chunk=16 --metadata=1.2; fill; show raid5-bad
        bad 1 200 24; bad 2 1000 8; dd if=/dev/vdc of=$md bs=4k count=1 conv=fsync 2>/dev/null; stop
        lose raid5-bad/1 200 24; lose raid5-bad/2 1000 8

        loops raid1-bad "900 900"; create raid1-bad --level=1 --metadata=1.2; fill; show raid1-bad
        bad 0 200 24; dd if=/dev/vdc of=$md bs=4k count=1 conv=fsync 2>/dev/null; stop
        lose raid1-bad/0 200 24

        slow 100
        loops raid5-recovering "3000 3000 3000 3000"; create raid5-recovering --level=5 --chunk=16 --metadata=1.2; fill
        mdadm $md --fail $(loop 3) --remove $(loop 3) 2>/dev/null; mdadm --zero-superblock $(loop 3); dd if=/dev/zero of=$(loop 3) bs=1000k count=3 2>/dev/null
        show raid5-recovering; mdadm $md --add $(loop 3) 2>/dev/null; midway raid5-recovering

        loops raid5-replacing "3000 3000 3000 3000"; count=3; create raid5-replacing --level=5 --chunk=16 --metadata=1.2 --spare-devices=1; fill
        show raid5-replacing; mdadm $md --replace $(loop 1) --with $(loop 3) 2>/dev/null; midway raid5-replacing

        offset=1024
        loops raid5-reshaping "6000 6000 6000 6000"; count=3; create raid5-reshaping --level=5 --chunk=16 --metadata=1.2 --spare-devices=1; fill
        mdadm --grow $md --raid-devices=4 2>&1; midway raid5-reshaping
        slow 100000

        loops raid5-journal "4000 4000 4000 8000"; journal=$(loop 3); devs=${devs% *}; count=3; offset=64
        create raid5-journal --level=5 --chunk=16 --metadata=1.2 --write-journal $journal; fill; finish raid5-journal

        """;

    // Far sets, which mdadm has no name for: arrays without metadata, by sysfs (Documentation/admin-guide/md.rst).
    private static string FarSets =>
        """
        for layout in 131585 262657 328193; do
          loops far-$layout "900 900 900 900 900"
          echo md$n > /sys/module/md_mod/parameters/new_array; md=/dev/md$n; s=/sys/block/md$n/md; n=$((n+1))
          echo none > $s/metadata_version; echo raid10 > $s/level; echo 5 > $s/raid_disks; echo 16384 > $s/chunk_size; echo $layout > $s/layout
          i=0
          for d in $devs; do
            b=$(basename $d); cat /sys/block/$b/dev > $s/new_dev; echo 896 > $s/dev-$b/size; echo $i > $s/dev-$b/slot; i=$((i+1))
          done
          echo 896 > $s/component_size; echo none > $s/resync_start; echo active > $s/array_state
          fill; finish far-$layout
        done

        """;

    public long BytesOf(string name) => _read[name].Bytes;

    public string Sha256Of(string name) => _read[name].Sha256;

    public IReadOnlyList<string> Files(string name) =>
        [.. Directory.GetFiles(Path.Combine(_scratch["arrays"], name)).OrderBy(f => int.Parse(Path.GetFileName(f), CultureInfo.InvariantCulture))];

    public IReadOnlyList<VolumeMember> Members(string name) =>
        [.. Files(name).Select(f => new VolumeMember("member" + Path.GetFileName(f), new MemorySource(File.ReadAllBytes(f)), 512))];

    public void Dispose() => _scratch.Dispose();
}
