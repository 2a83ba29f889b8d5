using System.CommandLine;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Updates;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep signatures update</c>.</summary>
internal static class SignaturesUpdateCommand
{
    public static Command Create()
    {
        var from = new Option<string?>("--from") { Description = "A folder, a bundle file or an https:// address; by default what sources.json in the folder of signatures names.", HelpName = "DIR|FILE|URL" };
        var proxy = new Option<string?>("--proxy") { Description = "A proxy for https, or none; by default HTTPS_PROXY and NO_PROXY of the environment.", HelpName = "URL|none" };
        var authority = new Option<string?>("--ca") { Description = "Certificate authorities in PEM, in place of the system's.", HelpName = "FILE" };
        var limit = new Option<long?>("--most")
        {
            Description = "The largest bundle that is fetched; 2G by default.",
            HelpName = "SIZE",
            CustomParser = result =>
            {
                if (result.Tokens.Count == 1 && Sizes.TryParse(result.Tokens[0].Value, out long bytes) && bytes > 0)
                {
                    return bytes;
                }

                result.AddError("--most takes a size such as 500M.");
                return null;
            },
        };
        Option<string> format = CommonOptions.Format("text", "json");
        Option<string?> state = CommonOptions.State();
        Option<SandboxMode?> sandbox = CommonOptions.SandboxChoice();
        Option<string?> configuration = CommonOptions.Configuration();
        var command = new Command("update", "Brings the newest bundle of a source. Nothing changes unless it is signed by a trusted publisher, newer, and compiles.") { from, proxy, authority, limit, format, state, sandbox, configuration };
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            using IDisposable log = Logging.Open(parsed.GetValue(state));
            (BundleStore store, string folder) = SignaturesCommand.Open(parsed.GetValue(state));
            IReadOnlyList<UpdateSource> sources = parsed.GetValue(from) is { } named ? [new UpdateSource { From = named }] : UpdateSources.Read(folder);
            sources = [.. sources.Select(s => s with { Proxy = parsed.GetValue(proxy) ?? s.Proxy, Ca = parsed.GetValue(authority) ?? s.Ca })];
            ClamAvParts clamAv = SignaturesCommand.ClamAv(parsed.GetValue(configuration), cancellation);
            PartsChecker checker = SignaturesAddCommand.Checker(parsed.GetValue(sandbox), cancellation);
            UpdateResult result = new SignatureUpdate(store, folder, checker.Check, parsed.GetValue(limit) ?? 2L << 30, cancellation).Run(sources);
            ClamAvPartsReport? applied = clamAv.Apply(store);
            if (result.Installed is { } installed)
            {
                return SignaturesCommand.Say(parsed.GetRequiredValue(format), installed, result.From, parsed.GetValue(state), applied);
            }

            if (parsed.GetRequiredValue(format) == "json")
            {
                SignaturesCommand.Write(new SignaturesReport { Outcome = "unchanged", From = result.From, ClamAv = applied }, SignaturesJson.Default.SignaturesReport);
            }
            else
            {
                Console.Out.WriteLine($"{Printable.Of(result.From)} has nothing new");
                SignaturesCommand.Say(applied);
            }

            return applied is { IsLoaded: false } ? ExitStatus.Incomplete : ExitStatus.Clean;
        }));
        return command;
    }
}
