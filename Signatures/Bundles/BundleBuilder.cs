namespace Vmsweep.Signatures.Bundles;

/// <summary>Makes bundles: out of a publisher's folder, or out of an operator's own rules.</summary>
public static class BundleBuilder
{
    private static readonly string[] RuleExtensions = [".yar", ".yara"];

    /// <summary>
    /// Copies what belongs into a bundle to <c>parts/</c> in a folder. A source with a folder of a kind (<c>rules/</c>, <c>hashes/</c>, ...)
    /// is taken as it is laid out; any other is rules as a whole, as is a single file.
    /// </summary>
    /// <param name="source">A folder, or one file of rules.</param>
    /// <param name="folder">Empty; made where it is missing.</param>
    /// <returns>The parts, not counted yet.</returns>
    /// <exception cref="BundleException">A file that no bundle may have, or none at all.</exception>
    public static IReadOnlyList<BundlePart> Collect(string source, string folder)
    {
        List<(string File, string Path)> files = [];
        if (!Directory.Exists(source))
        {
            files.Add((source, $"{PartKinds.Folder(PartKind.Yara)}/{Path.GetFileName(source)}"));
        }
        else
        {
            PartKind[] kinds = [.. Enum.GetValues<PartKind>().Where(k => Directory.Exists(Path.Combine(source, PartKinds.Folder(k))))];
            foreach (PartKind kind in kinds)
            {
                Add(Path.Combine(source, PartKinds.Folder(kind)), PartKinds.Folder(kind) + "/");
            }

            if (kinds.Length == 0)
            {
                Add(source, PartKinds.Folder(PartKind.Yara) + "/");
            }
        }

        if (files.Count is 0 or > BundleLimits.MostParts)
        {
            throw new BundleException(source, files.Count == 0 ? "no file that a bundle could have" : $"more than {BundleLimits.MostParts} files");
        }

        if (!files.Exists(f => PartKinds.Of(f.Path) is not PartKind.Yara || RuleExtensions.Contains(Path.GetExtension(f.Path), StringComparer.OrdinalIgnoreCase)))
        {
            throw new BundleException(source, "no rules: they are looked for in *.yar and *.yara");
        }

        List<BundlePart> parts = [];
        foreach ((string file, string path) in files.OrderBy(f => f.Path, StringComparer.Ordinal))
        {
            if (PartKinds.WhyNot(path) is { } refused)
            {
                throw new BundleException(file, refused);
            }

            parts.Add(CopyPart(file, path, Path.Combine(folder, OpenBundle.PartsName, path)));
        }

        return parts;

        void Add(string root, string prefix)
        {
            var all = new EnumerationOptions { AttributesToSkip = FileAttributes.None, IgnoreInaccessible = false };
            foreach (FileSystemInfo entry in new DirectoryInfo(root).EnumerateFileSystemInfos("*", all))
            {
                // Hidden ones are a version control's or an editor's.
                if (entry.Name.StartsWith('.'))
                {
                    continue;
                }

                if (entry.LinkTarget is not null)
                {
                    throw new BundleException(entry.FullName, "a link, which is not followed");
                }

                if (entry is DirectoryInfo)
                {
                    Add(entry.FullName, prefix + entry.Name + "/");
                }
                else
                {
                    files.Add((entry.FullName, prefix + entry.Name));
                }
            }
        }
    }

    /// <summary>Writes the manifest of collected parts, and its signature, beside them: the folder is then a bundle.</summary>
    /// <param name="key">Null: it stays unsigned.</param>
    /// <returns>The bundle's identity.</returns>
    public static string Seal(string folder, BundleManifest manifest, SigningKey? key)
    {
        byte[] json = manifest.ToJson();
        BundleManifest.Parse(json, BundleManifest.FileName);
        File.WriteAllBytes(Path.Combine(folder, BundleManifest.FileName), json);
        if (key is not null)
        {
            File.WriteAllBytes(Path.Combine(folder, BundleManifest.SignatureFileName), key.Sign(json));
        }

        return Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(json));
    }

    /// <summary>Writes a sealed folder as one file.</summary>
    public static void Pack(string folder, BundleManifest manifest, Stream output)
    {
        Add(BundleManifest.FileName, Path.Combine(folder, BundleManifest.FileName));
        if (File.Exists(Path.Combine(folder, BundleManifest.SignatureFileName)))
        {
            Add(BundleManifest.SignatureFileName, Path.Combine(folder, BundleManifest.SignatureFileName));
        }

        foreach (BundlePart part in manifest.Parts)
        {
            Add(part.Path, Path.Combine(folder, OpenBundle.PartsName, part.Path));
        }

        output.Write(new byte[2 * TarFormat.BlockBytes]);

        void Add(string name, string path)
        {
            using FileStream file = DurableFiles.OpenForeign(path);
            long bytes = file.Length;
            output.Write(TarFormat.Write(name, bytes, manifest.Created));
            BundleFiles.Copy(file, output, bytes, path);
            output.Write(new byte[TarFormat.Padding(bytes)]);
        }
    }

    private static BundlePart CopyPart(string file, string path, string to)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(to)!);
        try
        {
            using FileStream from = DurableFiles.OpenForeign(file);
            using var output = new FileStream(to, FileMode.CreateNew, FileAccess.Write);
            long bytes = from.Length;
            return bytes <= BundleLimits.MostPartBytes
                ? new BundlePart(path, PartKinds.Of(path)!.Value, bytes, BundleFiles.Copy(from, output, bytes, file), 0)
                : throw new BundleException(file, $"larger than {BundleLimits.MostPartBytes >> 20} MiB");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BundleException(file, e.Message);
        }
    }
}
