using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>
/// Images cut into files by size: <c>x.001</c>, <c>x.002</c>, ... as imaging programs write them (some count from 000), and Virtual PC's
/// <c>x.vhd</c>, <c>x.v01</c>, ... The pieces are the image when put in a row; none has a header of its own.
/// </summary>
internal static class SplitImage
{
    private const int MostPieces = ChainPlanner.MostFiles;

    // How far beyond a missing piece one is looked for, to tell the end from a loss.
    private const int LookAhead = 16;

    /// <summary>The image with all pieces that follow the first; the file alone where it is no first piece.</summary>
    public static PlannedFile Of(string path, IReferencePolicy policy)
    {
        var file = new PlannedFile(0, path, path);
        if (NameOf(path) is not { } name)
        {
            return file;
        }

        List<FilePiece> more = [];
        while (more.Count < MostPieces && Find(path, name(more.Count + 1), policy) is { } next)
        {
            more.Add(new FilePiece(next));
        }

        return file with { More = more };
    }

    /// <summary>The format that the name of the whole declares; null for what is no first piece, or where the bytes may tell.</summary>
    public static string? Declared(string path)
    {
        if (!IsNumberedFirst(path))
        {
            return null;
        }

        string whole = Path.GetFileNameWithoutExtension(path);
        return ContainerFormats.Declared(whole) ?? (Path.GetExtension(whole).Length == 0 ? "raw" : null);
    }

    /// <summary>A gap for a piece that is missing although later ones are there; null when none is.</summary>
    public static CoverageGap? Missing(PlannedFile image, IReferencePolicy policy)
    {
        if (NameOf(image.Path) is not { } name)
        {
            return null;
        }

        int missing = image.More.Count + 1;
        if (missing > MostPieces)
        {
            return new CoverageGap(Fault.Limit, image.Path, "split image", -1, 0, $"it has more than {MostPieces} pieces");
        }

        string? later = Enumerable.Range(missing + 1, LookAhead).Select(n => Find(image.Path, name(n), policy)).FirstOrDefault(f => f is not null);
        return later is null
            ? null
            : new CoverageGap(Fault.MissingParent, image.Path, "split image", -1, 0, $"piece {name(missing)} is not there, although {Path.GetFileName(later)} is; the image is read up to it");
    }

    /// <summary>How the n-th piece after the first is named; null when a file is no first piece.</summary>
    private static Func<int, string>? NameOf(string path)
    {
        string whole = Path.GetFileNameWithoutExtension(path);
        string extension = Path.GetExtension(path);
        if (IsNumberedFirst(path))
        {
            int first = extension[^1] - '0';
            return n => $"{whole}.{(first + n).ToString("D" + (extension.Length - 1).ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture)}";
        }

        return extension.Equals(".vhd", StringComparison.OrdinalIgnoreCase)
            ? n => $"{whole}.v{n.ToString("D2", CultureInfo.InvariantCulture)}"
            : null;
    }

    private static bool IsNumberedFirst(string path)
    {
        string extension = Path.GetExtension(path);
        return extension.Length is >= 4 and <= 10 && extension[^1] is '0' or '1' && !extension.AsSpan(1, extension.Length - 2).ContainsAnyExcept('0');
    }

    private static string? Find(string path, string name, IReferencePolicy policy) =>
        policy.Resolve(path, new ImageReference(ReferenceKind.Extent, [name])).Path;
}
