using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Signatures.AllowLists;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Cli;

/// <summary>
/// What a scan looks for, and what it is allowed to find: <c>--rules</c> when they are given, otherwise the active bundle, otherwise the
/// built-in rules. While this is open the bundle stays, whatever becomes active meanwhile.
/// </summary>
internal sealed class ScanSignatures : IDisposable
{
    private readonly OpenBundle? _bundle;

    private ScanSignatures(OpenBundle? bundle) => _bundle = bundle;

    public required IReadOnlyList<string> Rules { get; init; }

    public required bool WithBuiltin { get; init; }

    public required IReadOnlyList<string> HashLists { get; init; }

    /// <summary>The bundle's compiled set of hashes, where it has one: its lists are not among the others then.</summary>
    public IReadOnlyList<string> HashSets => SetsOf(PartKind.Hashes);

    public required AllowList Allow { get; init; }

    /// <summary>Entries of allow lists that are not in use.</summary>
    public required IReadOnlyList<RuleFaultReport> Faults { get; init; }

    public BundleReport? Bundle { get; private init; }

    /// <summary>Hashes of known good files in the bundle, where it has no compiled set of them.</summary>
    public IReadOnlyList<string> KnownGoodLists => ListsOf(_bundle, PartKind.KnownGood);

    public IReadOnlyList<string> KnownGoodSets => SetsOf(PartKind.KnownGood);

    /// <param name="state">The state folder; null for none.</param>
    /// <exception cref="TargetException">An allow list that was asked for is none.</exception>
    /// <exception cref="BundleException">The active bundle cannot be used.</exception>
    public static ScanSignatures Choose(
        IReadOnlyList<string> rules, IReadOnlyList<string> hashes, bool withBuiltin, IReadOnlyList<string> allow, string? state, TimeProvider time)
    {
        DateTimeOffset now = time.GetUtcNow();
        OpenBundle? bundle = rules.Count == 0 && state is not null ? new BundleStore(StateFolder.Signatures(state), time).OpenActive() : null;
        try
        {
            IReadOnlyList<string> chosen = bundle?.FolderOf(PartKind.Yara) is { } folder ? [folder] : rules;
            (AllowList list, IReadOnlyList<RuleFaultReport> faults) = ReadAllowLists(allow, [.. OfState(state), .. bundle?.FilesOf(PartKind.Allow) ?? []], now);
            return new ScanSignatures(bundle)
            {
                Rules = chosen,
                WithBuiltin = withBuiltin || chosen.Count == 0,
                HashLists = [.. hashes, .. ListsOf(bundle, PartKind.Hashes)],
                Allow = list,
                Faults = faults,
                Bundle = bundle is null ? null : BundleReport.Of(bundle, now),
            };
        }
        catch
        {
            bundle?.Dispose();
            throw;
        }
    }

    public void Dispose() => _bundle?.Dispose();

    private IReadOnlyList<string> SetsOf(PartKind kind) => _bundle?.SetOf(kind) is { } set ? [set] : [];

    private static IReadOnlyList<string> ListsOf(OpenBundle? bundle, PartKind kind) => bundle is null || bundle.SetOf(kind) is not null ? [] : bundle.FilesOf(kind);

    /// <summary>The operator's own lists that hold for every scan.</summary>
    private static IEnumerable<string> OfState(string? state)
    {
        string? folder = state is null ? null : Path.Combine(StateFolder.Signatures(state), "allow");
        return Directory.Exists(folder) ? Directory.GetFiles(folder, "*.json").Order(StringComparer.Ordinal) : [];
    }

    /// <summary>A list that is named must be one. Of the others what cannot be used is said, and allows nothing.</summary>
    private static (AllowList List, IReadOnlyList<RuleFaultReport> Faults) ReadAllowLists(IReadOnlyList<string> named, IReadOnlyList<string> others, DateTimeOffset now)
    {
        List<AllowFault> faults = [];
        List<AllowEntry> entries = [];
        foreach (string file in named)
        {
            int before = faults.Count;
            IReadOnlyList<AllowEntry> read = AllowList.Read(file, now, faults);
            if (read.Count == 0 && faults.Skip(before).FirstOrDefault(f => !f.IsEntry) is { } fault)
            {
                throw new TargetException($"--allow {fault.File}:{fault.Line}: {fault.Message}");
            }

            entries.AddRange(read);
        }

        foreach (string file in others)
        {
            entries.AddRange(AllowList.Read(file, now, faults));
        }

        return (new AllowList(entries), [.. faults.Select(f => new RuleFaultReport(f.File, f.Line, f.Message))]);
    }
}
