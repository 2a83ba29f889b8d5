using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.Tests.FileSystems.Ext;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems;

/// <summary>Reads packed file systems whole, to compare and to attack. Lines are those of <see cref="ExtListing"/>.</summary>
internal static class PackedListing
{
    public static List<string> Ours(IFileSystemFormat format, IBlockSource source, IGapSink gaps, out FileSystemFacts facts, long budgetBytes = 256 << 20)
    {
        var budget = new ScanBudget(budgetBytes);
        Assert.True(format.Probe(source));
        List<string> lines = [];
        using (IFileSystem system = format.Open(source, new ReadContext(budget, gaps)))
        {
            facts = system.Facts;
            foreach (GuestFile file in system.Walk())
            {
                string? line = Line(system, file);
                lines.AddRange(line is null ? [] : file.Links.Select(l => line + Encoding.Latin1.GetString(l.Path())));
            }
        }

        Assert.Equal(0, budget.InUse);
        lines.Sort(StringComparer.Ordinal);
        return lines;
    }

    /// <summary>Ours, where nothing may be amiss.</summary>
    public static List<string> OursWithoutGaps(IFileSystemFormat format, string image)
    {
        var gaps = new GapList();
        using var source = new FileSource(image);
        List<string> lines = Ours(format, source, gaps, out _);
        Assert.Empty(gaps.ToList());
        return lines;
    }

    /// <summary>Opens and reads all that the bytes describe, within bounds, whatever they describe.</summary>
    public static int ReadAll(IFileSystemFormat format, byte[] image, ReadContext context)
    {
        const int MostBytes = 64 << 10;
        const int MostExtents = 100;
        using var source = new MemorySource(image);
        _ = format.Probe(source);
        byte[] buffer = new byte[MostBytes];
        int files = 0;
        using IFileSystem system = format.Open(source, context);
        foreach (GuestFile file in system.Walk())
        {
            files++;
            Assert.NotEmpty(file.Links);
            _ = file.Links[0].Path();
            try
            {
                using IBlockSource content = system.OpenContent(file);
                long at = 0;
                for (int i = 0; i < MostExtents && at < content.Length; i++)
                {
                    StoredExtent extent = content.Locate(at, content.Length - at);
                    if (extent.IsStored)
                    {
                        content.Read(at, buffer.AsSpan(0, (int)Math.Min(extent.Length, MostBytes)));
                    }

                    at += extent.Length;
                }

                content.Read(0, buffer.AsSpan(0, (int)Math.Min(content.Length, MostBytes)));
            }
            catch (DiskFormatException)
            {
            }
        }

        return files;
    }

    /// <summary>The files whose content cannot be opened or read.</summary>
    public static List<string> Faults(IFileSystemFormat format, IBlockSource source)
    {
        List<string> faults = [];
        using IFileSystem system = format.Open(source, new ReadContext(new ScanBudget(64 << 20), new GapList()));
        foreach (GuestFile file in system.Walk())
        {
            try
            {
                using IBlockSource content = system.OpenContent(file);
                _ = content.ReadAll();
            }
            catch (DiskFormatException)
            {
                faults.Add(Encoding.Latin1.GetString(file.Links[0].Path()));
            }
        }

        return faults;
    }

    private static string? Line(IFileSystem system, GuestFile file)
    {
        switch (file.Kind)
        {
            case GuestFileKind.Folder:
                return "D ";
            case GuestFileKind.Device:
                return "V ";
            case GuestFileKind.Link:
                using (IBlockSource target = system.OpenContent(file))
                {
                    return $"L {Encoding.Latin1.GetString(target.ReadAll())} ";
                }

            case GuestFileKind.Regular:
                if (file.Fault is { } fault)
                {
                    return $"F {file.SizeBytes} {fault.Fault} ";
                }

                using (IBlockSource content = system.OpenContent(file))
                {
                    Assert.Equal(file.SizeBytes, content.Length);
                    return string.Create(CultureInfo.InvariantCulture, $"F {file.SizeBytes} {content.SparseSha256()} ");
                }

            default:
                return null;
        }
    }
}
