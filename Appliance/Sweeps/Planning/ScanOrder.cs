namespace Vmsweep.Appliance.Sweeps.Planning;

/// <summary>When a VM was last scanned by sweeps.</summary>
/// <param name="Whole">When all of it was read.</param>
internal readonly record struct LastScan(DateTimeOffset Scanned, DateTimeOffset? Whole);

/// <summary>Which VMs come first.</summary>
internal static class ScanOrder
{
    /// <summary>Those never scanned, then those whose last scan is the most days ago; among them by tag, by time and by name.</summary>
    public static IReadOnlyList<SweepVm> Sort(IEnumerable<SweepVm> vms, IReadOnlyDictionary<string, LastScan> last, IReadOnlyList<string> tags, TimeZoneInfo zone) =>
    [
        .. vms.OrderBy(v => last.TryGetValue(v.Key, out LastScan scan) ? DateOnly.FromDateTime(TimeZoneInfo.ConvertTime(scan.Scanned, zone).DateTime) : DateOnly.MinValue)
            .ThenBy(v => Rank(v, tags))
            .ThenBy(v => last.TryGetValue(v.Key, out LastScan scan) ? scan.Scanned : DateTimeOffset.MinValue)
            .ThenBy(v => v.Name, StringComparer.Ordinal)
            .ThenBy(v => v.Key, StringComparer.Ordinal),
    ];

    private static int Rank(SweepVm vm, IReadOnlyList<string> tags)
    {
        for (int i = 0; i < tags.Count; i++)
        {
            if (vm.Tags.Contains(tags[i]))
            {
                return i;
            }
        }

        return tags.Count;
    }
}
