using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Gzip;
using Vmsweep.DiskReaders.Blocks.Nbd;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>Opens what a <see cref="PlannedFile"/> says: a file, a range of one, pieces in a row, or what an NBD server exports.</summary>
public static class PlannedFiles
{
    private const int HeadBytes = 1 << 20;

    /// <summary>Of an export, which reads ahead.</summary>
    private const int HeadBudget = 64 << 20;

    /// <param name="fileId">How <see cref="StoredExtent.File"/> names it.</param>
    /// <exception cref="DiskFormatException">A range does not lie within its file.</exception>
    /// <exception cref="IOException">A file cannot be opened.</exception>
    /// <exception cref="UnauthorizedAccessException">A file may not be read.</exception>
    public static IBlockSource Open(PlannedFile planned, int fileId, ReadContext context)
    {
        if (planned.Export is { } export)
        {
            return OpenExport(planned.Path, export, fileId, context);
        }

        IBlockSource stored = OpenStored(planned with { Id = fileId });
        stored = context.Gate is { } gate ? new PacedSource(stored, fileId, gate) : stored;
        if (!planned.IsGzip)
        {
            return stored;
        }

        try
        {
            return new GzipSource(stored, fileId, context);
        }
        catch
        {
            stored.Dispose();
            throw;
        }
    }

    /// <summary>As much as tells which files an image names: of a packed image its first MiB, for where the supervisor must not unpack it whole.</summary>
    public static IBlockSource OpenHead(PlannedFile planned)
    {
        if (planned.Export is { } export)
        {
            return OpenExport(planned.Path, export, planned.Id, new ReadContext(new ScanBudget(HeadBudget), new GapList()));
        }

        IBlockSource stored = OpenStored(planned);
        if (!planned.IsGzip)
        {
            return stored;
        }

        using (stored)
        {
            return new MemorySource(GzipSource.Head(stored, HeadBytes));
        }
    }

    /// <summary>The bytes as they are stored, still packed.</summary>
    public static IBlockSource OpenStored(PlannedFile planned) =>
        planned is { OffsetBytes: 0, LengthBytes: < 0, More.Count: 0 } ? new FileSource(planned.Path, planned.Id) : Join(planned);

    private static NbdSource OpenExport(string socket, PlannedExport export, int fileId, ReadContext context)
    {
        NbdSource source = NbdSource.Open(
            NbdTransport.Unix(socket), export.Name, context.Budget, fileId, timeout: export.PatienceSeconds > 0 ? TimeSpan.FromSeconds(export.PatienceSeconds) : null, gate: context.Gate);
        if (source.Length == export.SizeBytes)
        {
            return source;
        }

        source.Dispose();
        throw new IOException($"the export \"{export.Name}\" has {source.Length} bytes, and had {export.SizeBytes}");
    }

    private static JoinedSource Join(PlannedFile planned)
    {
        List<IBlockSource> files = [];
        List<IBlockSource> parts = [];
        try
        {
            foreach (FilePiece piece in (IEnumerable<FilePiece>)[new FilePiece(planned.Path, planned.OffsetBytes, planned.LengthBytes), .. planned.More])
            {
                var file = new FileSource(piece.Path, planned.Id);
                files.Add(file);
                Bounds.Check(piece.OffsetBytes, 0, file.Length, "piece of a file");
                parts.Add(new SliceSource(file, piece.OffsetBytes, piece.LengthBytes < 0 ? file.Length - piece.OffsetBytes : piece.LengthBytes, "piece of a file"));
            }

            return new JoinedSource(planned.Id, parts, files);
        }
        catch
        {
            files.ForEach(f => f.Dispose());
            throw;
        }
    }
}
