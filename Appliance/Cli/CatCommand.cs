using System.CommandLine;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep cat</c>: one guest file's content.</summary>
internal static class CatCommand
{
    public static Command Create()
    {
        Argument<string> image = CommonOptions.Image();
        var path = new Argument<string>("PATH") { Description = "The file as VOLUME/path, as ls shows it; VOLUME/path:stream for an alternate data stream." };
        Option<FileInfo?> output = CommonOptions.Out();
        Option<SandboxMode?> sandbox = CommonOptions.SandboxChoice();
        Option<string[]> bases = CommonOptions.Bases();
        var command = new Command("cat", "Writes one guest file to standard output.") { image, path, output, sandbox, bases };
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            var run = new DiskCommand(parsed.GetValue(sandbox) ?? SandboxMode.Full, parsed.GetValue(bases) ?? [], cancellation);
            (VmDisk disk, string prefix) = run.OneDisk(parsed.GetRequiredValue(image));
            using Stream stream = Outputs.OpenBytes(parsed.GetValue(output));
            List<GapReport> gaps = run.Run(
                disk,
                plan => new CatJob(parsed.GetRequiredValue(path)) { Limits = DiskLimits.ForReading, Plan = plan, Prefix = prefix },
                _ => { },
                stream.Write);
            return DiskCommand.Conclude(gaps);
        }));
        return command;
    }
}
