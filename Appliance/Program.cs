using System.CommandLine;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Worker;

if (args is [Sandbox.WorkerCommand])
{
    return WorkerMain.Run();
}

var root = new RootCommand("vmsweep scans the virtual disks of VMs for malware from outside; nothing is installed in a guest.")
{
    ScanCommand.Create(),
    InfoCommand.Create(),
    LsCommand.Create(),
    CatCommand.Create(),
    ReadCommand.Create(),
    InventoryCommand.Create(),
    SweepCommand.Create(),
    ServeCommand.Create(),
    FindingsCommand.Create(),
    HuntCommand.Create(),
    StateCommand.Create(),
    NodesCommand.Create(),
    LeasesCommand.Create(),
    SignaturesCommand.Create(),
    DoctorCommand.Create(),
    CompletionCommand.Create(),
};
ParseResult parsed = root.Parse(args);
// A worker is killed at once; what was scanned until then is still written, which two seconds are ample for.
int status = await parsed.InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = TimeSpan.FromSeconds(30) }).ConfigureAwait(false);
return parsed.Errors.Count > 0 ? ExitStatus.CannotRun : status;
