using System.CommandLine;
using System.Text;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.FileSystems;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep ls</c>: the guest's files.</summary>
internal static class LsCommand
{
    public static Command Create()
    {
        Argument<string> image = CommonOptions.Image();
        var path = new Argument<string?>("PATH") { Description = "Only this volume, folder or file, as VOLUME/path.", Arity = ArgumentArity.ZeroOrOne };
        var recursive = new Option<bool>("--recursive", "-R") { Description = "Everything below, not only the folder's own entries." };
        var files = new Option<bool>("--files") { Description = "Leave out folders, links and devices." };
        var sha256 = new Option<bool>("--sha256") { Description = "Hash each file's content." };
        Option<bool> deleted = CommonOptions.Deleted();
        Option<string> format = CommonOptions.Format("text", "tsv", "json");
        Option<FileInfo?> output = CommonOptions.Out();
        Option<int> threads = CommonOptions.Threads();
        Option<long?> memory = CommonOptions.Memory();
        memory.Description = "More memory for the names of very many files (512M, 2G); 192M by default.";
        Option<bool> noProgress = CommonOptions.NoProgress();
        var command = new Command("ls", "Lists the guest's files.") { image, path, recursive, files, sha256, deleted, format, output, threads, memory, noProgress };
        Func<ParseResult, DiskOptions> options = DiskOptions.AddTo(command);
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            using var run = new DiskCommand(options(parsed), cancellation);
            bool hash = parsed.GetValue(sha256);
            long memoryBytes = parsed.GetValue(memory) ?? CommonOptions.DefaultMemoryBytes;
            List<GapReport> gaps = [];
            FileInfo? file = parsed.GetValue(output);
            List<Vm> states = run.OneVmsStates(parsed.GetRequiredValue(image));
            using var progress = new ProgressLine(!parsed.GetValue(noProgress));
            using var listing = new ListingOutput(file, parsed.GetRequiredValue(format), hash);
            foreach (Vm vm in states)
            {
                string state = states.Count > 1 && vm.Snapshot is { } name ? StatePrefix(name) : "";
                gaps.AddRange(run.Run(
                    vm,
                    start => new ListJob(parsed.GetValue(path) ?? "", parsed.GetValue(recursive), parsed.GetValue(files), hash, parsed.GetValue(threads))
                    {
                        Limits = start.Limits with { HeapBytes = start.Limits.HeapBytes + memoryBytes },
                        Disks = start.Disks,
                        Secrets = start.Secrets,
                        IncludeDeleted = parsed.GetValue(deleted),
                    },
                    message =>
                    {
                        if (message is EntriesEvent more)
                        {
                            progress.Clear();
                            foreach (ListEntry entry in more.Entries)
                            {
                                listing.Add(state.Length == 0 ? entry : entry with { Path = state + entry.Path });
                            }
                        }
                        else if (message is ProgressEvent p)
                        {
                            progress.Show(Path.GetFileName(vm.Target) + " " + state, p.BytesDone, p.BytesTotal, 0);
                        }
                    }));
            }

            progress.Clear();
            listing.Complete();
            return DiskCommand.Conclude(gaps);
        }));
        return command;
    }

    /// <summary>With several states each path of an earlier one begins with <c>@NAME/</c>.</summary>
    private static string StatePrefix(string name) =>
        "@" + GuestName.Escape(Encoding.UTF8.GetBytes(name), controls: false).Replace("/", "\\x2f", StringComparison.Ordinal) + "/";
}
