using Vmsweep.Appliance.Connectors.Datastore;
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
}
