using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Pipeline.Changes;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.Hostile;
using Vmsweep.Appliance.Tests.Results;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Tests.Changes;

/// <summary>A scan that reads only what changed says what one says that reads all.</summary>
[Trait("Category", "Slow")]
public sealed class TrackedScanTests
{
    private const string Ext = "disk.raw?offset=1048576";
    private const string Fat = "disk.raw@@65M";

    [Fact]
    public void Whatever_is_written_between_scans_the_findings_are_those_of_a_whole_scan()
    {
        using ChangingDisks disks = Make();
        var random = new Random(7);
        Report first = disks.Scan(onlyChanges: true);
        long all = disks.Served;
        Assert.Equal(0, first.Totals.FilesUnchanged);
        Assert.True(first.Targets[0].Changes is { IsKept: true, Since: null }, first.Targets[0].Changes!.Detail);

        Report same = disks.Scan(onlyChanges: true);
        Assert.Equal(Said(first), Said(same));
        Assert.True(disks.Served < all / 3, $"{disks.Served} of {all} bytes were read again");
        Assert.True(same.Totals.BytesUnchanged > 48 << 20, $"{same.Totals}");
        Assert.Equal(same.Totals.BytesSeen, same.Totals.BytesRead + same.Totals.BytesUnchanged);
        Assert.Contains(same.Targets[0].Findings, f => f.Path.Contains("large", StringComparison.Ordinal));
        Assert.Contains(same.Targets[0].Findings, f => f.Unchanged == true);
        Assert.Equal("detected", same.Verdict);

        for (int round = 0; round < 3; round++)
        {
            disks.Shell(string.Join('\n', Enumerable.Range(0, 4).Select(_ => Change(random))));
            Report changes = disks.Scan(onlyChanges: true);
            Report whole = disks.Scan(onlyChanges: false);
            Assert.Equal(Said(whole), Said(changes));
            Assert.Equal(changes.Totals.BytesSeen, changes.Totals.BytesRead + changes.Totals.BytesUnchanged);
            Assert.True(changes.Totals.FilesUnchanged > 10, $"{changes.Totals}");
            Assert.Single(disks.Kept);
        }
    }

    [Fact]
    public void Names_that_change_their_files_are_read_though_nothing_was_written_to_them()
    {
        using ChangingDisks disks = Make();
        disks.Scan(onlyChanges: true);

        // Both have one size; neither's content is touched.
        disks.Shell($$"""
            debugfs -w -f /dev/stdin '{{Ext}}' 2>/dev/null <<< $'ln /f1.bin /x\nunlink /f1.bin\nln /f2.bin /f1.bin\nunlink /f2.bin\nln /x /f2.bin\nunlink /x'
            """);
        Report report = disks.Scan(onlyChanges: true);
        Assert.Equal(Said(disks.Scan(onlyChanges: false)), Said(report));
        Assert.Contains(report.Targets[0].Findings, f => f.Path == "d1v1/f2.bin" && f.Unchanged is null);
        Assert.DoesNotContain(report.Targets[0].Findings, f => f.Path == "d1v1/f1.bin");
    }

    [Fact]
    public void A_hypervisor_that_does_not_tell_of_a_write_is_found_out_and_all_is_read()
    {
        using ChangingDisks disks = Make();
        disks.Scan(onlyChanges: true);
        Report sampled = disks.Scan(onlyChanges: true, change: s => s with { RecheckShare = 0.1 });
        Assert.DoesNotContain(sampled.Targets[0].Findings, f => f.Rule == "Storage_ChangedUnseen");
        Assert.True(sampled.Totals is { FilesUnchanged: > 0, FilesScanned: > 0 } && sampled.Totals.BytesRead < sampled.Totals.BytesUnchanged / 3, $"{sampled.Totals}");

        disks.Lies = true;
        disks.Shell($$"""
            lcn=$(ntfscluster -f -F f3.bin ntfs.raw 2>/dev/null | awk '/VCN/ { getline; print $2 }')
            printf {{HostileScan.Mark}} | dd of=ntfs.raw bs=1 seek=$((lcn * 4096)) conv=notrunc status=none
            """);
        Report report = disks.Scan(onlyChanges: true, change: s => s with { RecheckShare = 1 });
        Assert.Single(report.Targets[0].Findings, f => f.Rule == "Storage_ChangedUnseen");
        Assert.Equal(0, report.Totals.FilesUnchanged);
        report.Targets[0].Findings.RemoveAll(f => f.Rule == "Storage_ChangedUnseen");
        Assert.Equal(Said(disks.Scan(onlyChanges: false)), Said(report));
    }

    [Fact]
    public void A_scan_that_does_not_come_to_its_end_leaves_the_earlier_one_in_place()
    {
        using ChangingDisks disks = Make();
        disks.Scan(onlyChanges: true);
        string mark = Assert.Single(disks.Kept).Key;
        disks.Shell($"printf hostile-content > new; mcopy -o -i {Fat} new ::new.bin");
        Report broken = disks.Scan(onlyChanges: true, new CrashingWorker());
        Assert.False(broken.Targets[0].Changes!.IsKept);
        Assert.Equal([mark], disks.Kept.Keys);
        Report next = disks.Scan(onlyChanges: true);
        Assert.True(next.Totals.FilesUnchanged > 0);
        Assert.Equal(Said(disks.Scan(onlyChanges: false)), Said(next));
        Assert.Contains(next.Targets[0].Findings, f => f.Path == "d1v2/new.bin");
    }

    [Fact]
    public void Nothing_is_believed_of_other_options_a_mark_that_is_gone_or_a_damaged_database()
    {
        using ChangingDisks disks = Make();
        disks.Scan(onlyChanges: true);
        Report options = disks.Scan(onlyChanges: true, change: s => s with { MemoryBytes = s.MemoryBytes / 2 });
        Assert.Equal(0, options.Totals.FilesUnchanged);
        Assert.Contains("options", options.Targets[0].Changes!.Detail, StringComparison.Ordinal);
        Report back = disks.Scan(onlyChanges: true);
        Assert.Equal(0, back.Totals.FilesUnchanged);

        disks.Kept.Clear();
        Report gone = disks.Scan(onlyChanges: true);
        Assert.Equal(0, gone.Totals.FilesUnchanged);
        Assert.True(gone.Targets[0].Changes!.IsKept);

        DamageTests.Execute(Path.Combine(disks.State, "vmsweep.db"), "UPDATE traced_part SET part = substr(part, 1, 20) || x'00' || substr(part, 22)");
        Report damaged = disks.Scan(onlyChanges: true);
        Assert.Equal(0, damaged.Totals.FilesUnchanged);
        Assert.True(disks.Scan(onlyChanges: true).Totals.FilesUnchanged > 0);
    }

    [Fact]
    public void A_rule_that_asks_for_the_time_is_run_again()
    {
        using ChangingDisks disks = Make();
        File.WriteAllText(disks["time.yar"], "import \"time\"\nrule Late { condition: time.now() > 0 and filesize == 20000 }");
        for (int i = 0; i < 2; i++)
        {
            Report report = disks.Scan(onlyChanges: true, change: s => s with { RuleSources = [disks["time.yar"]] });
            Assert.Equal(0, report.Totals.FilesUnchanged);
            Assert.Contains("time", report.Targets[0].Changes!.Detail, StringComparison.Ordinal);
            Assert.Empty(disks.Kept);
        }
    }

    [Theory]
    [InlineData(0, 10, false)]
    [InlineData(90, 10, false)]
    [InlineData(90, 11, true)]
    [InlineData(199, 1, true)]
    [InlineData(200, 50, false)]
    [InlineData(299, 2, true)]
    [InlineData(0, 1000, true)]
    public void Ranges_touch_what_they_share_a_byte_with(long offset, long length, bool touches)
    {
        Assert.Equal(touches, new ChangedMap([new(150, 50), new(100, 60), new(300, 1)]).Touches(offset, length));
        Assert.True(new ChangedMap(null).Touches(offset, length));
        Assert.True(new ChangedMap([new(-5, 1)]).Touches(offset, length));
        Assert.True(new ChangedMap([new(5, long.MaxValue)]).Touches(offset, length));
        Assert.False(new ChangedMap([]).Touches(offset, length));
    }

    [Fact]
    public void Ranges_that_are_joined_still_touch_all_they_did()
    {
        var random = new Random(3);
        List<ChangedRange> ranges = [];
        for (long at = 0; ranges.Count < 5000; at += random.NextInt64(1, 1 << 30))
        {
            ranges.Add(new ChangedRange(at, random.NextInt64(1, 1 << 20)));
        }

        IReadOnlyList<ChangedRange> few = ChangedMap.Joined(ranges, 100);
        Assert.InRange(few.Count, 1, 100);
        var map = new ChangedMap(few);
        Assert.All(ranges, r => Assert.True(map.Touches(r.Offset, 1) && map.Touches(r.Offset + r.Length - 1, 1)));
        Assert.Same(ranges, ChangedMap.Joined(ranges, 5000));
    }

    private static IReadOnlyList<string> Said(Report report) =>
        [.. report.Targets[0].Findings.Select(f => $"{f.Rule} {f.Path} {f.Sha256} {f.SizeBytes}").Concat(report.Targets[0].Gaps.Select(g => g.ToString())).Order(StringComparer.Ordinal)];

    /// <summary>Files on an ext4, a FAT and an NTFS; some hold what the rule looks for.</summary>
    private static ChangingDisks Make()
    {
        var disks = new ChangingDisks();
        disks.Shell($$"""
            mkdir tree
            for i in $(seq 30); do head -c 20000 /dev/urandom > tree/f$i.bin; done
            for i in 1 7 12; do printf {{HostileScan.Mark}} | dd of=tree/f$i.bin conv=notrunc status=none; done
            head -c 6000000 /dev/urandom > tree/large.bin
            printf {{HostileScan.Mark}} >> tree/large.bin
            for i in 1 2 3 4; do head -c 10000000 /dev/urandom > tree/more$i.bin; done
            printf {{HostileScan.Mark}} > tree/small.txt
            truncate -s 88M disk.raw
            sgdisk -n 1:2048:+64M -t 1:8300 -n 2:0:+16M -t 2:0700 disk.raw >/dev/null
            mke2fs -q -F -t ext4 -O inline_data -d tree ext.raw 64M
            rm tree/more*
            truncate -s 16M fat.raw; mkfs.fat -F 16 fat.raw >/dev/null; mcopy -s -i fat.raw tree/* ::
            dd if=ext.raw of=disk.raw bs=1M seek=1 conv=notrunc status=none
            dd if=fat.raw of=disk.raw bs=1M seek=65 conv=notrunc status=none
            truncate -s 16M ntfs.raw; mkfs.ntfs -q -F -p 0 ntfs.raw
            for f in f1.bin f2.bin f3.bin small.txt; do ntfscp -f ntfs.raw tree/$f $f; done
            rm -r tree ext.raw fat.raw
            """);
        disks.Add("disk.raw");
        disks.Add("ntfs.raw");
        return disks;
    }

    private static string Change(Random random)
    {
        string name = $"f{random.Next(1, 31)}.bin";
        string other = $"n{random.Next(1000)}.bin";
        string content = $"head -c {random.Next(1, 50_000)} /dev/urandom > new" + (random.Next(2) == 0 ? $"; printf {HostileScan.Mark} >> new" : "");
        return random.Next(7) switch
        {
            0 => $"{content}; mcopy -o -i {Fat} new ::{name}",
            1 => $"{content}; mcopy -o -i {Fat} new ::{other}",
            2 => $"mren -i {Fat} ::{name} ::{other} || true",
            3 => $"{content}; debugfs -w -f /dev/stdin '{Ext}' 2>/dev/null <<< $'rm /{name}\\nwrite new /{name}'",
            4 => $"debugfs -w -f /dev/stdin '{Ext}' 2>/dev/null <<< $'ln /{name} /{other}\\nunlink /{name}'",
            5 => $"{content}; ntfscp -f ntfs.raw new {(random.Next(2) == 0 ? "f2.bin" : other)}",
            _ => $"mdel -i {Fat} ::{name} || true",
        };
    }

    /// <summary>Does all its work and then dies.</summary>
    private sealed class CrashingWorker : IWorker
    {
        private readonly InProcessWorker _inner = new();

        public WorkerOutcome Run(WorkerJob job, IReadOnlyList<(string Host, string Inside)> binds, Action<WorkerEvent> onEvent, Action<ReadOnlySpan<byte>>? onData, CancellationToken cancellation)
        {
            WorkerOutcome outcome = _inner.Run(job, binds, onEvent, onData, cancellation);
            return job is ScanJob ? new WorkerOutcome(WorkerEnd.Crashed, "killed") : outcome;
        }
    }
}
