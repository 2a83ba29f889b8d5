using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>Puts a volume's id or an image's name before the paths of gaps, which readers below do not know.</summary>
internal sealed class PlacedGaps(IGapSink inner, string place) : IGapSink
{
    public void Add(CoverageGap gap) => inner.Add(gap with { Path = gap.Path.Length == 0 ? place : place + "/" + gap.Path });
}
