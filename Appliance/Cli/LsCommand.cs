using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
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
        Option<bool> noProgress = CommonOptions.NoProgress();
        var command = new Command("ls", "Lists the guest's files.") { image, path, recursive, files, sha256, deleted, format, output, threads, memory, noProgress };
        Func<ParseResult, DiskOptions> options = DiskOptions.AddTo(command);
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            using var run = new DiskCommand(options(parsed), cancellation);
            bool hash = parsed.GetValue(sha256);
            long memoryBytes = parsed.GetValue(memory) ?? CommonOptions.DefaultMemoryBytes;
            List<ListEntry> entries = [];
            List<GapReport> gaps = [];
            using (var progress = new ProgressLine(!parsed.GetValue(noProgress)))
            {
                List<Vm> states = run.OneVmsStates(parsed.GetRequiredValue(image));
                foreach (Vm vm in states)
                {
                    string state = states.Count > 1 && vm.Snapshot is { } name ? StatePrefix(name) : "";
                    gaps.AddRange(run.Run(
                        vm,
                        start => new ListJob(parsed.GetValue(path) ?? "", parsed.GetValue(recursive), parsed.GetValue(files), hash, parsed.GetValue(threads), memoryBytes)
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
                                entries.AddRange(state.Length == 0 ? more.Entries : more.Entries.Select(e => e with { Path = state + e.Path }));
                            }
                            else if (message is ProgressEvent p)
                            {
                                progress.Show(Path.GetFileName(vm.Target) + " " + state, p.BytesDone, p.BytesTotal, 0);
                            }
                        }));
                }
            }

            FileInfo? file = parsed.GetValue(output);
            using (TextWriter writer = Outputs.OpenText(file))
            {
                Write(entries, parsed.GetRequiredValue(format), hash, Outputs.IsTerminal(file), writer);
            }

            return DiskCommand.Conclude(gaps);
        }));
        return command;
    }

    /// <summary>With several states each path of an earlier one begins with <c>@NAME/</c>.</summary>
    private static string StatePrefix(string name) =>
        "@" + GuestName.Escape(Encoding.UTF8.GetBytes(name), controls: false).Replace("/", "\\x2f", StringComparison.Ordinal) + "/";

    private static void Write(List<ListEntry> entries, string format, bool hash, bool isTerminal, TextWriter output)
    {
        switch (format)
        {
            case "json":
                output.WriteLine(JsonSerializer.Serialize(new Listing(entries), ListingJson.Default.Listing));
                break;
            case "tsv":
                foreach (ListEntry entry in entries)
                {
                    // To a file or pipe the contract's form to the letter; on a terminal nothing may act.
                    output.Write(isTerminal ? Printable.Of(entry.Path) : entry.Path);
                    output.Write('\t');
                    output.Write(entry.SizeBytes);
                    if (hash)
                    {
                        output.Write('\t');
                        output.Write(entry.Sha256);
                    }

                    output.WriteLine();
                }

                break;
            default:
                foreach (ListEntry entry in entries)
                {
                    string kind = entry.Kind switch { "folder" => "d", "link" => "l", "device" => "c", _ => "-" };
                    string size = entry.SizeBytes.ToString(CultureInfo.InvariantCulture).PadLeft(14);
                    output.WriteLine(hash ? $"{kind} {size}  {entry.Sha256,-64}  {Printable.Of(entry.Path)}" : $"{kind} {size}  {Printable.Of(entry.Path)}");
                }

                break;
        }
    }
}

internal sealed record Listing(IReadOnlyList<ListEntry> Entries)
{
    public string Schema { get; init; } = "vmsweep.listing/1";
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(Listing))]
internal sealed partial class ListingJson : JsonSerializerContext;
