using System.CommandLine;
using System.Runtime.InteropServices;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep doctor</c>: what is missing or reduced on this machine, and the command that mends it.</summary>
internal static class DoctorCommand
{
    public static Command Create()
    {
        Option<string?> configuration = CommonOptions.Configuration();
        var command = new Command("doctor", "Says what is missing or reduced on this machine, and how to mend it.") { configuration };
        command.SetAction((parsed, _) => CommandFailure.Guard(() => Run(ApplianceConfiguration.Read(parsed.GetValue(configuration)))));
        return command;
    }

    private static int Run(ApplianceConfiguration configuration)
    {
        bool isSound = true;
        Check("processors", true, $"{Environment.ProcessorCount}, {RuntimeInformation.ProcessArchitecture}, {RuntimeInformation.FrameworkDescription}", "");
        Sandbox sandbox = Sandbox.Probe(SandboxMode.Full);
        Check("sandbox", sandbox.IsFull, sandbox.IsFull ? "full (bubblewrap)" : "reduced: " + sandbox.Detail, Sandbox.Find("bwrap") is null ? "apt-get install -y bubblewrap" : "sysctl -w kernel.unprivileged_userns_clone=1, or run as root");
        (bool works, string worker) = TryWorker(sandbox);
        Check("worker", works, worker, "see the message; with --sandbox reduced it runs without namespaces");
        var catalog = new ConnectorCatalog(configuration, TimeProvider.System);
        foreach (ConnectorSettings connector in catalog.Configured)
        {
            try
            {
                _ = connector.Secret?.Read();
                using IConnector opened = catalog.Open(connector.Name);
                Check(connector.Name, true, opened.Check(), "");
            }
            catch (IOException e)
            {
                Check(connector.Name, false, e.Message, $"see the message; the connector's address is {Printable.Of(connector.Address.ToString())}");
            }
        }

        return isSound ? ExitStatus.Clean : ExitStatus.Incomplete;

        void Check(string name, bool isGood, string found, string remedy)
        {
            isSound &= isGood;
            Console.WriteLine($"{(isGood ? "ok  " : "MEND")}  {name,-10}  {Printable.Of(found)}");
            if (!isGood)
            {
                Console.WriteLine($"                  {remedy}");
            }
        }
    }

    /// <summary>Starts a worker for real and lets it compile the built-in rules, which takes libyara.</summary>
    private static (bool Works, string Detail) TryWorker(Sandbox sandbox)
    {
        string rules = "";
        var job = new CompileJob([], Builtin: true, [], Strict: true) { Limits = DiskLimits.ForReading };
        WorkerOutcome outcome = new WorkerProcess(sandbox.WorkerStart, TimeSpan.FromSeconds(30)).Run(
            job, [], message => rules = message is CompiledEvent compiled ? $"{compiled.Engines[0].Name} {compiled.Engines[0].Version}, {compiled.Engines[0].Rules} built-in rules compiled in the sandbox" : rules, _ => { }, CancellationToken.None);
        return outcome.End == WorkerEnd.Done ? (true, rules) : (false, outcome.Detail);
    }
}
