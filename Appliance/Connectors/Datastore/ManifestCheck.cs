using System.Security.Cryptography;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>A digest that a package gives for one of its files.</summary>
/// <param name="Manifest">The manifest's name as reports show it.</param>
/// <param name="File">The bytes that are hashed: a file, or a member of an archive.</param>
internal sealed record ManifestEntry(string Manifest, ManifestLine Line, PlannedFile File);

/// <summary>
/// Hashes the files of a package and compares them with its manifest. It reads every byte of the package once, so only a scan does it. A file
/// that differs is read all the same: what is in it counts, not who says it is right.
/// </summary>
internal static class ManifestCheck
{
    /// <summary>Sparse files cost nothing to make and hours to hash.</summary>
    public const long MostBytes = 4L << 40;

    private const int StepBytes = 1 << 20;

    public static IEnumerable<GapReport> Run(IReadOnlyList<ManifestEntry> entries, CancellationToken cancellation)
    {
        byte[] buffer = new byte[entries.Count > 0 ? StepBytes : 0];
        long total = 0;
        foreach (ManifestEntry entry in entries)
        {
            if (One(entry, buffer, ref total, cancellation) is { } gap)
            {
                yield return gap.ToReport();
            }
        }
    }

    private static CoverageGap? One(ManifestEntry entry, byte[] buffer, ref long total, CancellationToken cancellation)
    {
        try
        {
            using IBlockSource source = PlannedFiles.OpenStored(entry.File);
            if (source.Length > MostBytes - total)
            {
                return Gap(Fault.Limit, $"\"{entry.Line.Name}\" is not verified: the package has more than {MostBytes} bytes");
            }

            total += source.Length;
            using var hash = IncrementalHash.CreateHash(new HashAlgorithmName(entry.Line.Algorithm));
            for (long at = 0; at < source.Length; at += buffer.Length)
            {
                if (cancellation.IsCancellationRequested)
                {
                    return Gap(Fault.Limit, $"interrupted before \"{entry.Line.Name}\" was verified");
                }

                Span<byte> part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, source.Length - at));
                source.Read(at, part);
                hash.AppendData(part);
            }

            string digest = Convert.ToHexStringLower(hash.GetHashAndReset());
            return digest == entry.Line.Digest
                ? null
                : Gap(Fault.Corrupt, $"\"{entry.Line.Name}\" has the {entry.Line.Algorithm} digest {digest}, and not {entry.Line.Digest}");
        }
        catch (DiskFormatException e)
        {
            return Gap(e.Fault, $"\"{entry.Line.Name}\": {e.Message}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return Gap(Fault.Transport, $"\"{entry.Line.Name}\": {e.Message}");
        }

        CoverageGap Gap(Fault fault, string detail) => new(fault, entry.Manifest, "OVF manifest", -1, 0, $"line {entry.Line.Line}: {detail}");
    }
}
