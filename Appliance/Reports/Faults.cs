using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Reports;

/// <summary>Faults as the report spells them.</summary>
internal static class Faults
{
    /// <summary>Every fault's name.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. Enum.GetValues<Fault>().Select(Name)];

    public static string Name(Fault fault) => fault switch
    {
        Fault.Corrupt => "corrupt",
        Fault.Truncated => "truncated",
        Fault.Unsupported => "unsupported",
        Fault.Encrypted => "encrypted",
        Fault.Limit => "limit",
        Fault.Timeout => "timeout",
        Fault.Transport => "transport",
        Fault.MissingParent => "missing-parent",
        Fault.Refused => "refused",
        _ => throw new ArgumentOutOfRangeException(nameof(fault)),
    };

    public static GapReport ToReport(this CoverageGap gap) =>
        new(Name(gap.Fault), gap.Path, gap.Structure, gap.Offset, gap.Bytes, gap.Detail) { Inside = gap.Inside.Count > 0 ? gap.Inside : null };
}
