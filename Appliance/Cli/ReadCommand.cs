using System.CommandLine;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep read</c>: the virtual disk's raw content.</summary>
internal static class ReadCommand
{
    public static Command Create()
    {
        Argument<string> image = CommonOptions.Image();
        Option<long?> offset = CommonOptions.Bytes("--offset", "First byte; 0 by default.");
        Option<long?> length = CommonOptions.Bytes("--length", "How many bytes; to the end by default.");
        Option<FileInfo?> output = CommonOptions.Out();
        var command = new Command("read", "Writes a virtual disk's raw content to standard output.") { image, offset, length, output };
        Func<ParseResult, DiskOptions> options = DiskOptions.AddTo(command);
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            using var run = new DiskCommand(options(parsed), cancellation);
            Vm vm = run.OneVm(parsed.GetRequiredValue(image));
            if (vm.Disks.Count > 1)
            {
                throw new TargetException($"{vm.Target} has {vm.Disks.Count} disks; name one of: {string.Join(", ", vm.Disks.Select(d => d.Path))}");
            }

            using var content = new ContentOutput(parsed.GetValue(output));
            List<GapReport> gaps = run.Run(
                vm,
                start => new ReadJob(parsed.GetValue(offset) ?? 0, parsed.GetValue(length) ?? -1) { Limits = start.Limits, Disks = start.Disks, Secrets = start.Secrets, OwnsOutput = content.IsHandedOut },
                _ => { },
                content.IsHandedOut ? null : content.Write);
            return DiskCommand.Conclude(gaps);
        }));
        return command;
    }
}
