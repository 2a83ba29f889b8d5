using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep info</c>: containers, chains, volumes, file systems.</summary>
internal static class InfoCommand
{
    public static Command Create()
    {
        var target = new Argument<string?>("TARGET") { Description = "A disk image, a VM's configuration file, or a folder of both.", Arity = ArgumentArity.ZeroOrOne };
        var formats = new Option<bool>("--formats") { Description = "What this program reads, recognises and refuses, instead of a target." };
        Option<string> format = CommonOptions.Format("text", "json");
        Option<FileInfo?> output = CommonOptions.Out();
        var command = new Command("info", "Shows containers, snapshot chains, volumes and file systems.") { target, formats, format, output };
        Func<ParseResult, DiskOptions> options = DiskOptions.AddTo(command);
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            if (parsed.GetValue(formats))
            {
                using TextWriter table = Outputs.OpenText(parsed.GetValue(output));
                FormatTable.Write(parsed.GetRequiredValue(format), table);
                return ExitStatus.Clean;
            }

            using var run = new DiskCommand(options(parsed), cancellation);
            List<TargetReport> targets = [.. run.Find(parsed.GetValue(target) ?? throw new TargetException("name a target, or ask for --formats")).Select(vm => Inspect(vm, run))];

            using TextWriter writer = Outputs.OpenText(parsed.GetValue(output));
            if (parsed.GetRequiredValue(format) == "json")
            {
                writer.WriteLine(JsonSerializer.Serialize(new InfoReport(targets), InfoJson.Default.InfoReport));
            }
            else
            {
                targets.ForEach(t => Write(t, writer));
            }

            return targets.Exists(t => t.Gaps.Count > 0) ? ExitStatus.Incomplete : ExitStatus.Clean;
        }));
        return command;
    }

    private static TargetReport Inspect(Vm listed, DiskCommand run)
    {
        using IVmView? view = listed.Open?.Invoke();
        Vm vm = view?.Vm ?? listed;
        var target = new TargetReport
        {
            Target = vm.Target,
            Vm = vm.Identity,
            Snapshot = vm.Snapshot,
            Snapshots = [.. vm.Snapshots.Select(s => new SnapshotReport(s.Id, s.Name, s.Created, s.ParentId, s.IsCurrent))],
        };
        target.Disks.AddRange(vm.Disks.Select(d => new DiskReport { Path = d.Path }));
        target.Gaps.AddRange(run.Run(vm, start => new InfoJob { Limits = start.Limits, Disks = start.Disks, Secrets = start.Secrets, Memory = start.Memory }, message =>
        {
            if (message is DiskEvent opened)
            {
                target.Disks.Fill(opened);
            }
            else if (message is VolumeEvent volume)
            {
                target.Disks.Of(volume.Disk).Volumes.Add(volume.Volume);
            }
            else if (message is MemoryEvent memory && vm.Memory is { } known)
            {
                target.Memory = memory.Memory with { Path = known.Path };
            }
            else if (message is GuestEvent told)
            {
                target.Guest = told.Guest;
            }
        }));
        return target;
    }

    /// <summary>The tree of earlier states, each under the one it came from.</summary>
    private static void WriteSnapshots(IReadOnlyList<SnapshotReport> snapshots, TextWriter output)
    {
        ILookup<string, SnapshotReport> children = snapshots.ToLookup(s => s.Parent ?? "", StringComparer.Ordinal);
        var pending = new Stack<(SnapshotReport Snapshot, int Depth)>(children[""].Reverse().Select(s => (s, 0)));
        while (pending.TryPop(out (SnapshotReport Snapshot, int Depth) next))
        {
            (SnapshotReport snapshot, int depth) = next;
            string id = snapshot.Id == snapshot.Name ? "" : $" (id {Printable.Of(snapshot.Id)})";
            string created = snapshot.Created is { } at ? at.ToString(", yyyy-MM-dd HH:mm:ss 'UTC'", CultureInfo.InvariantCulture) : "";
            output.WriteLine($"  {new string(' ', Math.Min(depth, 32) * 2)}snapshot {Printable.Of(snapshot.Name)}{id}{created}{(snapshot.IsCurrent ? ", current" : "")}");
            foreach (SnapshotReport child in children[snapshot.Id].Reverse())
            {
                pending.Push((child, depth + 1));
            }
        }
    }

    private static void Write(TargetReport target, TextWriter output)
    {
        output.WriteLine(Printable.Of(target.Target));
        if (target.Vm.Name != Path.GetFileName(target.Target))
        {
            output.WriteLine($"  VM {Printable.Of(target.Vm.Name)}, {target.Vm.Power}{(target.Vm.GuestOs.Length > 0 ? ", guest " + Printable.Of(target.Vm.GuestOs) : "")}");
        }

        if (target.Snapshot is { } state)
        {
            output.WriteLine($"  snapshot {Printable.Of(state)}");
        }

        WriteSnapshots(target.Snapshots ?? [], output);
        if (target.Guest is { } guest)
        {
            GuestText.Write(guest, output);
        }

        foreach (DiskReport disk in target.Disks)
        {
            output.WriteLine($"  disk {Printable.Of(disk.Path)}");
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"    {Printable.Of(disk.Format)}, {Sizes.Show(disk.SizeBytes)} ({disk.SizeBytes} bytes), sectors of {disk.SectorBytes}, partition table {(disk.Scheme.Length > 0 ? disk.Scheme : "unknown")}"));
            foreach (ChainReport link in disk.Chain.Skip(1))
            {
                output.WriteLine($"    over {Printable.Of(link.Path)} ({Printable.Of(link.Format)})");
            }

            foreach (VolumeReport volume in disk.Volumes)
            {
                string name = volume.Name.Length > 0 ? " " + Printable.Of(volume.Name) : "";
                string label = volume.Label.Length > 0 ? $" \"{Printable.Of(volume.Label)}\"" : "";
                string type = volume.PartitionType.Length > 0 ? $", type {Printable.Of(volume.PartitionType)}" : "";
                string uuid = volume.Uuid.Length > 0 ? $", {Printable.Of(volume.Uuid)}" : "";
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"    {volume.Id,-5} {Printable.Of(volume.FileSystem)}{name}{label}, {Sizes.Show(volume.SizeBytes)} at {volume.OffsetBytes}{type}{uuid}{GuestText.Places(target.Guest, volume.Id)}"));
                foreach (string note in volume.Notes)
                {
                    output.WriteLine("          " + Printable.Of(note));
                }
            }
        }

        if (target.Memory is { } memory)
        {
            MemoryText.Write(memory, output);
        }

        foreach (GapReport gap in target.Gaps)
        {
            output.WriteLine($"  not read: {gap.Fault}: {Printable.Of(gap.Path)}: {Printable.Of(gap.Structure)}{(gap.Offset >= 0 ? $" at {gap.Offset}" : "")}: {Printable.Of(gap.Detail)}");
        }
    }
}

internal sealed record InfoReport(IReadOnlyList<TargetReport> Targets)
{
    public string Schema { get; init; } = "vmsweep.info/1";
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, WriteIndented = true)]
[JsonSerializable(typeof(InfoReport))]
internal sealed partial class InfoJson : JsonSerializerContext;
