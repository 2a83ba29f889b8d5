using System.Security.Cryptography;

namespace Vmsweep.Signatures.Bundles;

/// <summary>The files of one bundle in a folder of the store, or of a temporary one.</summary>
internal static class BundleFiles
{
    /// <summary>Held shared by whoever uses the bundle, and alone by whoever removes it.</summary>
    public const string HoldName = "hold";

    /// <summary>Writes a bundle's files, each checked against its digest on the way, all of them for good.</summary>
    /// <param name="folder">Made anew.</param>
    public static void Unpack(BundleInput input, CheckedManifest manifest, string folder)
    {
        string parts = Path.Combine(folder, OpenBundle.PartsName);
        Directory.CreateDirectory(parts);
        input.ReadParts(manifest.Manifest, (part, stream) =>
        {
            string path = Path.Combine(parts, part.Path);
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            using var file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1);
            if (Copy(stream, file, part.Bytes, $"{input.Where}: part {part.Path}") != part.Sha256)
            {
                throw new BundleException($"{input.Where}: part {part.Path}", "its content is not what the manifest says (SHA-256 differs)");
            }

            file.Flush(flushToDisk: true);
        });
        DurableFiles.Replace(Path.Combine(folder, BundleManifest.FileName), input.Manifest);
        if (manifest.Signer is not null)
        {
            DurableFiles.Replace(Path.Combine(folder, BundleManifest.SignatureFileName), input.Signature);
        }

        DurableFiles.Replace(Path.Combine(folder, HoldName), []);
        DurableFiles.FlushFolders(folder);
    }

    /// <summary>Checks manifest and signature of a stored bundle, and that its parts are there in their sizes.</summary>
    /// <exception cref="BundleException">Something is wrong with it.</exception>
    public static CheckedManifest Check(string folder, string id, TrustedKeys trust, bool mayBeUnsigned)
    {
        byte[] bytes = Read(BundleManifest.FileName, BundleLimits.MostManifestBytes);
        byte[] signature = File.Exists(Path.Combine(folder, BundleManifest.SignatureFileName)) ? Read(BundleManifest.SignatureFileName, BundleLimits.MostSignatureBytes) : [];
        CheckedManifest manifest = CheckedManifest.Of(bytes, signature, trust, mayBeUnsigned && signature.Length == 0, folder);
        if (manifest.Id != id)
        {
            throw new BundleException(folder, "its manifest is not the one that it was stored under");
        }

        foreach (BundlePart part in manifest.Manifest.Parts)
        {
            var file = new FileInfo(Path.Combine(folder, OpenBundle.PartsName, part.Path));
            if (!file.Exists || file.Length != part.Bytes)
            {
                throw new BundleException($"{folder}: part {part.Path}", file.Exists ? $"has {file.Length} bytes where the manifest says {part.Bytes}" : "missing");
            }
        }

        return manifest;

        byte[] Read(string name, int most)
        {
            try
            {
                using FileStream stream = DurableFiles.OpenForeign(Path.Combine(folder, name));
                byte[] read = new byte[Math.Min(stream.Length, most + 1L)];
                stream.ReadExactly(read);
                return read.Length <= most ? read : throw new BundleException(Path.Combine(folder, name), "too large");
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new BundleException(Path.Combine(folder, name), e.Message);
            }
        }
    }

    /// <summary>Reads every part again.</summary>
    /// <returns>What is wrong, a line for each part; empty when nothing is.</returns>
    public static IReadOnlyList<string> Verify(string folder, BundleManifest manifest)
    {
        List<string> wrong = [];
        foreach (BundlePart part in manifest.Parts)
        {
            string path = Path.Combine(folder, OpenBundle.PartsName, part.Path);
            try
            {
                using FileStream stream = DurableFiles.OpenForeign(path);
                if (stream.Length != part.Bytes || Copy(stream, Stream.Null, part.Bytes, path) != part.Sha256)
                {
                    wrong.Add($"part {part.Path}: its content is not what the manifest says (SHA-256 or size differs)");
                }
            }
            catch (Exception e) when (e is BundleException or IOException or UnauthorizedAccessException)
            {
                wrong.Add($"part {part.Path}: {e.Message}");
            }
        }

        HashSet<string> named = [.. manifest.Parts.Select(p => Path.Combine(folder, OpenBundle.PartsName, p.Path))];
        var all = new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.None };
        wrong.AddRange(Directory.EnumerateFiles(Path.Combine(folder, OpenBundle.PartsName), "*", all).Where(f => !named.Contains(f)).Select(f => $"{f}: not in the manifest"));
        return wrong;
    }

    /// <summary>Copies exactly <paramref name="bytes"/> bytes and gives their SHA-256.</summary>
    public static string Copy(Stream from, Stream to, long bytes, string where)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] buffer = new byte[Math.Clamp(bytes, 1, 256 << 10)];
        while (bytes > 0)
        {
            int got = from.Read(buffer, 0, (int)Math.Min(buffer.Length, bytes));
            if (got == 0)
            {
                throw new BundleException(where, "cut short");
            }

            hash.AppendData(buffer, 0, got);
            to.Write(buffer, 0, got);
            bytes -= got;
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
