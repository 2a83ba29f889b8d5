using System.Globalization;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Reports;
using Vmsweep.Signatures.Bundles;
using Vmsweep.Signatures.ClamAv;

namespace Vmsweep.Appliance.Updates;

/// <summary>Brings the active bundle's databases for ClamAV to <c>clamd</c>, and takes those of others away.</summary>
internal sealed class ClamAvParts(ClamAvSettings? settings, CancellationToken cancellation)
{
    /// <summary>Loading ClamAV's own database takes half a minute, on a busy machine more.</summary>
    public TimeSpan LoadTime { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>After a change of bundle, or to make good for one that did not come to its end.</summary>
    /// <returns>What became of it; null where there is nothing to say.</returns>
    /// <exception cref="BundleException">The active bundle cannot be used.</exception>
    public ClamAvPartsReport? Apply(BundleStore store)
    {
        using IDisposable alone = store.LockFor("clamav.lock");
        using OpenBundle? bundle = store.OpenActive();
        long signatures = bundle?.Manifest.Count(PartKind.ClamAv) ?? 0;
        IReadOnlyList<string> files = bundle?.FilesOf(PartKind.ClamAv) ?? [];
        if (settings?.DatabaseFolder is not { } folder)
        {
            return files.Count == 0 ? null : new ClamAvPartsReport(false, signatures, NotConfigured);
        }

        try
        {
            string id = bundle?.Id ?? "";
            IReadOnlyList<string> before = ClamdParts.IdsIn(folder);
            List<string> gone = [.. before.Where(b => !id.StartsWith(b, StringComparison.Ordinal))];
            if (files.Count == 0 && before.Count == 0)
            {
                return null;
            }

            if (files.Count > 0 && !ClamAvCheck.IsPossible)
            {
                return new ClamAvPartsReport(false, signatures, "they cannot be checked before they are put to ClamAV: clamscan is missing; apt-get install -y clamav, then add or update again");
            }

            if (files.Count > 0 && before.Count > 0 && gone.Count == 0 && IsLoadedNow(id))
            {
                return Loaded(signatures);
            }

            // Before the daemon is asked for anything: one that is down loads them when it starts.
            ClamdParts.Put(folder, id, files);
            return ClamdParts.Reload(settings.Socket, files.Count > 0 ? id : null, gone, LoadTime, cancellation)
                ? files.Count > 0 ? Loaded(signatures) : null
                : new ClamAvPartsReport(false, signatures, string.Create(CultureInfo.InvariantCulture, $"they lie in {folder}, but clamd on {settings.Socket} has not loaded them within {LoadTime.TotalSeconds:0} s: is that its DatabaseDirectory? Its log says why"));
        }
        catch (ClamdException e)
        {
            return new ClamAvPartsReport(false, signatures, files.Count > 0 ? $"they lie in {folder} and are loaded when clamd starts: {e.Message}" : $"those of another bundle were removed from {folder}: {e.Message}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return new ClamAvPartsReport(false, signatures, $"they cannot be put into {folder}: {e.Message}");
        }
    }

    /// <summary>Whether the parts of a bundle take part now; nothing is changed.</summary>
    /// <returns>Null where it has none.</returns>
    public ClamAvPartsReport? Look(string id, BundleManifest manifest)
    {
        long signatures = manifest.Count(PartKind.ClamAv);
        if (signatures == 0)
        {
            return null;
        }

        try
        {
            return IsLoaded(id) ? Loaded(signatures)
                : new ClamAvPartsReport(false, signatures, settings?.DatabaseFolder is null ? NotConfigured : $"clamd on {settings.Socket} has not loaded them; vmsweep signatures add or update of this bundle tries it again");
        }
        catch (ClamdException e)
        {
            return new ClamAvPartsReport(false, signatures, settings?.DatabaseFolder is null ? NotConfigured : e.Message);
        }
    }

    /// <summary>How to have them loaded.</summary>
    private const string NotConfigured = "vmsweep.json does not say where clamd has its database: \"clamav\": { \"databaseFolder\": \"/var/lib/clamav\" }, then add or update again";

    private bool IsLoaded(string id) => ClamdParts.IsLoaded(settings?.Socket ?? ClamdOptions.DefaultSocket, id, cancellation);

    private bool IsLoadedNow(string id)
    {
        try
        {
            return IsLoaded(id);
        }
        catch (ClamdException)
        {
            return false;
        }
    }

    private ClamAvPartsReport Loaded(long signatures) => new(true, signatures, $"loaded by clamd on {settings?.Socket ?? ClamdOptions.DefaultSocket}");
}
