using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Results.Postgres;

namespace Vmsweep.Appliance.Cli;

/// <summary>What commands need to reach hypervisors: the configured connectors, and the journal of what is open there.</summary>
/// <param name="bases">Folders of declared bases.</param>
/// <param name="state">As <c>--state</c> has it: what is reaped goes into the audit log.</param>
/// <param name="server">Null: that log is in the state folder.</param>
internal sealed class Hypervisors(ConnectorCatalog catalog, LeaseJournal journal, IReadOnlyList<string> bases, string? state, PostgresSettings? server) : IDisposable
{
    public ConnectorCatalog Catalog => catalog;

    public LeaseJournal Journal => journal;

    /// <param name="configuration">The configuration's file; null for the default one.</param>
    /// <param name="state">The state folder; <c>none</c> keeps leases only while they last; null for the default one.</param>
    /// <param name="bases">Folders of declared bases.</param>
    /// <exception cref="ConfigurationException">The configuration is wrong.</exception>
    public static Hypervisors Open(string? configuration, string? state, IReadOnlyList<string> bases) => Of(ApplianceConfiguration.Read(configuration), state, bases);

    /// <summary>As above, for a configuration that was read.</summary>
    public static Hypervisors Of(ApplianceConfiguration configuration, string? state, IReadOnlyList<string> bases) =>
        new(
            new ConnectorCatalog(configuration, TimeProvider.System),
            new LeaseJournal(Path.Combine(state switch { StateFolder.Nothing => Transient, null => StateFolder.Default, _ => state }, "leases"), TimeProvider.System, configuration.Server is { } server && state != StateFolder.Nothing ? new SharedLeases(server, c => IsLocal(configuration, c)) : null),
            bases,
            state,
            configuration.Server);

    /// <summary>VMs of hypervisors, or of files.</summary>
    /// <param name="withMemory">With the memory of VMs that run.</param>
    public IEnumerable<Vm> Find(string target, TargetFinder files, bool withMemory = false) =>
        catalog.TryFind(target, new ViewRequest(journal, bases) { WithMemory = withMemory }, out IReadOnlyList<Vm>? vms) ? vms : files.Find(target);

    /// <summary>Ends what runs that were killed have left; what cannot be ended is said and tried again next time.</summary>
    public IReadOnlyList<(LeaseRecord Record, string? Failure)> Reap(Guid? only = null)
    {
        IReadOnlyList<(LeaseRecord Record, string? Failure)> reaped = new LeaseReaper(journal, lease => catalog.Open(lease.Connector), TimeProvider.System).Run(only);
        foreach ((LeaseRecord record, string? failure) in reaped)
        {
            Audit.Note(state, server, "lease reaped", $"{record.Connector}/{record.VmName}", $"{record.Kind} {record.Id}: {failure ?? "ended"}");
        }

        return reaped;
    }

    /// <summary>The same for one VM alone, by its id.</summary>
    public void ReapVm(string vm)
    {
        foreach ((LeaseRecord record, _) in journal.List().Where(l => !l.IsHeld && !l.Record.IsKept && l.Record.VmId == vm))
        {
            Reap(record.Id);
        }
    }

    /// <summary>The same every few minutes until the answer is disposed.</summary>
    public PeriodicReaper ReapPeriodically() => new(() => Reap(), TimeProvider.System);

    public void Dispose()
    {
        catalog.Dispose();
        journal.Dispose();
    }

    /// <summary>True when an address, or that of a configured connector, means the machine that it is used on.</summary>
    private static bool IsLocal(ApplianceConfiguration configuration, string connector) =>
        configuration.Connectors.TryGetValue(connector, out ConnectorSettings? settings) ? settings.Address.Host.Length == 0 : !Uri.TryCreate(connector, UriKind.Absolute, out Uri? address) || address.Host.Length == 0;

    private static string Transient => Environment.IsPrivilegedProcess ? "/run/vmsweep" : Path.Combine(Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR") ?? Path.GetTempPath(), "vmsweep");
}
