using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Updates;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep signatures</c>: the bundles of rules and lists that scans use, in one place for all VMs.</summary>
internal static class SignaturesCommand
{
    public static Command Create() => new("signatures", "Signature bundles: what scans look for, from publishers whose keys are pinned.")
    {
        List(),
        SignaturesAddCommand.Create(),
        SignaturesUpdateCommand.Create(),
        Verify(),
        SignaturesTestCommand.Create(),
        RollBack(),
        SignaturesBuildCommand.Create(),
        SignaturesTrustCommand.Create(),
    };

    /// <summary>The store below a state folder.</summary>
    /// <exception cref="TargetException">There is no state folder.</exception>
    public static (BundleStore Store, string Folder) Open(string? state)
    {
        string folder = StateFolder.Signatures(StateFolder.Of(state) ?? throw new TargetException("signatures are kept in the state folder, and --state none has none"));
        return (new BundleStore(folder, TimeProvider.System), folder);
    }

    /// <summary>What brings parts of bundles to ClamAV, as the configuration says.</summary>
    /// <param name="configuration">As <c>--config</c> has it.</param>
    public static ClamAvParts ClamAv(string? configuration, CancellationToken cancellation) => new(ApplianceConfiguration.Read(configuration).ClamAv, cancellation);

    public static BundleReport Report(Installed installed) => BundleReport.Of(installed.Id, installed.Manifest, installed.Signer, TimeProvider.System.GetUtcNow());

    public static void Write<T>(T report, JsonTypeInfo<T> type) => Console.Out.WriteLine(JsonSerializer.Serialize(report, type));

    /// <summary>What became of a bundle, for people and programs.</summary>
    /// <param name="state">As <c>--state</c> has it, for its audit log.</param>
    /// <param name="clamAv">What became of its parts for ClamAV; null: nothing.</param>
    public static int Say(string format, Installed installed, string? from, string? state, ClamAvPartsReport? clamAv)
    {
        int status = clamAv is { IsLoaded: false } ? ExitStatus.Incomplete : ExitStatus.Clean;
        BundleReport bundle = Report(installed);
        if (installed.Outcome == InstallOutcome.Activated)
        {
            Audit.Note(state, "signatures activated", bundle.Title, $"{installed.Id}{(from is null ? "" : " from " + from)}, signed by {installed.Signer?.Name ?? "nobody"}");
        }

        if (format == "json")
        {
            Write(
                new SignaturesReport
                {
                    Outcome = installed.Outcome switch { InstallOutcome.Activated => "activated", InstallOutcome.AlreadyActive => "unchanged", _ => "rolled-back-before" },
                    From = from,
                    Active = installed.Outcome == InstallOutcome.RolledBackBefore ? null : bundle,
                    ClamAv = clamAv,
                },
                SignaturesJson.Default.SignaturesReport);
            return status;
        }

        Console.Out.WriteLine(installed.Outcome switch
        {
            InstallOutcome.Activated => $"{bundle.Title} is active now",
            InstallOutcome.AlreadyActive => $"{bundle.Title} is active already",
            _ => $"{bundle.Title} was rolled back here; a newer one is awaited, or add it by hand",
        });
        if (installed.Outcome != InstallOutcome.RolledBackBefore)
        {
            Console.Out.WriteLine(Line(bundle));
        }

        Say(clamAv);
        return status;
    }

    /// <summary>One line on the parts for ClamAV, where there are any.</summary>
    public static void Say(ClamAvPartsReport? clamAv)
    {
        if (clamAv is not null)
        {
            Console.Out.WriteLine($"          {(clamAv.IsLoaded ? "ClamAV signatures: " : "ClamAV signatures NOT IN USE: ")}{Printable.Of(clamAv.Detail)}");
        }
    }

    /// <summary>Contents, validity and signer of a bundle on one line.</summary>
    public static string Line(BundleReport bundle)
    {
        string counts = string.Join(", ", bundle.Counts.Select(c => string.Create(CultureInfo.InvariantCulture, $"{c.Value:N0} {WordFor(c.Key)}")));
        string expires = bundle.Expires.UtcDateTime.ToString("yyyy-MM-dd HH:mm 'UTC'", CultureInfo.InvariantCulture);
        string signer = bundle.Publisher is null ? "NOT SIGNED" : $"signed by {Printable.Of(bundle.Publisher)} ({bundle.PublisherKey![..16]})";
        return $"          {counts}; {Sizes.Show(bundle.Bytes)}; {(bundle.IsExpired ? "EXPIRED on" : "until")} {expires}; {signer}; {bundle.Id}";
    }

    private static string WordFor(string kind) => kind switch
    {
        "yara" => "rules",
        "known-good" => "known good hashes",
        "clamav" => "ClamAV signatures",
        "allow" => "allow entries",
        _ => kind,
    };

    private static Command List()
    {
        Option<string> format = CommonOptions.Format("text", "json");
        Option<string?> state = CommonOptions.State();
        Option<string?> configuration = CommonOptions.Configuration();
        var command = new Command("list", "The active bundle, the one before it, and what they hold.") { format, state, configuration };
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            (BundleStore store, string _) = Open(parsed.GetValue(state));
            IReadOnlyList<StoredBundle> bundles = store.List();
            ClamAvPartsReport? clamAv = bundles.FirstOrDefault(b => b.IsActive) is { Manifest: { } manifest } used ? ClamAv(parsed.GetValue(configuration), cancellation).Look(used.Id, manifest) : null;
            DateTimeOffset now = TimeProvider.System.GetUtcNow();
            if (parsed.GetRequiredValue(format) == "json")
            {
                Write(
                    new SignaturesReport
                    {
                        Active = Of(bundles.FirstOrDefault(b => b.IsActive), now),
                        Previous = Of(bundles.FirstOrDefault(b => b.IsPrevious), now),
                        Kept = [.. bundles.Where(b => b is { IsActive: false, IsPrevious: false }).Select(b => Of(b, now)).OfType<BundleReport>()],
                        ClamAv = clamAv,
                        Faults = [.. bundles.Where(b => b.Fault.Length > 0).Select(b => b.Fault)],
                    },
                    SignaturesJson.Default.SignaturesReport);
            }
            else if (bundles.Count == 0)
            {
                Console.Out.WriteLine("no bundle; scans use the built-in rules");
            }
            else
            {
                foreach (StoredBundle bundle in bundles)
                {
                    string role = bundle.IsActive ? "active" : bundle.IsPrevious ? "previous" : "kept";
                    BundleReport? report = Of(bundle, now);
                    Console.Out.WriteLine($"{role,-8}  {(report is null ? "cannot be used: " + Printable.Of(bundle.Fault) : report.Title)}");
                    if (report is not null)
                    {
                        Console.Out.WriteLine(Line(report));
                        Say(bundle.IsActive ? clamAv : null);
                    }
                }
            }

            return bundles.Any(b => b is { IsActive: true, Fault.Length: > 0 }) ? ExitStatus.CannotRun : ExitStatus.Clean;
        }));
        return command;
    }

    private static Command Verify()
    {
        Option<string> format = CommonOptions.Format("text", "json");
        Option<string?> state = CommonOptions.State();
        var command = new Command("verify", "Checks the active bundle again: signature, every digest, expiry (3: expired, 2: damaged or not to be trusted).") { format, state };
        command.SetAction((parsed, _) => CommandFailure.Guard(() =>
        {
            (BundleStore store, string _) = Open(parsed.GetValue(state));
            using OpenBundle bundle = store.OpenActive() ?? throw new TargetException("there is no active bundle");
            IReadOnlyList<string> wrong = store.Verify(bundle);
            BundleReport report = BundleReport.Of(bundle, TimeProvider.System.GetUtcNow());
            if (parsed.GetRequiredValue(format) == "json")
            {
                Write(new SignaturesReport { Outcome = wrong.Count > 0 ? "damaged" : report.IsExpired ? "expired" : "sound", Active = report, Faults = wrong }, SignaturesJson.Default.SignaturesReport);
            }
            else
            {
                Console.Out.WriteLine($"{(wrong.Count > 0 ? "DAMAGED" : report.IsExpired ? "EXPIRED" : "sound")}   {report.Title}");
                Console.Out.WriteLine(Line(report));
            }

            foreach (string line in wrong)
            {
                Console.Error.WriteLine("vmsweep: " + Printable.Of(line));
            }

            return wrong.Count > 0 ? ExitStatus.CannotRun : report.IsExpired ? ExitStatus.Incomplete : ExitStatus.Clean;
        }));
        return command;
    }

    private static Command RollBack()
    {
        Option<string> format = CommonOptions.Format("text", "json");
        Option<string?> state = CommonOptions.State();
        Option<string?> configuration = CommonOptions.Configuration();
        var command = new Command("rollback", "Makes the previous bundle active again; an update does not bring back the one that was left.") { format, state, configuration };
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            (BundleStore store, string _) = Open(parsed.GetValue(state));
            ClamAvParts clamAv = ClamAv(parsed.GetValue(configuration), cancellation);
            StoredBundle active = store.RollBack();
            return Say(parsed.GetRequiredValue(format), new Installed(InstallOutcome.Activated, active.Id, active.Manifest!, active.Signer), null, parsed.GetValue(state), clamAv.Apply(store));
        }));
        return command;
    }

    private static BundleReport? Of(StoredBundle? bundle, DateTimeOffset now) =>
        bundle?.Manifest is null ? null : BundleReport.Of(bundle.Id, bundle.Manifest, bundle.Signer, now);
}
