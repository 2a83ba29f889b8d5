using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Reports;

/// <summary>What workers say of disks, put into the report of their VM.</summary>
internal static class DiskReports
{
    /// <exception cref="InvalidDataException">The worker speaks of a disk that its job does not have.</exception>
    public static DiskReport Of(this List<DiskReport> disks, int index) =>
        index < disks.Count ? disks[index] : throw new InvalidDataException($"a worker on {disks.Count} disks speaks of disk {index + 1}");

    /// <exception cref="InvalidDataException">As for <see cref="Of"/>.</exception>
    public static void Fill(this List<DiskReport> disks, DiskEvent opened)
    {
        DiskReport disk = disks.Of(opened.Index);
        disk.Format = opened.Format;
        disk.SizeBytes = opened.SizeBytes;
        disk.SectorBytes = opened.SectorBytes;
        disk.Scheme = opened.Scheme;
        disk.Chain = [.. opened.Chain];
    }
}
