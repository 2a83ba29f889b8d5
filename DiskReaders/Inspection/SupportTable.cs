using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.GuestMemory;
using Vmsweep.DiskReaders.Volumes;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>A row of what this product reads.</summary>
/// <param name="Kind"><c>container</c>, <c>volume</c>, <c>file system</c> or <c>memory</c>.</param>
/// <param name="Title">The format's usual name.</param>
/// <param name="Read">What is read of it; empty when it is only recognised.</param>
/// <param name="Refused">What of it becomes a gap.</param>
public sealed record SupportRow(string Kind, string Title, string Read, string Refused);

/// <summary>What is read, recognised and refused, from the lists by which formats are found.</summary>
public static class SupportTable
{
    /// <summary>Readers first, in the order they are asked in, then what is only recognised, by kind.</summary>
    public static IReadOnlyList<SupportRow> Rows { get; } =
    [
        .. ContainerFormats.Readable.Append(ContainerFormats.Raw).Select(f => Row("container", f.Support)),
        .. ContainerFormats.Holders.Select(s => Row("container", s)),
        .. Recognised("container", KnownContainers.Titles),
        .. PartitionTables.Supported.Select(s => Row("volume", s)),
        .. VolumeFormats.Readable.Select(f => Row("volume", f.Support)),
        .. Recognised("volume", KnownVolumes.Titles),
        .. FileSystemFormats.Readable.Select(f => Row("file system", f.Support)),
        .. Recognised("file system", KnownFileSystems.Titles),
        .. MemoryFormats.Supported.Select(s => Row("memory", s)),
        .. Recognised("memory", MemoryFormats.Titles),
    ];

    private static SupportRow Row(string kind, FormatSupport support) => new(kind, support.Title, support.Read, support.Refused);

    private static IEnumerable<SupportRow> Recognised(string kind, IEnumerable<string> titles)
    {
        string[] distinct = [.. titles.Distinct()];
        return distinct.Length == 0 ? [] : [new SupportRow(kind, "recognised by name", "", string.Join(", ", distinct))];
    }
}
