using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Vmsweep.Signatures.Bundles;

/// <summary>
/// What a bundle says of itself: <c>manifest.json</c>, schema <c>vmsweep.bundle/1</c>. The publisher signs exactly its bytes, and it
/// names every part's digest, so that its own SHA-256 is the identity of the whole.
/// </summary>
/// <param name="Name">Which line of bundles; versions count within it.</param>
/// <param name="Version">Grows with each bundle of this name.</param>
public sealed record BundleManifest(string Name, long Version, DateTimeOffset Created, DateTimeOffset Expires, IReadOnlyList<BundlePart> Parts)
{
    public const string FileName = "manifest.json";
    public const string SignatureFileName = "manifest.sig";
    public const string Schema = "vmsweep.bundle/1";

    private const int MostNameLength = 64;

    public long Bytes => Parts.Sum(p => p.Bytes);

    /// <summary>Rules, hashes, ... of a kind.</summary>
    public long Count(PartKind kind) => Parts.Where(p => p.Kind == kind).Sum(p => p.Count);

    /// <summary>For messages: <c>NAME version N</c>.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Name} version {Version}");

    public static bool IsName(string name) =>
        name.Length is > 0 and <= MostNameLength && char.IsAsciiLetterOrDigit(name[0]) && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-');

    /// <param name="where">For messages.</param>
    /// <exception cref="BundleException">It is no manifest, with the line where it shows.</exception>
    public static BundleManifest Parse(ReadOnlySpan<byte> json, string where)
    {
        if (json.Length > BundleLimits.MostManifestBytes)
        {
            throw new BundleException(where, $"a manifest of more than {BundleLimits.MostManifestBytes} bytes");
        }

        ManifestJson read;
        try
        {
            read = JsonSerializer.Deserialize(json, BundleJson.Default.ManifestJson) ?? throw new BundleException(where, "an empty manifest");
        }
        catch (JsonException e)
        {
            throw new BundleException(string.Create(CultureInfo.InvariantCulture, $"{where}:{(e.LineNumber ?? 0) + 1}"), "no manifest: " + JsonText.Of(e));
        }

        if (read.Schema != Schema)
        {
            throw new BundleException(where, $"its schema is not {Schema}");
        }

        if (!IsName(read.Name))
        {
            throw new BundleException(where, "\"name\" is no name of letters, digits, dots, - and _");
        }

        if (read.Version < 1)
        {
            throw new BundleException(where, "\"version\" is below 1");
        }

        if (read.Expires <= read.Created)
        {
            throw new BundleException(where, "it expires before it was created");
        }

        return new BundleManifest(read.Name, read.Version, read.Created, read.Expires, CheckParts(read.Parts, where));
    }

    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(
        new ManifestJson
        {
            Schema = Schema,
            Name = Name,
            Version = Version,
            Created = Created,
            Expires = Expires,
            Parts = [.. Parts.Select(p => new PartJson { Path = p.Path, Kind = PartKinds.Name(p.Kind), Bytes = p.Bytes, Sha256 = p.Sha256, Count = p.Count })],
        },
        BundleJson.Default.ManifestJson);

    private static List<BundlePart> CheckParts(IReadOnlyList<PartJson> parts, string where)
    {
        if (parts.Count is 0 or > BundleLimits.MostParts)
        {
            throw new BundleException(where, $"{parts.Count} parts; a bundle has 1 to {BundleLimits.MostParts}");
        }

        List<BundlePart> sound = new(parts.Count);
        HashSet<string> taken = new(StringComparer.Ordinal);
        long bytes = 0;
        foreach (PartJson? part in parts)
        {
            if (part is null)
            {
                throw new BundleException(where, "a part is null");
            }

            if (PartKinds.WhyNot(part.Path) is { } refused)
            {
                throw new BundleException($"{where}: part \"{part.Path}\"", refused);
            }

            PartKind kind = PartKinds.Of(part.Path)!.Value;
            string at = $"{where}: part {part.Path}";
            if (part.Kind != PartKinds.Name(kind))
            {
                throw new BundleException(at, $"of the kind \"{part.Kind}\", but in the folder of the kind {PartKinds.Name(kind)}");
            }

            if (!taken.Add(part.Path))
            {
                throw new BundleException(at, "named twice");
            }

            if (part.Bytes is < 0 or > BundleLimits.MostPartBytes || (bytes += part.Bytes) > BundleLimits.MostBytes)
            {
                throw new BundleException(at, $"too large: a part has at most {BundleLimits.MostPartBytes >> 20} MiB, a bundle {BundleLimits.MostBytes >> 20} MiB");
            }

            if (part.Sha256.Length != 64 || !part.Sha256.All(char.IsAsciiHexDigitLower))
            {
                throw new BundleException(at, "\"sha256\" is not 64 lower-case hexadecimal digits");
            }

            if (part.Count < 0)
            {
                throw new BundleException(at, "\"count\" is below 0");
            }

            sound.Add(new BundlePart(part.Path, kind, part.Bytes, part.Sha256, part.Count));
        }

        foreach (string path in taken)
        {
            for (int slash = path.IndexOf('/', StringComparison.Ordinal); slash >= 0; slash = path.IndexOf('/', slash + 1))
            {
                if (taken.Contains(path[..slash]))
                {
                    throw new BundleException($"{where}: part {path[..slash]}", "both a file and a folder");
                }
            }
        }

        return sound;
    }
}

/// <summary>A manifest as it is written.</summary>
internal sealed record ManifestJson
{
    public required string Schema { get; init; }

    public required string Name { get; init; }

    public required long Version { get; init; }

    public required DateTimeOffset Created { get; init; }

    public required DateTimeOffset Expires { get; init; }

    public required IReadOnlyList<PartJson> Parts { get; init; }
}

internal sealed record PartJson
{
    public required string Path { get; init; }

    public required string Kind { get; init; }

    public required long Bytes { get; init; }

    public required string Sha256 { get; init; }

    public required long Count { get; init; }
}

/// <summary>What the JSON reader says, without what only a programmer wants to know.</summary>
internal static class JsonText
{
    public static string Of(JsonException e)
    {
        int path = e.Message.IndexOf(" Path: ", StringComparison.Ordinal);
        string text = path > 0 ? e.Message[..path] : e.Message;
        return text.Replace("Vmsweep.Signatures.", "", StringComparison.Ordinal);
    }
}

// Strict: a field that this version does not know may be one that it must not ignore.
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true,
    AllowDuplicateProperties = false,
    MaxDepth = 8,
    WriteIndented = true)]
[JsonSerializable(typeof(ManifestJson))]
[JsonSerializable(typeof(StoreState))]
internal sealed partial class BundleJson : JsonSerializerContext;
