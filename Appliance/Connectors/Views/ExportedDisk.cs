using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Nbd;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Views;

/// <summary>A disk as a view exports it: raw, whatever the image below is.</summary>
internal static class ExportedDisk
{
    private static readonly TimeSpan MostWait = TimeSpan.FromSeconds(30);

    /// <param name="image">The image's path on the host, for reports.</param>
    /// <exception cref="IOException">The server does not export it.</exception>
    public static VmDisk Of(string image, string socket, string export)
    {
        using NbdSource source = NbdSource.Open(NbdTransport.Unix(socket), export, new ScanBudget(8 << 20), timeout: MostWait);
        return new VmDisk(image, new ChainPlan("raw", [new PlannedFile(0, image, socket) { Export = new PlannedExport(export, source.Length) }], []), []);
    }

    /// <summary>
    /// After reading: what serves a view may have ended meanwhile. Then what the guest overwrote was not kept any more, and may have been read as it was later.
    /// </summary>
    /// <param name="isServed">Asks the hypervisor.</param>
    public static IReadOnlyList<GapReport> Conclude(Vm vm, Func<bool> isServed)
    {
        string why = "the hypervisor, or somebody by it, ended the view while it was read; what was read last may be of a later moment";
        try
        {
            if (isServed())
            {
                return [];
            }
        }
        catch (IOException e)
        {
            why = $"whether the view was served to the end cannot be told: {e.Message}";
        }

        return [new CoverageGap(Fault.Transport, vm.Target, "view", -1, 0, why).ToReport()];
    }
}
