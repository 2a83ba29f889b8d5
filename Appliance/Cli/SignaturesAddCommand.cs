using System.CommandLine;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Updates;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep signatures add</c>: a bundle that was carried by hand, or the operator's own rules.</summary>
internal static class SignaturesAddCommand
{
    public static Command Create()
    {
        var source = new Argument<string>("FILE|DIR") { Description = "A bundle as a file or folder; with --unsigned also a folder of rules and lists, or one file of rules." };
        var unsigned = new Option<bool>("--unsigned") { Description = "Take it without a trusted publisher's signature: for your own rules." };
        Option<string> format = CommonOptions.Format("text", "json");
        Option<string?> state = CommonOptions.State();
        Option<SandboxMode?> sandbox = CommonOptions.SandboxChoice();
        Option<string?> configuration = CommonOptions.Configuration();
        var command = new Command("add", "Checks a bundle and makes it active.") { source, unsigned, format, state, sandbox, configuration };
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            using IDisposable log = Logging.Open(parsed.GetValue(state));
            string path = Path.GetFullPath(parsed.GetRequiredValue(source));
            if (!Path.Exists(path))
            {
                throw new TargetException($"{path}: not found");
            }

            (BundleStore store, string _) = SignaturesCommand.Open(parsed.GetValue(state));
            bool mayBeUnsigned = parsed.GetValue(unsigned);
            if (mayBeUnsigned)
            {
                Console.Error.WriteLine("vmsweep: WARNING: --unsigned: nobody but you vouches for these signatures");
            }

            ClamAvParts clamAv = SignaturesCommand.ClamAv(parsed.GetValue(configuration), cancellation);
            PartsChecker checker = Checker(parsed.GetValue(sandbox), cancellation);
            Installed installed = IsBundle(path) ? store.Install(path, new InstallOptions(mayBeUnsigned) { Cancellation = cancellation }, checker.Check)
                : mayBeUnsigned ? InstallOwn(path, store, checker, cancellation)
                : throw new TargetException($"{path}: no bundle; --unsigned takes a folder of rules as it is, vmsweep signatures build makes a signed bundle of it");
            return SignaturesCommand.Say(parsed.GetRequiredValue(format), installed, null, parsed.GetValue(state), clamAv.Apply(store));
        }));
        return command;
    }

    public static PartsChecker Checker(SandboxMode? mode, CancellationToken cancellation)
    {
        Sandbox box = Sandboxes.Open(mode ?? SandboxMode.Full);
        return new PartsChecker(box, new WorkerProcess(box.WorkerStart, ScanRun.Silence), cancellation);
    }

    /// <summary>False: rules and lists as they lie there.</summary>
    public static bool IsBundle(string path) => Directory.Exists(path)
        ? File.Exists(Path.Combine(path, BundleManifest.FileName))
        : Path.GetExtension(path).ToLowerInvariant() is not (".yar" or ".yara");

    private static Installed InstallOwn(string path, BundleStore store, PartsChecker checker, CancellationToken cancellation)
    {
        using var run = new RunFolder();
        string file = run.File("own" + SignatureUpdate.BundleExtension);
        // Two in one second, or after the clock was set back, are two versions all the same.
        var choices = new BundleChoices("local", null, DateTimeOffset.MaxValue) { AtLeast = store.NewestVersion("local") + 1 };
        SignaturesBuildCommand.Build(path, run.File("staged"), checker, choices, null, file);
        return store.Install(file, new InstallOptions(MayBeUnsigned: true) { Cancellation = cancellation }, _ => { });
    }
}
