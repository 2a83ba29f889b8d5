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
        var command = new Command("cat", "Writes one guest file to standard output.") { image, path, output };
        Func<ParseResult, DiskOptions> options = DiskOptions.AddTo(command);
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            using var run = new DiskCommand(options(parsed), cancellation);
            Vm vm = run.OneVm(parsed.GetRequiredValue(image));
            using var content = new ContentOutput(parsed.GetValue(output));
            List<GapReport> gaps = run.Run(
                vm,
                start => new CatJob(parsed.GetRequiredValue(path)) { Limits = start.Limits, Disks = start.Disks, Secrets = start.Secrets, OwnsOutput = content.IsHandedOut },
                _ => { },
                content.IsHandedOut ? null : content.Write);
            return DiskCommand.Conclude(gaps);
        }));
        return command;
    }
}
