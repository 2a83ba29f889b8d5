using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>The runs of one nonresident attribute, unpacked from all its mapping pairs: from VCN to LCN.</summary>
internal sealed class RunMap : IExtentMap
{
    /// <summary>An attribute list of 256 KiB, the most there is, leads to about a million and a half runs.</summary>
    private const int MaxRuns = 2_000_000;

    private readonly NtfsVolume _volume;
    private long[] _vcns = new long[4];
    private long[] _lcns = new long[4];

    public RunMap(NtfsVolume volume) => _volume = volume;

    public int Count { get; private set; }

    /// <summary>VCN behind the last run.</summary>
    public long NextVcn { get; private set; }

    /// <summary>Bytes of content.</summary>
    public long Length { get; set; }

    /// <summary>ValidDataLength: bytes from here to <see cref="Length"/> read as zeros, whatever the clusters hold.</summary>
    public long ValidDataLength { get; set; }

    public static RunMap Of(NtfsVolume volume, StreamLayout layout)
    {
        var map = new RunMap(volume) { Length = layout.FileSize, ValidDataLength = layout.ValidDataLength };
        foreach (StreamSegment segment in layout.Segments)
        {
            if (layout.OnlyStored)
            {
                map.AppendStored(segment.LowestVcn, segment.Pairs);
            }
            else
            {
                map.Append(segment.LowestVcn, segment.Pairs);
            }
        }

        map.RequireMapped();
        return map;
    }

    public static RunMap Of(NtfsVolume volume, byte[] pairs, long length)
    {
        var map = new RunMap(volume) { Length = length, ValidDataLength = length };
        map.Append(0, pairs);
        map.RequireMapped();
        return map;
    }

    /// <summary>Adds the runs of the next part of the attribute.</summary>
    public void Append(long lowestVcn, ReadOnlySpan<byte> pairs)
    {
        if (lowestVcn != NextVcn)
        {
            throw new DiskFormatException(Fault.Corrupt, "mapping pairs", -1, $"VCN {lowestVcn} follows VCN {NextVcn}");
        }

        MappingPairs runs = _volume.Runs(pairs, lowestVcn);
        while (runs.MoveNext())
        {
            Add(runs.Vcn, runs.Lcn);
        }

        NextVcn = runs.NextVcn;
    }

    /// <summary>Content that no run stands for must not be taken for a hole.</summary>
    public void RequireMapped()
    {
        if (NextVcn < _volume.ClustersFor(Math.Min(Length, ValidDataLength)))
        {
            throw new DiskFormatException(Fault.Corrupt, "mapping pairs", -1, $"{NextVcn} clusters are mapped, {ValidDataLength} bytes are valid");
        }
    }

    public Extent Map(long offset, long count)
    {
        if (offset >= ValidDataLength)
        {
            return new Extent(ExtentKind.Zero, count);
        }

        count = Math.Min(count, ValidDataLength - offset);
        (long lcn, long clusters, long within) = Find(offset);
        long length = Math.Min(count, (clusters * _volume.ClusterBytes) - within);
        return lcn == MappingPairs.HoleLcn
            ? new Extent(ExtentKind.Hole, length)
            : new Extent(ExtentKind.Data, length, (lcn * _volume.ClusterBytes) + within);
    }

    /// <summary>The LCN of the cluster at a VCN and how many follow it in the same run; a hole beyond the last run.</summary>
    public (long Lcn, long Clusters) At(long vcn)
    {
        if (vcn >= NextVcn)
        {
            return (MappingPairs.HoleLcn, long.MaxValue / _volume.ClusterBytes - vcn);
        }

        int run = IndexOf(vcn);
        long end = run + 1 < Count ? _vcns[run + 1] : NextVcn;
        return (_lcns[run] == MappingPairs.HoleLcn ? MappingPairs.HoleLcn : _lcns[run] + (vcn - _vcns[run]), end - vcn);
    }

    /// <summary>Every stored run in the order of its clusters; throws when two hold the same cluster.</summary>
    public void RequireDistinct(string structure)
    {
        long[] starts = _lcns.AsSpan(0, Count).ToArray();
        long[] ends = new long[Count];
        for (int i = 0; i < Count; i++)
        {
            ends[i] = starts[i] + ((i + 1 < Count ? _vcns[i + 1] : NextVcn) - _vcns[i]);
        }

        Array.Sort(starts, ends);
        for (int i = 1; i < Count; i++)
        {
            if (starts[i] >= 0 && starts[i - 1] >= 0 && ends[i - 1] > starts[i])
            {
                throw new DiskFormatException(Fault.Corrupt, structure, starts[i] * _volume.ClusterBytes, "two runs hold the same cluster");
            }
        }
    }

    /// <summary>As <see cref="Append"/>, with the holes left out.</summary>
    private void AppendStored(long lowestVcn, ReadOnlySpan<byte> pairs)
    {
        MappingPairs runs = _volume.Runs(pairs, lowestVcn);
        while (runs.MoveNext())
        {
            if (runs.Lcn != MappingPairs.HoleLcn)
            {
                Add(NextVcn, runs.Lcn);
                NextVcn += runs.NextVcn - runs.Vcn;
            }
        }
    }

    private void Add(long vcn, long lcn)
    {
        if (Count == MaxRuns)
        {
            throw new DiskFormatException(Fault.Limit, "mapping pairs", -1, $"more than {MaxRuns} runs");
        }

        if (Count == _vcns.Length)
        {
            Array.Resize(ref _vcns, Count * 2);
            Array.Resize(ref _lcns, Count * 2);
        }

        _vcns[Count] = vcn;
        _lcns[Count++] = lcn;
    }

    private (long Lcn, long Clusters, long Within) Find(long offset)
    {
        long vcn = Math.DivRem(offset, _volume.ClusterBytes, out long within);
        (long lcn, long clusters) = At(vcn);
        return (lcn, clusters, within);
    }

    private int IndexOf(long vcn)
    {
        if (Count == 1)
        {
            return 0;
        }

        int at = Array.BinarySearch(_vcns, 0, Count, vcn);
        return at >= 0 ? at : ~at - 1;
    }
}
