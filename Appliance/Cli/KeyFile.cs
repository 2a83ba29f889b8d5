using Vmsweep.Appliance.Connectors.Datastore;

namespace Vmsweep.Appliance.Cli;

/// <summary>
/// Secrets of <c>--key</c>: one a line (password, recovery key, <c>master:HEX</c>), and the file as a whole, which may be a key file
/// of LUKS or a startup key of BitLocker.
/// </summary>
internal static class KeyFile
{
    /// <summary>cryptsetup's own limit of a key file.</summary>
    private const int MostBytes = 8 << 20;

    /// <summary>Each costs a key derivation for each protector of each volume.</summary>
    private const int MostSecrets = 1000;

    /// <param name="name">A file, <c>-</c> for standard input, or null for none.</param>
    /// <exception cref="TargetException">It cannot be read, is empty or has too many secrets.</exception>
    public static IReadOnlyList<byte[]> Read(string? name)
    {
        if (name is null)
        {
            return [];
        }

        byte[] bytes;
        try
        {
            using Stream stream = name == "-" ? Console.OpenStandardInput() : File.OpenRead(name);
            bytes = ReadAll(stream, name);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new TargetException($"--key {name}: {e.Message}");
        }

        List<byte[]> secrets = Secrets(bytes);
        return secrets.Count switch
        {
            0 => throw new TargetException($"--key {name}: it is empty"),
            > MostSecrets => throw new TargetException($"--key {name}: more than {MostSecrets} secrets"),
            _ => secrets,
        };
    }

    /// <summary>Each line without its end, then the whole where that is something else.</summary>
    internal static List<byte[]> Secrets(byte[] bytes)
    {
        List<byte[]> secrets = [];
        if (!bytes.AsSpan().Contains((byte)0))
        {
            ReadOnlySpan<byte> text = bytes;
            foreach (Range range in text.Split((byte)'\n'))
            {
                ReadOnlySpan<byte> line = text[range].TrimEnd((byte)'\r');
                if (!line.IsEmpty && secrets.Count <= MostSecrets)
                {
                    secrets.Add(line.ToArray());
                }
            }
        }

        if (bytes.Length > 0 && !secrets.Exists(s => s.AsSpan().SequenceEqual(bytes)))
        {
            secrets.Add(bytes);
        }

        return secrets;
    }

    private static byte[] ReadAll(Stream stream, string name)
    {
        using var all = new MemoryStream();
        byte[] part = new byte[64 << 10];
        for (int got; (got = stream.Read(part)) > 0;)
        {
            all.Write(part, 0, got);
            if (all.Length > MostBytes)
            {
                throw new TargetException($"--key {name}: larger than {MostBytes} bytes, so no key");
            }
        }

        return all.ToArray();
    }
}
