using System.CommandLine;
using SharpFuzz;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Fuzz;
using Vmsweep.Golden;

var format = new Argument<string>("FORMAT") { Description = "One of: " + string.Join(", ", FuzzTarget.All.Select(t => t.Name)) };
format.AcceptOnlyFromAmong([.. FuzzTarget.All.Select(t => t.Name)]);
var minutes = new Option<double>("--minutes") { Description = "How long.", DefaultValueFactory = _ => 5 };
var seed = new Option<int>("--seed") { Description = "Reproduces a run.", DefaultValueFactory = _ => 1 };
var corpus = new Option<DirectoryInfo?>("--corpus") { Description = "A folder of further images to begin from, files up to 8 MiB." };
var crashes = new Option<DirectoryInfo>("--crashes") { Description = "Where crashing inputs are written.", DefaultValueFactory = _ => new DirectoryInfo("crashes") };
var only = new Option<long>("--only") { Description = "Runs this one input of the run, as the state file has it after the process died.", DefaultValueFactory = _ => -1 };
var threads = new Option<int>("--threads") { Description = "Threads; by default all processors.", DefaultValueFactory = _ => Environment.ProcessorCount };
var file = new Argument<FileInfo>("FILE") { Description = "An input." };

var soak = new Command("soak", "Damages images at random for hours; accepts data and DiskFormatException, nothing else.") { format, minutes, seed, corpus, crashes, only, threads };
soak.SetAction(parsed => new Soak(
    FuzzTarget.Of(parsed.GetRequiredValue(format)),
    parsed.GetValue(corpus)?.FullName,
    parsed.GetRequiredValue(crashes).FullName,
    parsed.GetValue(seed)).Run(TimeSpan.FromMinutes(parsed.GetValue(minutes)), parsed.GetValue(threads), parsed.GetValue(only)));

var replay = new Command("replay", "Reads one input, as a soak or afl would.") { format, file };
replay.SetAction(parsed =>
{
    FuzzTarget target = FuzzTarget.Of(parsed.GetRequiredValue(format));
    byte[] input = File.ReadAllBytes(parsed.GetRequiredValue(file).FullName);
    Mutations.One(input, target.ReadBytes, FuzzTarget.BudgetBytes, parsed.GetRequiredValue(file).Name);
    Console.WriteLine("held");
    return 0;
});

var afl = new Command("afl", "Takes inputs from afl-fuzz on standard input; instrument the assemblies with the sharpfuzz tool first.") { format };
afl.SetAction(parsed =>
{
    FuzzTarget target = FuzzTarget.Of(parsed.GetRequiredValue(format));
    Fuzzer.OutOfProcess.Run(stream =>
    {
        using var bytes = new MemoryStream();
        stream.CopyTo(bytes);
        try
        {
            target.ReadBytes(bytes.ToArray(), new ReadContext(new ScanBudget(FuzzTarget.BudgetBytes), new GapList(100)));
        }
        catch (DiskFormatException)
        {
            // What a reader may say of hostile bytes.
        }
    });
    return 0;
});

return new RootCommand("Fuzz targets of the readers, one for each format.") { soak, replay, afl }.Parse(args).Invoke();
