using System.Diagnostics;
using System.Xml.Linq;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.Libvirt;

/// <summary>
/// A running or paused VM by an external snapshot, where no backup can be had: the guest writes into overlays, the images below stand still and are read where
/// they lie, and in the end each overlay is merged into the image right below it, which a shared base never is.
/// </summary>
internal sealed class OverlayView : IVmView
{
    private const string OverlayPrefix = "overlay.";
    private const string ImagePrefix = "image.";
    private const string FormatPrefix = "format.";

    /// <summary>Merging what a guest wrote while it was scanned.</summary>
    private static readonly TimeSpan MostMerge = TimeSpan.FromMinutes(30);

    /// <summary>A detail of the lease, noted when libvirt said that the disks had moved onto their overlays: one that is on another file later was merged.</summary>
    private const string Moved = "moved";

    /// <summary>For a daemon to carry out what was asked for by a process that is gone.</summary>
    private static readonly TimeSpan MostBegin = TimeSpan.FromSeconds(30);

    private readonly LibvirtConnector _connector;
    private readonly Lease _lease;
    private readonly ViewLimits _limits;

    private OverlayView(LibvirtConnector connector, Vm vm, Lease lease, ViewLimits limits)
    {
        _connector = connector;
        Vm = vm;
        _lease = lease;
        _limits = limits;
    }

    public Vm Vm { get; }

    public string? MustClose() => _limits.Exceeded() ?? StoppedGuest.Look(_lease.Record, () => _connector.IsStoppedByError(_lease.Record.VmId));

    public IReadOnlyList<GapReport> Conclude()
    {
        bool isHere = false;
        _connector.OnIfThere(_lease.Record.VmId, domain => isHere = !domain.IsMigrated);
        return isHere ? [] : [new CoverageGap(Fault.Refused, Vm.Target, "VM", -1, 0, Elsewhere(_lease.Record)).ToReport()];
    }

    public string? Keep() => null;

    public void Dispose()
    {
        using (_lease)
        {
            Undo(_connector, _lease.Record);
            _lease.Complete();
        }
    }

    /// <param name="read">The VM with the disks that nobody writes to.</param>
    /// <exception cref="LibvirtException">libvirt refuses.</exception>
    public static OverlayView Open(LibvirtConnector connector, InventoryVm vm, Vm read, IReadOnlyList<InventoryDisk> disks, ViewRequest request, TimeProvider time)
    {
        List<InventoryDisk> files = [.. disks.Where(d => d.Type == "file")];
        List<GapReport> gaps =
        [
            .. read.Gaps,
            .. disks.Except(files).Select(d => new CoverageGap(Fault.Unsupported, d.Source, "disk", -1, 0, $"a disk of the type {d.Type} cannot be viewed by a snapshot").ToReport()),
        ];
        var limits = new ViewLimits(connector.Settings, [.. files.Select(d => Path.GetDirectoryName(d.Source)!).Distinct()], time);
        if (limits.Exceeded() is { } full)
        {
            throw new ConnectorException($"{vm.Name}: no view is opened: {full}");
        }

        Lease lease = request.Journal.Begin(LibvirtConnector.OverlayKind, connector.Name, vm.Id, vm.Name, key =>
        {
            var details = new Dictionary<string, string>();
            StoppedGuest.Note(details, vm);
            foreach (InventoryDisk disk in files)
            {
                details[OverlayPrefix + disk.Name] = Path.Combine(Path.GetDirectoryName(disk.Source)!, $"vmsweep-{key}-{disk.Name}.qcow2");
                details[ImagePrefix + disk.Name] = disk.Source;
                details[FormatPrefix + disk.Name] = disk.Format;
            }

            return details;
        });
        try
        {
            List<(string, string?)> all = [.. vm.Disks.Select(d => (d.Name, lease.Record.Details.GetValueOrDefault(OverlayPrefix + d.Name)))];
            connector.On(vm.Id, (_, domain) =>
            {
                domain.SnapshotDisks(BackupXml.Snapshot("vmsweep-" + lease.Record.Key, all));
                return true;
            });
            lease.Update(r => r with { Details = new Dictionary<string, string>(r.Details) { [Moved] = "yes" } });
            Vm below = FilesView.Read(vm with { Disks = files }, read.Target, [.. connector.Settings.Bases, .. request.Bases]);
            return new OverlayView(connector, below with { Disks = [.. read.Disks, .. below.Disks], Gaps = [.. gaps, .. below.Gaps] }, lease, limits);
        }
        catch
        {
            lease.Abandon(() => Undo(connector, lease.Record));

            throw;
        }
    }

    /// <summary>Merges overlays of a lease that are in use, and removes those that are not.</summary>
    public static void Undo(LibvirtConnector connector, LeaseRecord lease)
    {
        foreach ((string key, string overlay) in lease.Details.Where(d => d.Key.StartsWith(OverlayPrefix, StringComparison.Ordinal)))
        {
            string disk = key[OverlayPrefix.Length..];
            if (!Path.GetFileName(overlay).Contains(lease.Key, StringComparison.Ordinal))
            {
                throw new InvalidDataException($"{overlay} is not this lease's");
            }

            bool isHere = false;
            connector.OnIfThere(lease.VmId, (host, domain) =>
            {
                if (domain.IsMigrated)
                {
                    return;
                }

                isHere = true;

                // A daemon goes on with what a killed scan asked for: first it makes the overlay, then the disk moves onto it.
                long started = Environment.TickCount64;
                while (!lease.Details.ContainsKey(Moved) && domain.IsActive && File.Exists(overlay) && !IsTop(domain.Xml(), disk, overlay) && Environment.TickCount64 - started < MostBegin.TotalMilliseconds)
                {
                    Thread.Sleep(50);
                }

                if (domain.IsActive && IsTop(domain.Xml(), disk, overlay))
                {
                    Merge(domain, disk, overlay);
                }
                else if (!domain.IsActive && IsTop(domain.Xml(inactive: true), disk, overlay))
                {
                    MergeOff(host, domain, disk, overlay, lease.Details[ImagePrefix + disk], lease.Details[FormatPrefix + disk]);
                }

                if (Uses(domain.Xml(), overlay) || Uses(domain.Xml(inactive: true), overlay))
                {
                    throw new ConnectorException($"{lease.VmName}: {overlay} is still in use");
                }
            });
            if (HostFile.KindOf(overlay) == HostFileKind.Regular)
            {
                // What a guest wrote is in it, and another host may have it in use.
                File.Delete(isHere ? overlay : throw new ConnectorException(Elsewhere(lease)));
            }
        }

        StoppedGuest.Resume(lease, () => connector.GoOnAfterError(lease.VmId));
    }

    private static string Elsewhere(LeaseRecord lease)
    {
        string[] disks = [.. lease.Details.Keys.Where(k => k.StartsWith(OverlayPrefix, StringComparison.Ordinal)).Select(k => k[OverlayPrefix.Length..])];
        return $"{lease.VmName} was moved to another host, or removed, while its disks were on overlays ({string.Join(", ", disks.Select(d => lease.Details[OverlayPrefix + d]))}); merge them where it is now ("
            + string.Join("; ", disks.Select(d => $"virsh blockcommit {lease.VmId} {d} --active --shallow --pivot")) + "), and remove the files";
    }

    private static void Merge(LibvirtDomain domain, string disk, string overlay)
    {
        if (domain.IsJobReady(disk) is null)
        {
            domain.CommitTop(disk);
        }

        long started = Environment.TickCount64;
        while (IsTop(domain.Xml(), disk, overlay))
        {
            if (domain.IsJobReady(disk) == true)
            {
                try
                {
                    domain.Pivot(disk);
                    continue;
                }
                catch (LibvirtException) when (Environment.TickCount64 - started < MostMerge.TotalMilliseconds)
                {
                    // All is copied, but the job does not say yet that it is ready.
                }
            }

            if (Environment.TickCount64 - started > MostMerge.TotalMilliseconds)
            {
                throw new ConnectorException($"{disk}: the merge does not end within {MostMerge.TotalMinutes} min");
            }

            Thread.Sleep(50);
        }
    }

    /// <summary>The VM was ended over its overlay: the same merge without it.</summary>
    private static void MergeOff(LibvirtHost host, LibvirtDomain domain, string disk, string overlay, string image, string format)
    {
        string program = Sandbox.Find("qemu-img") ?? throw new ConnectorException("qemu-img is missing; install it with: apt-get install -y qemu-utils");
        var start = new ProcessStartInfo(program, ["commit", "-q", "-f", "qcow2", "-d", overlay]) { RedirectStandardError = true, RedirectStandardInput = true };
        using (Process process = Process.Start(start)!)
        {
            process.StandardInput.Close();
            string error = process.StandardError.ReadToEnd();
            process.WaitForExit();
            if (process.ExitCode != 0)
            {
                throw new ConnectorException($"{overlay} cannot be merged: {error.Trim()}");
            }
        }

        XElement xml = domain.Xml(inactive: true, secure: true);
        foreach (XElement element in (xml.Child("devices")?.Children("disk") ?? []).Where(d => d.Child("target").Value("dev") == disk))
        {
            element.Child("source")!.SetAttributeValue("file", image);
            element.Child("driver")?.SetAttributeValue("type", format == "vhd" ? "vpc" : format);
            element.Child("backingStore")?.Remove();
        }

        host.Define(xml.ToString());
    }

    private static bool IsTop(XElement xml, string disk, string overlay) => LibvirtInventory.Disks(xml).Exists(d => d.Name == disk && d.Source == overlay);

    private static bool Uses(XElement xml, string overlay) => LibvirtInventory.Disks(xml).Exists(d => d.Chain.Contains(overlay));
}
