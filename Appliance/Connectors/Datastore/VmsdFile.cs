using System.Globalization;
using System.Text.RegularExpressions;
using Vmsweep.DiskReaders.Containers;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>VMware's snapshot tree: lines of <c>snapshotN.key = "value"</c> beside the configuration.</summary>
internal static partial class VmsdFile
{
    /// <summary>Real ones have some kilobytes.</summary>
    private const int MostBytes = 4 << 20;

    /// <summary>vSphere ends at 496.</summary>
    private const int MostSnapshots = 4096;

    /// <summary>Where the year 9999 ends.</summary>
    private static readonly long MostMicroseconds = (DateTimeOffset.MaxValue - DateTimeOffset.UnixEpoch).Ticks / TimeSpan.TicksPerMicrosecond;

    /// <exception cref="InvalidDataException">The file is no snapshot tree.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static IReadOnlyList<NamedSnapshot> Read(string path)
    {
        if (new FileInfo(path).Length > MostBytes)
        {
            throw new InvalidDataException($"{path}: larger than {MostBytes} bytes, so no snapshot tree");
        }

        return Parse(File.ReadAllBytes(path), path);
    }

    /// <exception cref="InvalidDataException">The bytes are no snapshot tree.</exception>
    public static IReadOnlyList<NamedSnapshot> Parse(ReadOnlySpan<byte> bytes, string name)
    {
        Dictionary<string, string> values = VmxFile.Values(bytes);
        string current = values.GetValueOrDefault("snapshot.current", "");
        var disks = new Dictionary<string, List<((int Bus, int Controller, int Unit) Place, string Name)>>(StringComparer.Ordinal);
        List<string> prefixes = [];
        foreach ((string key, string value) in values)
        {
            if (UidKey().Match(key) is { Success: true } uid)
            {
                prefixes.Add(uid.Groups["snapshot"].Value);
            }
            else if (DiskKey().Match(key) is { Success: true } disk && value.Length > 0)
            {
                string snapshot = disk.Groups["snapshot"].Value;
                if (!disks.TryGetValue(snapshot, out List<((int Bus, int Controller, int Unit) Place, string Name)>? of))
                {
                    disks.Add(snapshot, of = []);
                }

                of.Add((Place(values.GetValueOrDefault(disk.Groups["disk"].Value + ".node", "")), value));
            }
        }

        if (prefixes.Count > MostSnapshots)
        {
            throw new InvalidDataException($"{name}: more than {MostSnapshots} snapshots");
        }

        return
        [
            .. prefixes.Select(prefix => new NamedSnapshot(
                    values[prefix + ".uid"],
                    values.GetValueOrDefault(prefix + ".displayName", ""),
                    Created(values.GetValueOrDefault(prefix + ".createTimeHigh"), values.GetValueOrDefault(prefix + ".createTimeLow")),
                    values.GetValueOrDefault(prefix + ".parent"),
                    values[prefix + ".uid"] == current,
                    [.. disks.GetValueOrDefault(prefix, []).OrderBy(d => d.Place).Select(d => new ImageReference(ReferenceKind.Parent, [d.Name]))])
                {
                    StateFile = values.GetValueOrDefault(prefix + ".filename", ""),
                })
                .OrderBy(s => s.Created ?? DateTimeOffset.MinValue),
        ];
    }

    /// <summary>Microseconds since 1970 in two signed halves of 32 bits.</summary>
    private static DateTimeOffset? Created(string? high, string? low)
    {
        if (!int.TryParse(high, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int upper)
            || !int.TryParse(low, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int lower))
        {
            return null;
        }

        long microseconds = ((long)upper << 32) | (uint)lower;
        return microseconds > 0 && microseconds <= MostMicroseconds ? DateTimeOffset.UnixEpoch.AddTicks(microseconds * TimeSpan.TicksPerMicrosecond) : null;
    }

    /// <summary>Where a node such as <c>scsi0:1</c> stands among a VM's disks; the unknown last.</summary>
    private static (int Bus, int Controller, int Unit) Place(string node)
    {
        Match match = Node().Match(node);
        return match.Success
            ? (VmxFile.BusOf(match.Groups["bus"].Value), int.Parse(match.Groups["controller"].ValueSpan, CultureInfo.InvariantCulture), int.Parse(match.Groups["unit"].ValueSpan, CultureInfo.InvariantCulture))
            : (int.MaxValue, 0, 0);
    }

    [GeneratedRegex(@"^(?<snapshot>snapshot[0-9]{1,6})\.uid$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex UidKey();

    [GeneratedRegex(@"^(?<disk>(?<snapshot>snapshot[0-9]{1,6})\.disk[0-9]{1,6})\.fileName$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex DiskKey();

    [GeneratedRegex(@"^(?<bus>scsi|sata|ide|nvme)(?<controller>[0-9]{1,3}):(?<unit>[0-9]{1,3})$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex Node();
}

/// <summary>A snapshot as a configuration has it, its disks by the names found there.</summary>
internal sealed record NamedSnapshot(string Id, string Name, DateTimeOffset? Created, string? ParentId, bool IsCurrent, IReadOnlyList<ImageReference> Disks)
{
    /// <summary>The file with its memory, as the configuration names it; empty where there is none.</summary>
    public string StateFile { get; init; } = "";
}
