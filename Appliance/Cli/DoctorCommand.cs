using System.CommandLine;
using System.Runtime.InteropServices;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.ClamAv;
using Vmsweep.Signatures.Hashes;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep doctor</c>: what is missing or reduced on this machine, and the command that mends it.</summary>
internal static class DoctorCommand
{
    public static Command Create()
    {
        Option<string?> clamd = CommonOptions.Clamd();
        var hashes = new Option<string[]>("--hashes") { Description = "A compiled hash set to be checked to its end. Repeatable.", HelpName = "FILE" };
        var knownGood = new Option<string[]>("--known-good") { Description = "The same of known-good hashes. Repeatable.", HelpName = "FILE" };
        var command = new Command("doctor", "Says what is missing or reduced on this machine, and how to mend it.") { clamd, hashes, knownGood };
        command.SetAction(parsed => Run(parsed.GetValue(clamd), parsed.GetValue(hashes) ?? [], parsed.GetValue(knownGood) ?? []));
        return command;
    }

    private static int Run(string? clamd, string[] hashes, string[] knownGood)
    {
        bool isSound = true;
        Check("processors", true, $"{Environment.ProcessorCount}, {RuntimeInformation.ProcessArchitecture}, {RuntimeInformation.FrameworkDescription}", "");
        Sandbox sandbox = Sandbox.Probe(SandboxMode.Full);
        Check("sandbox", sandbox.IsFull, sandbox.IsFull ? "full (bubblewrap)" : "reduced: " + sandbox.Detail, Sandbox.Find("bwrap") is null ? "apt-get install -y bubblewrap" : "sysctl -w kernel.unprivileged_userns_clone=1, or run as root");
        (bool works, string worker) = TryWorker(sandbox);
        Check("worker", works, worker, "see the message; with --sandbox reduced it runs without namespaces");
        (bool isSet, string daemon, string remedy) = EngineChecks.Clamd(clamd ?? ClamdOptions.DefaultSocket);
        Check("clamav", isSet || (clamd is null && !File.Exists(ClamdOptions.DefaultSocket)), isSet || clamd is not null ? daemon : $"not in use: {daemon}", remedy);
        foreach ((string path, HashSetKind kind) in hashes.Select(h => (h, HashSetKind.Bad)).Concat(knownGood.Select(k => (k, HashSetKind.KnownGood))))
        {
            (bool isWhole, string set) = EngineChecks.HashSet(path, kind);
            Check("hashes", isWhole, set, "build it again from its lists");
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
        var job = new CompileJob([], Builtin: true, Strict: true) { Limits = DiskLimits.ForReading };
        WorkerOutcome outcome = new WorkerProcess(sandbox.WorkerStart, TimeSpan.FromSeconds(30)).Run(
            job, [], message => rules = message is CompiledEvent compiled ? $"{compiled.Engines[0].Name} {compiled.Engines[0].Version}, {compiled.Engines[0].Rules} built-in rules compiled in the sandbox" : rules, _ => { }, CancellationToken.None);
        return outcome.End == WorkerEnd.Done ? (true, rules) : (false, outcome.Detail);
    }
}
