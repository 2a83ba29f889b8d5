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
        Option<SandboxMode?> sandbox = CommonOptions.SandboxChoice();
        Option<string[]> bases = CommonOptions.Bases();
        var command = new Command("read", "Writes a virtual disk's raw content to standard output.") { image, offset, length, output, sandbox, bases };
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            var run = new DiskCommand(parsed.GetValue(sandbox) ?? SandboxMode.Full, parsed.GetValue(bases) ?? [], cancellation);
            (VmDisk disk, _) = run.OneDisk(parsed.GetRequiredValue(image));
            using Stream stream = Outputs.OpenBytes(parsed.GetValue(output));
            List<GapReport> gaps = run.Run(
                disk,
                plan => new ReadJob(parsed.GetValue(offset) ?? 0, parsed.GetValue(length) ?? -1) { Limits = DiskLimits.ForReading, Plan = plan, Prefix = "" },
                _ => { },
                stream.Write);
            return DiskCommand.Conclude(gaps);
        }));
        return command;
    }
}
