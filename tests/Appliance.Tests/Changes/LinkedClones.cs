using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.Hostile;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Changes;

/// <summary>
/// A base with an ext4, a FAT and an NTFS, and disks over it. What each disk holds is made by other people's tools on raw images; the overlay that makes the
/// base into that is made by qemu-img, which writes the clusters that differ, by qemu-io for formats that it cannot rebase, or built where it makes none.
/// </summary>
internal sealed class LinkedClones : IDisposable
{
    public const string Ext = "work.raw?offset=1048576";
    public const string Fat = "work.raw@@49M";
    private const int Granule = 64 << 10;

    private readonly Scratch _scratch = new();

    public LinkedClones(string baseName = "base.qcow2")
    {
        Tool.Find("mcopy");
        Shell($$"""
            mkdir tree
            for i in $(seq 30); do head -c 20000 /dev/urandom > tree/f$i.bin; done
            for i in 1 7 12; do printf {{HostileScan.Mark}} | dd of=tree/f$i.bin conv=notrunc status=none; done
            printf 'MZ' | dd of=tree/f3.bin conv=notrunc status=none
            head -c 6000000 /dev/urandom > tree/large.bin
            printf {{HostileScan.Mark}} >> tree/large.bin
            for i in 1 2; do head -c 6000000 /dev/urandom > tree/more$i.bin; done
            truncate -s 3M tree/sparse.bin; printf {{HostileScan.Mark}} | dd of=tree/sparse.bin bs=1M seek=1 conv=notrunc status=none
            printf {{HostileScan.Mark}} > tree/small.txt
            truncate -s 74M work.raw
            sgdisk -n 1:2048:+48M -t 1:8300 -n 2:0:+16M -t 2:0700 -n 3:0:+8M -t 3:0700 work.raw >/dev/null
            mke2fs -q -F -t ext4 -O inline_data -d tree ext.raw 48M
            rm tree/more* tree/sparse.bin
            truncate -s 16M fat.raw; mkfs.fat -F 16 fat.raw >/dev/null; mcopy -s -i fat.raw tree/* ::
            dd if=ext.raw of=work.raw bs=1M seek=1 conv=notrunc status=none
            dd if=fat.raw of=work.raw bs=1M seek=49 conv=notrunc status=none
            truncate -s 8M ntfs.raw; mkfs.ntfs -q -F -p 0 ntfs.raw
            for f in f1.bin f2.bin f3.bin small.txt; do ntfscp -f ntfs.raw tree/$f $f; done
            rm -r tree ext.raw fat.raw
            {{Ntfs}}
            qemu-img convert -f raw -O {{Format(baseName)}} {{(Format(baseName) == "vpc" ? "-o force_size=on" : "")}} work.raw {{baseName}}
            cp work.raw {{baseName}}.raw; cp ntfs.raw {{baseName}}.ntfs
            """);
        if (Format(baseName) == "vdi")
        {
            DifferencingDisk.Identify(_scratch[baseName], DifferencingDisk.VdiBase);
        }
    }

    /// <summary>Puts the NTFS into the disk.</summary>
    public const string Ntfs = "dd if=ntfs.raw of=work.raw bs=1M seek=65 conv=notrunc status=none";

    public string this[string name] => _scratch[name];

    public string Database => _scratch["state/vmsweep.db"];

    /// <summary>Scans happen later than what was made is changed, but no less than a store's clock can tell.</summary>
    public TimeSpan Later { get; set; } = TimeSpan.FromHours(1);

    public TimeProvider Time => new LaterTime(Later);

    public ScanSettings Settings => HostileScan.Settings with { StateFolder = _scratch["state"], MemoryBytes = 16 << 20, RecheckShare = 0, InheritFrom = TimeProvider.System.GetUtcNow().AddDays(-1) };

    public void Shell(string script) => Tool.Shell("export PATH=$PATH:/usr/sbin:/sbin\nset -e\n" + script, _scratch.Folder);

    /// <summary>A disk over another, in which a script has changed what the other holds.</summary>
    public string Clone(string name, string over, string script)
    {
        Shell($"cp {over}.raw work.raw; cp {over}.ntfs ntfs.raw\n{script}\n{Ntfs}\ncp work.raw {name}.raw; cp ntfs.raw {name}.ntfs");
        string format = Format(name);
        if (format is "vhdx" or "vpc" or "vdi")
        {
            byte[] now = File.ReadAllBytes(_scratch[name + ".raw"]);
            DifferencingDisk.Write(_scratch[name], _scratch[over], now, File.ReadAllBytes(_scratch[over + ".raw"]));
            using var chain = new FolderChain(_scratch.Folder, ContainerFormats.Readable, new ReadContext(new ScanBudget(64 << 20), new GapList()));
            using VirtualDisk disk = chain.Open(name);
            Assert.Equal(Convert.ToHexString(SHA256.HashData(now)), Convert.ToHexString(SHA256.HashData(disk.Content.ReadAll())));
            return _scratch[name];
        }

        if (format == "qcow2")
        {
            Shell($"qemu-img create -q -f qcow2 -b {name}.raw -F raw {name}; qemu-img rebase -b {over} -F {Format(over)} {name}");
        }
        else
        {
            Shell($"qemu-img create -q -f {format} -b {over} -F {Format(over)} {name}\nqemu-io -f {format} {name} <<'END' >/dev/null\n{Differences(name, over)}END");
        }

        Shell($"qemu-img compare -f {format} -F raw {name} {name}.raw >/dev/null");
        return _scratch[name];
    }

    public Report Scan(string name, Func<ScanSettings, ScanSettings>? change = null) => Scan([name], change);

    public Report Scan(IReadOnlyList<string> names, Func<ScanSettings, ScanSettings>? change = null)
    {
        ScanSettings settings = Settings;
        using var events = new StringWriter();
        var run = new ScanRun(change?.Invoke(settings) ?? settings, Sandbox.Probe(SandboxMode.Reduced), new InProcessWorker(), Time, new NdjsonListener(events), CancellationToken.None);
        return run.Run([.. names.SelectMany(n => new TargetFinder([]).Find(_scratch[n]))]);
    }

    /// <summary>What a scan says that knows of no other.</summary>
    public Report Alone(string name, Func<ScanSettings, ScanSettings>? change = null) => Scan(name, s => (change?.Invoke(s) ?? s) with { StateFolder = null });

    public static IReadOnlyList<string> Said(Report report) =>
        [.. report.Targets.SelectMany(t => t.Findings.Select(f => $"{f.Rule} {f.Path} {string.Join(' ', f.AlsoAt)} {f.Sha256} {f.SizeBytes} {string.Join(' ', f.Matches)}").Concat(t.Gaps.Select(g => g.ToString()))).Order(StringComparer.Ordinal)];

    /// <summary>Something that a guest may do to its files.</summary>
    public static string Change(Random random)
    {
        string name = $"f{random.Next(1, 31)}.bin";
        string other = $"n{random.Next(1000)}.bin";
        string content = $"head -c {random.Next(1, 50_000)} /dev/urandom > new" + (random.Next(2) == 0 ? $"; printf {HostileScan.Mark} >> new" : "");
        string debugfs = $"debugfs -w -f /dev/stdin '{Ext}' >/dev/null 2>&1 <<< ";
        return random.Next(9) switch
        {
            0 => $"{content}; mcopy -o -i {Fat} new ::{name}",
            1 => $"{content}; mcopy -o -i {Fat} new ::{other}",
            2 => $"mren -i {Fat} ::{name} ::{other} || true",
            3 => $"{content}; {debugfs}$'rm /{name}\\nwrite new /{name}'",
            4 => $"{debugfs}$'ln /{name} /{other}\\nunlink /{name}'",
            5 => $"{content}; ntfscp -f ntfs.raw new {(random.Next(2) == 0 ? "f2.bin" : other)}",
            // Shorter, or longer into the cluster's slack, without a byte of content written.
            6 => $"{debugfs}'set_inode_field /{name} size {random.Next(1, 20_000)}'",
            7 => $"{debugfs}'set_inode_field /{name} size {random.Next(20_000, 20_480)}'",
            _ => $"mdel -i {Fat} ::{name} || true",
        };
    }

    /// <summary>Puts what the rule looks for into a file of an image, where its format has the bytes as they are, and changes nothing else in it.</summary>
    /// <param name="like">The image whose content it has.</param>
    public void Infect(string name, string like)
    {
        // A file's first bytes stand once in the disk's ext4; FAT and NTFS have copies further behind.
        byte[] raw = File.ReadAllBytes(_scratch[like + ".raw"]);
        byte[] probe = raw.AsSpan(FirstBlockOf("/f9.bin", like), 64).ToArray();
        byte[] image = File.ReadAllBytes(_scratch[name]);
        List<long> places = [];
        for (int at = 0; image.AsSpan(at).IndexOf(probe) is >= 0 and var next; at += next + 1)
        {
            places.Add(at + next);
        }

        Assert.NotEmpty(places);
        using FileStream file = File.OpenWrite(_scratch[name]);
        file.Position = places[0];
        file.Write(Encoding.ASCII.GetBytes(HostileScan.Mark));
    }

    private int FirstBlockOf(string file, string like) => (1 << 20) + int.Parse(
        Tool.Shell($"export PATH=$PATH:/usr/sbin:/sbin\nblock=$(debugfs -R 'bmap {file} 0' '{like}.raw?offset=1048576' 2>/dev/null); size=$(dumpe2fs -h '{like}.raw?offset=1048576' 2>/dev/null | sed -n 's/^Block size: *//p'); echo $((block * size))", _scratch.Folder),
        CultureInfo.InvariantCulture);

    public void Dispose() => _scratch.Dispose();

    private static string Format(string name) => Path.GetExtension(name) switch
    {
        ".img" => "qcow2",
        ".vhd" => "vpc",
        var other => other[1..],
    };

    /// <summary>Commands that write what differs, each from a file of its own.</summary>
    private string Differences(string name, string over)
    {
        byte[] now = File.ReadAllBytes(_scratch[name + ".raw"]);
        byte[] before = File.ReadAllBytes(_scratch[over + ".raw"]);
        var commands = new StringWriter(CultureInfo.InvariantCulture);
        for (int at = 0; at < now.Length; at += Granule)
        {
            int count = Math.Min(Granule, now.Length - at);
            if (!now.AsSpan(at, count).SequenceEqual(before.AsSpan(at, count)))
            {
                File.WriteAllBytes(_scratch[$"part{at}"], now[at..(at + count)]);
                commands.Write(string.Create(CultureInfo.InvariantCulture, $"write -s part{at} {at} {count}\n"));
            }
        }

        return commands.ToString();
    }

    private sealed class LaterTime(TimeSpan by) : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => base.GetUtcNow() + by;
    }
}
