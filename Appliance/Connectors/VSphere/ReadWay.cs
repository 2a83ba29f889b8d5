using Vmsweep.Appliance.Connectors.Configuration;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>How the bytes of a disk are had.</summary>
internal enum ReadWay
{
    /// <summary><c>files</c>: the datastore is mounted here.</summary>
    Files,

    /// <summary><c>hotadd</c>: the snapshot's disk is attached to this appliance's own VM.</summary>
    HotAdd,

    /// <summary><c>ranges</c>: of the host's <c>/folder</c>.</summary>
    Ranges,

    /// <summary><c>export</c>: as a stream into the spool, where there is one.</summary>
    Export,
}

/// <summary>The order that an operator sets.</summary>
internal static class ReadWays
{
    /// <summary>Nothing is attached to any VM unless the operator asks for it.</summary>
    public static readonly IReadOnlyList<ReadWay> Usual = [ReadWay.Files, ReadWay.Ranges, ReadWay.Export];

    /// <exception cref="ConfigurationException">It is no order.</exception>
    public static IReadOnlyList<ReadWay> Parse(ConfigurationNode node, IReadOnlyList<string> names)
    {
        List<ReadWay> ways = [];
        foreach (string name in names)
        {
            ReadWay way = name switch
            {
                "files" => ReadWay.Files,
                "hotadd" => ReadWay.HotAdd,
                "ranges" => ReadWay.Ranges,
                "export" => ReadWay.Export,
                _ => throw node.Wrong($"\"{name}\" is no way to read a disk; known are files, hotadd, ranges, export"),
            };
            ways.Add(!ways.Contains(way) ? way : throw node.Wrong($"\"{name}\" stands here twice"));
        }

        // Ranges read whatever is a file: a mount would be configured and never used.
        return ways.Count == 0 ? throw node.Wrong("at least one way to read disks is expected here")
            : ways.IndexOf(ReadWay.Ranges) is >= 0 and var ranges && ways.IndexOf(ReadWay.Files) > ranges ? throw node.Wrong("\"files\" must stand before \"ranges\"")
            : ways;
    }
}
