namespace Vmsweep.Signatures.Bundles;

/// <summary>A pinned publisher.</summary>
/// <param name="Name">As the operator calls it.</param>
public sealed record Publisher(string Name, PublisherKey Key);

/// <summary>The publishers that the operator trusts: a PEM file for each in one folder.</summary>
public sealed class TrustedKeys
{
    private const int MostKeyBytes = 16 << 10;

    private readonly string _folder;

    /// <param name="folder">Need not be there yet.</param>
    public TrustedKeys(string folder) => _folder = folder;

    /// <exception cref="BundleException">A file in the folder is no key.</exception>
    public IReadOnlyList<Publisher> Read()
    {
        if (!Directory.Exists(_folder))
        {
            return [];
        }

        string[] files = [.. Directory.GetFiles(_folder, "*.pem").Order(StringComparer.Ordinal)];
        return files.Length > BundleLimits.MostTrustedKeys
            ? throw new BundleException(_folder, $"more than {BundleLimits.MostTrustedKeys} keys")
            : [.. files.Select(f => new Publisher(NameIn(Text(f)), PublisherKey.Parse(Text(f), f)))];
    }

    /// <summary>Pins the key in a file.</summary>
    /// <returns>The publisher, and whether it was new.</returns>
    /// <exception cref="BundleException">The file holds no such key.</exception>
    public (Publisher Publisher, bool IsNew) Add(string keyFile, string? name)
    {
        string plain = string.Concat(Path.GetFileNameWithoutExtension(keyFile).Select(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' ? c : '_')).TrimStart('.', '-', '_');
        var publisher = new Publisher(name ?? (BundleManifest.IsName(plain) ? plain : "publisher"), PublisherKey.Parse(Text(keyFile), keyFile));
        if (!BundleManifest.IsName(publisher.Name))
        {
            throw new BundleException(publisher.Name, "a publisher's name has at most 64 letters, digits, dots, - and _");
        }

        string path = PathOf(publisher.Key.Id);
        bool isNew = !File.Exists(path);
        if (isNew && Read().Count >= BundleLimits.MostTrustedKeys)
        {
            throw new BundleException(_folder, $"{BundleLimits.MostTrustedKeys} keys are trusted already");
        }

        Directory.CreateDirectory(_folder);
        DurableFiles.Replace(path, System.Text.Encoding.UTF8.GetBytes($"# {publisher.Name}\n{publisher.Key.ToPem()}"));
        return (publisher, isNew);
    }

    /// <param name="idOrName">A key's id, at least eight digits of its beginning, or its name.</param>
    /// <exception cref="BundleException">None or several are meant.</exception>
    public Publisher Remove(string idOrName)
    {
        Publisher[] meant = [.. Read().Where(p => p.Name == idOrName || (idOrName.Length >= 8 && p.Key.Id.StartsWith(idOrName, StringComparison.OrdinalIgnoreCase)))];
        if (meant.Length != 1)
        {
            throw new BundleException(idOrName, meant.Length == 0 ? "no such key is trusted" : $"{meant.Length} keys have this name; give the id of one");
        }

        File.Delete(PathOf(meant[0].Key.Id));
        DurableFiles.FlushFolder(_folder);
        return meant[0];
    }

    /// <summary>Who signed exactly these bytes; null: nobody who is trusted.</summary>
    internal Publisher? SignerOf(byte[] message, byte[] signature) => Read().FirstOrDefault(p => p.Key.Verifies(message, signature));

    private string PathOf(string id) => Path.Combine(_folder, id + ".pem");

    private static string NameIn(string pem) => pem.StartsWith("# ", StringComparison.Ordinal) ? pem[2..pem.IndexOf('\n', StringComparison.Ordinal)] : "";

    private static string Text(string file)
    {
        try
        {
            using FileStream stream = File.OpenRead(file);
            byte[] bytes = new byte[MostKeyBytes + 1];
            int length = stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
            return length <= MostKeyBytes ? System.Text.Encoding.UTF8.GetString(bytes, 0, length) : throw new BundleException(file, "too large for a key");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BundleException(file, e.Message);
        }
    }
}
