using System.Security.Cryptography;
using System.Text;

namespace Vmsweep.Benchmarks.Workload;

/// <summary>
/// Files of this machine for a test volume: programs, libraries, assemblies, archives and texts, large and small, chosen by size and
/// by a hash of their path, so that the same machine gives the same files.
/// </summary>
internal static class FileSelection
{
    private static readonly string[] Roots = ["/usr", "/opt"];

    /// <summary>Half of what a scan holds in memory at once by default, so that every file is matched whole.</summary>
    private const long MostBytes = 128 << 20;

    /// <summary>Files from here on make up the bytes, smaller ones the count.</summary>
    private const long LargeBytes = 64 << 10;

    private const double BytesForEachFile = 230_000;

    public static IReadOnlyList<string> Choose(long bytes)
    {
        List<(string Path, long Size, string Key)> found = [];
        var options = new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = true, AttributesToSkip = FileAttributes.ReparsePoint | FileAttributes.Device };
        foreach (string root in Roots.Where(Directory.Exists))
        {
            foreach (FileInfo file in new DirectoryInfo(root).EnumerateFiles("*", options))
            {
                if (file.Length is > 0 and <= MostBytes && IsPlain(file.FullName))
                {
                    found.Add((file.FullName, file.Length, Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(file.FullName)))));
                }
            }
        }

        found.Sort((a, b) => string.CompareOrdinal(a.Key, b.Key));
        List<string> chosen = [];
        long total = 0;
        foreach ((string path, long size, _) in found.Where(f => f.Size >= LargeBytes))
        {
            if (total >= bytes)
            {
                break;
            }

            chosen.Add(path);
            total += size;
        }

        int count = (int)(total / BytesForEachFile);
        chosen.AddRange(found.Where(f => f.Size < LargeBytes).Take(Math.Max(0, count - chosen.Count)).Select(f => f.Path));
        // What is left of the target when a machine has few large files.
        foreach ((string path, long size, _) in found.Where(f => f.Size < LargeBytes).Skip(Math.Max(0, count - chosen.Count)))
        {
            if (total >= bytes)
            {
                break;
            }

            chosen.Add(path);
            total += size;
        }

        if (total < bytes)
        {
            throw new InvalidOperationException($"{string.Join(" and ", Roots)} hold {total} bytes of files, fewer than --size {bytes}");
        }

        chosen.Sort(StringComparer.Ordinal);
        return chosen;
    }

    /// <summary>Names that every file system takes and that no listing escapes.</summary>
    private static bool IsPlain(string path) => path.Length < 240 && path.All(c => char.IsAsciiLetterOrDigit(c) || c is '/' or '.' or '-' or '_' or '+' or ' ') && !path.EndsWith('.') && !path.EndsWith(' ') && !path.Contains("./", StringComparison.Ordinal) && !path.Contains(" /", StringComparison.Ordinal);
}
