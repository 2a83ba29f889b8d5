using System.CommandLine;
using System.Runtime.InteropServices;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep doctor</c>: what is missing or reduced on this machine, and the command that mends it.</summary>
internal static class DoctorCommand
{
    public static Command Create()
    {
        Option<string?> state = CommonOptions.State();
        var command = new Command("doctor", "Says what is missing or reduced on this machine, and how to mend it.") { state };
        command.SetAction(parsed => Run(StateFolder.Of(parsed.GetValue(state))));
        return command;
    }

    private static int Run(string? state)
    {
        bool isSound = true;
        Check("processors", true, $"{Environment.ProcessorCount}, {RuntimeInformation.ProcessArchitecture}, {RuntimeInformation.FrameworkDescription}", "");
        Sandbox sandbox = Sandbox.Probe(SandboxMode.Full);
        Check("sandbox", sandbox.IsFull, sandbox.IsFull ? "full (bubblewrap)" : "reduced: " + sandbox.Detail, Sandbox.Find("bwrap") is null ? "apt-get install -y bubblewrap" : "sysctl -w kernel.unprivileged_userns_clone=1, or run as root");
        (bool works, string worker) = TryWorker(sandbox);
        Check("worker", works, worker, "see the message; with --sandbox reduced it runs without namespaces");
        (bool isCurrent, string signatures, string remedy) = Signatures(state);
        Check("signatures", isCurrent, signatures, remedy);
        return isSound ? ExitStatus.Clean : ExitStatus.Incomplete;

        void Check(string name, bool isGood, string found, string mend)
        {
            isSound &= isGood;
            Console.WriteLine($"{(isGood ? "ok  " : "MEND")}  {name,-10}  {Printable.Of(found)}");
            if (!isGood)
            {
                Console.WriteLine($"                  {mend}");
            }
        }
    }

    /// <summary>The bundle that scans would use.</summary>
    private static (bool IsCurrent, string Detail, string Remedy) Signatures(string? state)
    {
        if (state is null)
        {
            return (true, "built-in rules: there is no state folder", "");
        }

        try
        {
            using OpenBundle? bundle = new BundleStore(StateFolder.Signatures(state), TimeProvider.System).OpenActive();
            DateTimeOffset now = TimeProvider.System.GetUtcNow();
            return bundle is null
                ? (true, "built-in rules: there is no bundle", "")
                : (!bundle.IsExpired(now), $"{bundle.Manifest}, {(bundle.IsExpired(now) ? "EXPIRED on" : "until")} {bundle.Manifest.Expires.UtcDateTime:yyyy-MM-dd}{(bundle.Signer is null ? ", not signed" : "")}", "vmsweep signatures update");
        }
        catch (Exception e) when (e is BundleException or IOException or UnauthorizedAccessException)
        {
            return (false, e.Message, "vmsweep signatures update, or add a bundle by hand; rollback goes back to the previous one");
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
