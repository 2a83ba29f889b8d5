using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>Opens what a <see cref="PlannedFile"/> says: a file, a range of one, or pieces in a row.</summary>
internal static class PlannedFiles
{
    /// <param name="fileId">How <see cref="StoredExtent.File"/> names it.</param>
    /// <exception cref="DiskFormatException">A range does not lie within its file.</exception>
    /// <exception cref="IOException">A file cannot be opened.</exception>
    /// <exception cref="UnauthorizedAccessException">A file may not be read.</exception>
    public static IBlockSource Open(PlannedFile planned, int fileId)
    {
        if (planned.IsGzip)
        {
            throw new DiskFormatException(Fault.Unsupported, "gzip", 0, "a gzip member is recognised but not read");
        }

        return planned is { OffsetBytes: 0, LengthBytes: < 0, More.Count: 0 }
            ? new FileSource(planned.Path, fileId)
            : Join(planned, fileId);
    }

    private static JoinedSource Join(PlannedFile planned, int fileId)
    {
        List<IBlockSource> files = [];
        List<IBlockSource> parts = [];
        try
        {
            foreach (FilePiece piece in (IEnumerable<FilePiece>)[new FilePiece(planned.Path, planned.OffsetBytes, planned.LengthBytes), .. planned.More])
            {
                var file = new FileSource(piece.Path, fileId);
                files.Add(file);
                Bounds.Check(piece.OffsetBytes, 0, file.Length, "piece of a file");
                parts.Add(new SliceSource(file, piece.OffsetBytes, piece.LengthBytes < 0 ? file.Length - piece.OffsetBytes : piece.LengthBytes, "piece of a file"));
            }

            return new JoinedSource(fileId, parts, files);
        }
        catch
        {
            files.ForEach(f => f.Dispose());
            throw;
        }
    }
}
