using System.CommandLine;
using Vmsweep.Appliance.Reports;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep signatures trust</c>: whose bundles are taken.</summary>
internal static class SignaturesTrustCommand
{
    public static Command Create()
    {
        Option<string> format = CommonOptions.Format("text", "json");
        Option<string?> state = CommonOptions.State();
        var list = new Command("list", "The pinned keys.") { format, state };
        list.SetAction((parsed, _) => CommandFailure.Guard(() => Show(SignaturesCommand.Open(parsed.GetValue(state)).Store.Trust.Read(), parsed.GetRequiredValue(format), "")));

        var file = new Argument<string>("KEYFILE") { Description = "A public key in PEM: Ed25519 or ECDSA P-256 (openssl pkey -in PRIVATE.pem -pubout)." };
        var name = new Option<string?>("--name") { Description = "What to call the publisher; by default the file's name.", HelpName = "NAME" };
        Option<string> addFormat = CommonOptions.Format("text", "json");
        Option<string?> addState = CommonOptions.State();
        var add = new Command("add", "Pins a publisher's key. Compare the id that is shown with the publisher's own, over another way.") { file, name, addFormat, addState };
        add.SetAction((parsed, _) => CommandFailure.Guard(() =>
        {
            (Publisher publisher, bool isNew) = SignaturesCommand.Open(parsed.GetValue(addState)).Store.Trust.Add(parsed.GetRequiredValue(file), parsed.GetValue(name));
            if (isNew)
            {
                Audit.Note(parsed.GetValue(addState), "key trusted", publisher.Name, publisher.Key.Id);
            }

            return Show([publisher], parsed.GetRequiredValue(addFormat), isNew ? "trusted now: " : "trusted already: ");
        }));

        var key = new Argument<string>("KEY") { Description = "The key's id, or at least eight digits of its beginning, or its name." };
        Option<string> removeFormat = CommonOptions.Format("text", "json");
        Option<string?> removeState = CommonOptions.State();
        var remove = new Command("remove", "Trusts a key no longer. An active bundle that it signed is not used any more.") { key, removeFormat, removeState };
        remove.SetAction((parsed, _) => CommandFailure.Guard(() =>
        {
            Publisher removed = SignaturesCommand.Open(parsed.GetValue(removeState)).Store.Trust.Remove(parsed.GetRequiredValue(key));
            Audit.Note(parsed.GetValue(removeState), "key trusted no longer", removed.Name, removed.Key.Id);
            return Show([removed], parsed.GetRequiredValue(removeFormat), "trusted no longer: ");
        }));
        return new Command("trust", "Keys of publishers whose bundles are taken.") { list, add, remove };
    }

    private static int Show(IReadOnlyList<Publisher> publishers, string format, string prefix)
    {
        if (format == "json")
        {
            SignaturesCommand.Write(new TrustReport([.. publishers.Select(p => new TrustedKeyReport(p.Name, p.Key.Id, p.Key.Algorithm))]), SignaturesJson.Default.TrustReport);
        }
        else if (publishers.Count == 0)
        {
            Console.Out.WriteLine("no publisher is trusted; vmsweep signatures trust add KEYFILE pins one");
        }
        else
        {
            foreach (Publisher publisher in publishers)
            {
                Console.Out.WriteLine($"{prefix}{Printable.Of(publisher.Name)}  {publisher.Key.Algorithm}  {publisher.Key.Id}");
            }
        }

        return ExitStatus.Clean;
    }
}
