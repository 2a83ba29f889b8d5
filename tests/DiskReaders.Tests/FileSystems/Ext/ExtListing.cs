using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ext;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ext;

/// <summary>
/// Listings to compare: a line for each name, <c>F size sha256 path</c>, <c>L target path</c>, <c>D path</c> or <c>V path</c>, with bytes as
/// Latin-1, so that every name can be held.
/// </summary>
internal static class ExtListing
{
    /// <summary>What this project's reader says.</summary>
    public static List<string> Ours(string image, IGapSink gaps, out FileSystemFacts facts, long budgetBytes = 256 << 20)
    {
        using var source = new FileSource(image);
        return Ours(source, gaps, out facts, budgetBytes);
    }

    public static List<string> Ours(IBlockSource source, IGapSink gaps, out FileSystemFacts facts, long budgetBytes = 256 << 20)
    {
        var budget = new ScanBudget(budgetBytes);
        var format = new ExtFormat();
        Assert.True(format.Probe(source) || format.ProbeCopy(source));
        List<string> lines = [];
        using (IFileSystem system = format.Open(source, new ReadContext(budget, gaps)))
        {
            facts = system.Facts;
            foreach (GuestFile file in system.Walk())
            {
                foreach (GuestLink link in file.Links)
                {
                    if (Line(system, file, link) is { } line)
                    {
                        lines.Add(line);
                    }
                }
            }
        }

        Assert.Equal(0, budget.InUse);
        lines.Sort(StringComparer.Ordinal);
        return lines;
    }

    /// <summary>Ours, where nothing may be amiss.</summary>
    public static List<string> OursWithoutGaps(string image, out FileSystemFacts facts)
    {
        var gaps = new GapList();
        List<string> lines = Ours(image, gaps, out facts);
        Assert.Empty(gaps.ToList());
        return lines;
    }

    /// <summary>What the kernel's read-only mount says.</summary>
    public static List<string> Kernel(string image, string options = "loop,ro")
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch["mnt"]);
        Tool.Run("mount", "-o", options, image, scratch["mnt"]);
        try
        {
            return OfFolder(scratch["mnt"]);
        }
        finally
        {
            Tool.Run("umount", scratch["mnt"]);
        }
    }

    public static List<string> OfFolder(string folder)
    {
        List<string> lines = [];
        string[] files = Split(Tool.RunRaw("bash", folder, "-euo", "pipefail", "-c", "find . -type f -printf '%s %P\\0'"));
        var sizes = files.ToDictionary(f => f[(f.IndexOf(' ', StringComparison.Ordinal) + 1)..], f => f[..f.IndexOf(' ', StringComparison.Ordinal)]);
        foreach (string line in Split(Tool.RunRaw("bash", folder, "-euo", "pipefail", "-c", "find . -type f -print0 | xargs -0 -r sha256sum -bz")))
        {
            string path = line[68..];
            lines.Add($"F {sizes[path]} {line[..64]} {path}");
        }

        lines.AddRange(Split(Tool.RunRaw("find", folder, ".", "-type", "l", "-printf", "L %l %P\\0")));
        lines.AddRange(Split(Tool.RunRaw("find", folder, ".", "-mindepth", "1", "-type", "d", "!", "-path", "./lost+found", "-printf", "D %P\\0")));
        lines.AddRange(Split(Tool.RunRaw("find", folder, ".", "!", "-type", "f", "!", "-type", "d", "!", "-type", "l", "-printf", "V %P\\0")));
        lines.Sort(StringComparer.Ordinal);
        return lines;
    }

    /// <summary>Fails with the first lines that differ.</summary>
    public static void AssertEqual(List<string> expected, List<string> actual)
    {
        string[] missing = [.. expected.Except(actual).Take(5)];
        string[] surplus = [.. actual.Except(expected).Take(5)];
        Assert.True(missing.Length == 0 && surplus.Length == 0, $"missing: {string.Join(" | ", missing)}\nsurplus: {string.Join(" | ", surplus)}");
        Assert.Equal(expected.Count, actual.Count);
    }

    private static string? Line(IFileSystem system, GuestFile file, GuestLink link)
    {
        string path = Encoding.Latin1.GetString(link.Path());
        switch (file.Kind)
        {
            case GuestFileKind.Folder:
                return "D " + path;
            case GuestFileKind.Device:
                return "V " + path;
            case GuestFileKind.Link:
                using (IBlockSource target = system.OpenContent(file))
                {
                    return $"L {Encoding.Latin1.GetString(target.ReadAll())} {path}";
                }

            case GuestFileKind.Regular:
                if (file.Fault is { } fault)
                {
                    return $"F {file.SizeBytes} {fault.Fault} {path}";
                }

                using (IBlockSource content = system.OpenContent(file))
                {
                    Assert.Equal(file.SizeBytes, content.Length);
                    return string.Create(CultureInfo.InvariantCulture, $"F {file.SizeBytes} {content.SparseSha256()} {path}");
                }

            default:
                return null;
        }
    }

    private static string[] Split(byte[] output) => Encoding.Latin1.GetString(output).Split('\0', StringSplitOptions.RemoveEmptyEntries);
}
