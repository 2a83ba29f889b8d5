using System.Collections.Concurrent;
using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.DiskReaders.Volumes.Lvm2;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Volumes.Lvm2;

/// <summary>The images that <c>Images/recipe.sh</c> made, and what the kernel read of their volumes.</summary>
internal static class LvmImages
{
    private static readonly ConcurrentDictionary<string, byte[]> Unpacked = new(StringComparer.Ordinal);

    public static string Folder { get; } = FindFolder();

    /// <summary>Volumes of a group with the SHA-256 that the kernel's devices had.</summary>
    public static IReadOnlyDictionary<string, (long Bytes, string Sha256)> Sums(string group) => Sums(group, Path.Combine(Folder, "sums.tsv"));

    public static IReadOnlyDictionary<string, (long Bytes, string Sha256)> Sums(string group, string table) => File.ReadLines(table)
        .Select(l => l.Split('\t'))
        .Where(f => f[0].StartsWith(group + "/", StringComparison.Ordinal))
        .ToDictionary(f => f[0], f => (long.Parse(f[1], CultureInfo.InvariantCulture), f[2]), StringComparer.Ordinal);

    /// <summary>A disk of the images; not to be changed.</summary>
    public static byte[] Disk(string name) => Unpacked.GetOrAdd(name, n => Tool.RunRaw("xz", Folder, "-dc", n + ".xz"));

    /// <summary>All disks of a group, in order.</summary>
    public static byte[][] Disks(string group) =>
        [.. Directory.GetFiles(Folder, group + ".*.xz").Order(StringComparer.Ordinal).Select(f => Disk(Path.GetFileNameWithoutExtension(f)))];

    public static Assembled Assemble(params byte[]?[] disks) => new(disks, 512 << 20);

    private static string FindFolder()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "appliance.sln")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return Path.Combine(folder ?? "", "tests", "DiskReaders.Tests", "Volumes", "Lvm2", "Images");
    }
}

/// <summary>Volumes that were assembled, with what was reported; nothing may stay rented once they are gone.</summary>
internal sealed class Assembled : IDisposable
{
    private readonly ScanBudget _budget;
    private readonly GapList _gaps = new();

    /// <param name="disks">Null for one that is missing.</param>
    /// <param name="budgetBytes">Memory.</param>
    public Assembled(IReadOnlyList<byte[]?> disks, long budgetBytes)
    {
        _budget = new ScanBudget(budgetBytes);
        Context = new ReadContext(_budget, _gaps);
        Members = [.. disks.Select((d, i) => (Disk: d, i)).Where(d => d.Disk is not null).Select(d => new VolumeMember($"disk{d.i + 1}", new MemorySource(d.Disk!), 512))];
        All = new Lvm2Format().Assemble(Members, Context);
    }

    public ReadContext Context { get; }

    public IReadOnlyList<VolumeMember> Members { get; }

    public VolumeAssembly All { get; }

    public IReadOnlyList<CoverageGap> Gaps => _gaps.ToList();

    public AssembledVolume this[string name] => All.Volumes.Single(v => v.Name == name);

    public void Dispose()
    {
        foreach (AssembledVolume volume in All.Volumes)
        {
            volume.Dispose();
        }

        Assert.Equal(0, _budget.InUse);
    }
}
