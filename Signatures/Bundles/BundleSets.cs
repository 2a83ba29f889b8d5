using System.Security.Cryptography;
using System.Text;
using Vmsweep.Signatures.Hashes;

namespace Vmsweep.Signatures.Bundles;

/// <summary>
/// The hash lists of a stored bundle as compiled sets: <c>sets/</c> beside its parts, one for each kind. They are made here and never taken from
/// what was carried in. A set's name has the SHA-256 over paths and digests of the lists that it was made of, so that it stands for no others.
/// </summary>
internal static class BundleSets
{
    /// <summary>Changes when the same lists would become another set.</summary>
    private const string Revision = "1";

    private const string FolderName = "sets";
    private const string FreshName = "set";

    private static readonly (PartKind Part, HashSetKind Set)[] Kinds = [(PartKind.Hashes, HashSetKind.Bad), (PartKind.KnownGood, HashSetKind.KnownGood)];

    /// <summary>The set of a kind; null where the bundle has no such lists, or no set of them that this version can read.</summary>
    /// <param name="folder">The bundle's.</param>
    public static string? Find(string folder, BundleManifest manifest, PartKind kind)
    {
        if (NameOf(manifest, kind) is not { } name)
        {
            return null;
        }

        string path = Path.Combine(folder, FolderName, name);
        try
        {
            using FileStream file = File.OpenRead(path);
            HashSetFile.ReadLayout(file);
            return path;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Makes the sets that are missing or damaged; each comes to its place whole, by one rename.</summary>
    /// <param name="folder">The bundle's; its parts have been checked.</param>
    /// <param name="scratch">Exists, on the same file system: what an interruption leaves there is cleared away.</param>
    /// <param name="others">Folders of other bundles: a set of the same lists need not be made again.</param>
    /// <exception cref="BundleException">A list has a line that is no hash.</exception>
    public static void Make(string folder, BundleManifest manifest, string scratch, IEnumerable<string> others, CancellationToken cancellation)
    {
        string sets = Path.Combine(folder, FolderName);
        foreach ((PartKind part, HashSetKind kind) in Kinds)
        {
            if (NameOf(manifest, part) is not { } name || WhyNot(Path.Combine(sets, name), kind) is null)
            {
                continue;
            }

            string work = Directory.CreateDirectory(Path.Combine(scratch, Guid.NewGuid().ToString("N"))).FullName;
            try
            {
                string fresh = Path.Combine(work, FreshName);
                if (!others.Any(o => TryShare(Path.Combine(o, FolderName, name), fresh, kind)))
                {
                    Build(folder, manifest, part, kind, work, fresh, cancellation);
                }

                Directory.CreateDirectory(sets);
                DurableFiles.FlushFolder(folder);
                File.Delete(Path.Combine(sets, name));
                DurableFiles.Move(fresh, Path.Combine(sets, name));
            }
            finally
            {
                Directory.Delete(work, recursive: true);
            }
        }
    }

    /// <summary>Reads the sets of a bundle again.</summary>
    /// <returns>What is wrong, a line for each set. One that is missing is not: scans make it of the lists.</returns>
    public static IEnumerable<string> Verify(string folder, BundleManifest manifest)
    {
        string sets = Path.Combine(folder, FolderName);
        if (!Directory.Exists(sets))
        {
            yield break;
        }

        foreach (string path in Directory.EnumerateFileSystemEntries(sets))
        {
            int at = Array.FindIndex(Kinds, k => NameOf(manifest, k.Part) == Path.GetFileName(path));
            if ((at < 0 ? "made of no list of this bundle" : WhyNot(path, Kinds[at].Set)) is { } reason)
            {
                yield return $"compiled set {FolderName}/{Path.GetFileName(path)}: {reason}; remove it, then add the bundle again";
            }
        }
    }

    private static void Build(string folder, BundleManifest manifest, PartKind part, HashSetKind kind, string work, string path, CancellationToken cancellation)
    {
        using var builder = new HashSetBuilder(kind, work);
        foreach (BundlePart list in manifest.Parts.Where(p => p.Kind == part))
        {
            using FileStream text = DurableFiles.OpenForeign(Path.Combine(folder, OpenBundle.PartsName, list.Path));
            builder.Add(text, list.Path, manifest.Created, cancellation);
        }

        if (builder.Faults is [{ } fault, ..])
        {
            throw new BundleException($"{fault.File}:{fault.Line}", fault.Message);
        }

        cancellation.ThrowIfCancellationRequested();
        builder.Build(path);
    }

    private static bool TryShare(string set, string to, HashSetKind kind)
    {
        if (!DurableFiles.TryLink(set, to))
        {
            return false;
        }

        if (WhyNot(to, kind) is null)
        {
            return true;
        }

        File.Delete(to);
        return false;
    }

    /// <summary>Null for a sound set.</summary>
    private static string? WhyNot(string path, HashSetKind kind)
    {
        try
        {
            HashSetFile.Verify(path, kind);
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return e.Message;
        }
    }

    private static string? NameOf(BundleManifest manifest, PartKind kind)
    {
        BundlePart[] lists = [.. manifest.Parts.Where(p => p.Kind == kind)];
        return lists.Length == 0 ? null
            : $"{PartKinds.Name(kind)}-{Convert.ToHexStringLower(SHA256.HashData(Encoding.ASCII.GetBytes(string.Join('\n', lists.Select(l => $"{l.Sha256}  {l.Path}").Prepend(Revision)))))}";
    }
}
