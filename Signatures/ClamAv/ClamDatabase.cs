using System.Globalization;
using System.Text;

namespace Vmsweep.Signatures.ClamAv;

/// <summary>
/// The headers of ClamAV's database files (<c>.cvd</c>, <c>.cld</c>): 512 bytes of text between colons, <c>ClamAV-VDB</c>, time, version, number of
/// signatures and more. The daemon does not say how many signatures it has.
/// </summary>
internal static class ClamDatabase
{
    private const int HeaderBytes = 512;

    /// <summary>Signatures in the folder, when its daily part is the version that the daemon has loaded; otherwise null.</summary>
    public static int? SignaturesOf(string folder, int? loadedVersion)
    {
        try
        {
            List<(string Name, int Version, int Signatures)> parts = [.. Directory.EnumerateFiles(folder)
                .Where(f => Path.GetExtension(f) is ".cvd" or ".cld")
                .Select(HeaderOf)
                .OfType<(string, int, int)>()];
            return loadedVersion is { } version && parts.Exists(p => p.Name == "daily" && p.Version == version) ? parts.Sum(p => p.Signatures) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or OverflowException)
        {
            return null;
        }
    }

    private static (string Name, int Version, int Signatures)? HeaderOf(string path)
    {
        using FileStream file = File.OpenRead(path);
        byte[] header = new byte[HeaderBytes];
        int got = file.ReadAtLeast(header, header.Length, throwOnEndOfStream: false);
        string[] fields = Encoding.ASCII.GetString(header, 0, got).Split(':');
        return fields.Length > 3 && fields[0] == "ClamAV-VDB"
            && int.TryParse(fields[2], NumberStyles.None, CultureInfo.InvariantCulture, out int version)
            && int.TryParse(fields[3], NumberStyles.None, CultureInfo.InvariantCulture, out int signatures)
            ? (Path.GetFileNameWithoutExtension(path), version, signatures)
            : null;
    }
}
