using System.Globalization;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Raid;

/// <summary>Opens an array over its members' data areas. What a missing member held comes from mirrors or parity.</summary>
internal static class RaidSource
{
    private const string Structure = "RAID geometry";

    /// <summary>More than any metadata can name.</summary>
    private const int MostDisks = 4096;

    private const long MostChunkBytes = 1L << 40;

    /// <param name="geometry">How the members carry the array.</param>
    /// <param name="devices">Each member's data area in order of its role; null for one that is missing. Not owned.</param>
    /// <param name="context">Memory.</param>
    /// <param name="distrusted">For each member what is not to be read of it; null, or null for a member, where all is sound.</param>
    /// <param name="owned">Disposed with the array.</param>
    /// <exception cref="DiskFormatException">The geometry is impossible, a member is too short, or too many are missing.</exception>
    public static IBlockSource Open(
        RaidGeometry geometry,
        IReadOnlyList<IBlockSource?> devices,
        ReadContext context,
        IReadOnlyList<IReadOnlyList<DistrustedRange>?>? distrusted = null,
        IDisposable? owned = null)
    {
        Validate(geometry, devices);
        DistrustMap distrust = new(devices, distrusted);
        switch (geometry.Level)
        {
            case RaidLevel.Linear:
            case RaidLevel.Raid0:
                return Mapped(new StripeMap(geometry, devices, distrust));
            case RaidLevel.Raid1:
                return Mapped(new MirrorMap(geometry, distrust));
            case RaidLevel.Raid10:
                return Mapped(new CopyMap(geometry, distrust));
            default:
                var map = new ParityMap(geometry, devices, distrust, context);
                return new MappedSource(map, Sources(), context, unpacker: map, cachedUnits: ParityMap.CachedUnits, owned: owned);
        }

        MappedSource Mapped(IExtentMap map) => new(map, Sources(), context, owned: owned);

        // Maps name no missing member, so nothing is ever read of the stand-in.
        IBlockSource[] Sources() => [.. devices.Select(d => d ?? Nothing)];
    }

    private static MemorySource Nothing { get; } = new(ReadOnlyMemory<byte>.Empty);

    /// <summary>For arrays that lack more than the level makes up for.</summary>
    public static DiskFormatException TooFew(IEnumerable<int> missing, int disks) => new(
        Fault.MissingParent,
        "RAID members",
        -1,
        string.Create(CultureInfo.InvariantCulture, $"of {disks} members these are missing and nothing can stand in: {string.Join(", ", missing.Take(16))}"));

    private static void Validate(RaidGeometry geometry, IReadOnlyList<IBlockSource?> devices)
    {
        (RaidLevel level, _, long chunk, int disks, long bytes) = geometry;
        int least = level switch
        {
            RaidLevel.Linear or RaidLevel.Raid0 or RaidLevel.Raid1 => 1,
            RaidLevel.Raid4 or RaidLevel.Raid5 or RaidLevel.Raid10 => 2,
            RaidLevel.Raid6 => 3,
            _ => throw new DiskFormatException(Fault.Unsupported, Structure, -1, "level " + ((int)level).ToString(CultureInfo.InvariantCulture)),
        };
        Require(disks >= least && disks <= MostDisks && disks == devices.Count, "number of members");
        Require(chunk is >= 0 and <= MostChunkBytes && chunk % 512 == 0, "chunk size");
        Require(chunk > 0 || level is RaidLevel.Linear or RaidLevel.Raid1, "chunk size");

        // Each device range of an array is then a sound long, whatever the level multiplies.
        Require(bytes >= 0 && bytes <= long.MaxValue / MostDisks, "member size");
        foreach (IBlockSource device in devices.OfType<IBlockSource>())
        {
            Require(device.Length <= long.MaxValue / MostDisks, "member size");
            if (level is not (RaidLevel.Linear or RaidLevel.Raid0) && device.Length < bytes)
            {
                throw new DiskFormatException(Fault.Truncated, Structure, -1, $"a member has {device.Length} bytes, the array uses {bytes} of each");
            }
        }
    }

    private static void Require(bool condition, string what)
    {
        if (!condition)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, -1, "bad " + what);
        }
    }
}
