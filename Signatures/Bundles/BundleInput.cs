namespace Vmsweep.Signatures.Bundles;

/// <summary>
/// A bundle that is not believed yet: a tar file or a folder. The manifest and its signature come first and are small; no other byte is
/// looked at before they have been checked.
/// </summary>
internal abstract class BundleInput : IDisposable
{
    /// <summary>The file or folder, for messages.</summary>
    public required string Where { get; init; }

    /// <summary>The exact bytes that were signed.</summary>
    public byte[] Manifest { get; protected set; } = [];

    /// <summary>Empty where there is none.</summary>
    public byte[] Signature { get; protected set; } = [];

    /// <exception cref="BundleException">It is no bundle.</exception>
    public static BundleInput Open(string path)
    {
        try
        {
            return Directory.Exists(path) ? FolderInput.OpenFolder(path) : TarInput.OpenFile(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BundleException(path, e.Message);
        }
    }

    /// <summary>Hands each part's content on, each once and all of them; what is neither part nor manifest is refused.</summary>
    /// <param name="manifest">Parsed from <see cref="Manifest"/>.</param>
    /// <param name="take">Reads the stream to exactly the part's size.</param>
    public abstract void ReadParts(BundleManifest manifest, Action<BundlePart, Stream> take);

    public abstract void Dispose();

    /// <summary>Exactly as many bytes as there must be.</summary>
    /// <param name="most">More are refused before they are read.</param>
    protected static byte[] ReadSmall(Stream stream, long bytes, int most, string where)
    {
        if (bytes > most)
        {
            throw new BundleException(where, $"larger than {most} bytes");
        }

        byte[] read = new byte[bytes];
        return stream.ReadAtLeast(read, read.Length, throwOnEndOfStream: false) == read.Length ? read : throw new BundleException(where, "cut short");
    }
}

/// <summary>A bundle as a folder: the manifest, its signature and the parts in their folders.</summary>
internal sealed class FolderInput : BundleInput
{
    private const int MostFiles = BundleLimits.MostParts + 2;

    public static FolderInput OpenFolder(string path)
    {
        var input = new FolderInput { Where = path };
        input.Manifest = Read(BundleManifest.FileName, BundleLimits.MostManifestBytes);
        if (Path.Exists(Path.Combine(path, BundleManifest.SignatureFileName)))
        {
            input.Signature = Read(BundleManifest.SignatureFileName, BundleLimits.MostSignatureBytes);
        }

        return input;

        byte[] Read(string name, int most)
        {
            using FileStream stream = DurableFiles.OpenForeign(Path.Combine(path, name));
            return ReadSmall(stream, stream.Length, most, Path.Combine(path, name));
        }
    }

    public override void ReadParts(BundleManifest manifest, Action<BundlePart, Stream> take)
    {
        HashSet<string> named = [.. manifest.Parts.Select(p => p.Path), BundleManifest.FileName, BundleManifest.SignatureFileName];
        var all = new EnumerationOptions { AttributesToSkip = FileAttributes.None, IgnoreInaccessible = false };
        int count = 0;
        RefuseStrangers(Where, "");
        foreach (BundlePart part in manifest.Parts)
        {
            using FileStream stream = DurableFiles.OpenForeign(Path.Combine(Where, part.Path));
            take(part, stream);
            if (stream.ReadByte() >= 0)
            {
                throw new BundleException($"{Where}: part {part.Path}", "larger than the manifest says");
            }
        }

        void RefuseStrangers(string folder, string prefix)
        {
            foreach (FileSystemInfo entry in new DirectoryInfo(folder).EnumerateFileSystemInfos("*", all))
            {
                string name = prefix + entry.Name;
                if (++count > MostFiles)
                {
                    throw new BundleException(Where, $"more than {BundleLimits.MostParts} parts");
                }

                if (entry.LinkTarget is not null)
                {
                    throw new BundleException(entry.FullName, "a link, which is not followed");
                }

                if (entry is DirectoryInfo && prefix.Count(c => c == '/') < BundleLimits.MostPathDepth)
                {
                    RefuseStrangers(entry.FullName, name + "/");
                }
                else if (!named.Contains(name))
                {
                    throw new BundleException(entry.FullName, "not in the manifest");
                }
            }
        }
    }

    public override void Dispose()
    {
    }
}

/// <summary>A bundle as one file: a tar archive whose first member is the manifest and, where it is signed, whose second is the signature.</summary>
internal sealed class TarInput : BundleInput
{
    /// <summary>GNU tar fills up to 10 KiB by default; more zeros than this behind the end are no bundle of ours.</summary>
    private const int MostTail = 1 << 20;

    private readonly Stream _stream;
    private readonly byte[] _block = new byte[TarFormat.BlockBytes];
    private (string Name, long Bytes)? _next;

    private TarInput(Stream stream) => _stream = stream;

    public static TarInput OpenFile(string path) => OpenStream(new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 64 << 10, FileOptions.SequentialScan), path);

    /// <param name="stream">Disposed with the input, also when this throws.</param>
    public static TarInput OpenStream(Stream stream, string where)
    {
        var input = new TarInput(stream) { Where = where };
        try
        {
            input.ReadHead();
            return input;
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    public override void ReadParts(BundleManifest manifest, Action<BundlePart, Stream> take)
    {
        Dictionary<string, BundlePart> open = manifest.Parts.ToDictionary(p => p.Path, StringComparer.Ordinal);
        while (_next is { } member)
        {
            string at = $"{Where}: member \"{member.Name}\"";
            if (!open.Remove(member.Name, out BundlePart? part))
            {
                throw new BundleException(at, manifest.Parts.Any(p => p.Path == member.Name) ? "comes twice" : "not in the manifest");
            }

            if (member.Bytes != part.Bytes)
            {
                throw new BundleException(at, $"has {member.Bytes} bytes where the manifest says {part.Bytes}");
            }

            take(part, _stream);
            Advance(member.Bytes);
        }

        if (open.Count > 0)
        {
            throw new BundleException($"{Where}: part {open.Keys.Order(StringComparer.Ordinal).First()}", "missing: the manifest names it");
        }

        ReadTail();
    }

    public override void Dispose() => _stream.Dispose();

    private void ReadHead()
    {
        _next = ReadHeader();
        if (_next is not { Name: BundleManifest.FileName } manifest)
        {
            throw new BundleException(Where, $"no bundle: its first member must be {BundleManifest.FileName}");
        }

        Manifest = ReadSmall(_stream, manifest.Bytes, BundleLimits.MostManifestBytes, $"{Where}: {BundleManifest.FileName}");
        Advance(manifest.Bytes);
        if (_next is { Name: BundleManifest.SignatureFileName } signature)
        {
            Signature = ReadSmall(_stream, signature.Bytes, BundleLimits.MostSignatureBytes, $"{Where}: {BundleManifest.SignatureFileName}");
            Advance(signature.Bytes);
        }
    }

    /// <summary>Behind a member's content: its padding and the next header.</summary>
    private void Advance(long bytes)
    {
        Span<byte> padding = stackalloc byte[TarFormat.Padding(bytes)];
        if (_stream.ReadAtLeast(padding, padding.Length, throwOnEndOfStream: false) < padding.Length)
        {
            throw new BundleException(Where, "cut short");
        }

        if (padding.ContainsAnyExcept((byte)0))
        {
            throw new BundleException(Where, "something hides in the padding behind a member");
        }

        _next = ReadHeader();
    }

    private (string Name, long Bytes)? ReadHeader() =>
        _stream.ReadAtLeast(_block, _block.Length, throwOnEndOfStream: false) == _block.Length
            ? TarFormat.Read(_block, Where)
            : throw new BundleException(Where, "cut short, or no bundle");

    /// <summary>The second block of zeros that ends an archive, and nothing else behind it.</summary>
    private void ReadTail()
    {
        int zeros = 0;
        byte[] buffer = new byte[16 << 10];
        for (int got; (got = _stream.Read(buffer)) > 0;)
        {
            if (buffer.AsSpan(0, got).ContainsAnyExcept((byte)0) || (zeros += got) > MostTail)
            {
                throw new BundleException(Where, "something follows behind its end");
            }
        }

        if (zeros < TarFormat.BlockBytes)
        {
            throw new BundleException(Where, "cut short");
        }
    }
}
