using System.Text.Json;
using System.Text.Json.Serialization;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Updates;

/// <summary>Where bundles come from: a folder, a file, or an address that begins with <c>https://</c>.</summary>
internal sealed record UpdateSource
{
    public required string From { get; init; }

    /// <summary><c>http://HOST:PORT</c>, or <c>none</c>; null: what the environment says.</summary>
    public string? Proxy { get; init; }

    /// <summary>A PEM file with the only authorities that are trusted; null: those of the system.</summary>
    public string? Ca { get; init; }

    [JsonIgnore]
    public bool IsRemote => From.Contains("://", StringComparison.Ordinal);
}

/// <summary><c>sources.json</c> in the folder of signatures: one is enough, the others are mirrors, asked in their order.</summary>
internal sealed record UpdateSources
{
    public const string FileName = "sources.json";

    private const string ThisSchema = "vmsweep.sources/1";

    public required string Schema { get; init; }

    public required IReadOnlyList<UpdateSource> Sources { get; init; }

    /// <exception cref="BundleException">There is no such file, or it says something else.</exception>
    public static IReadOnlyList<UpdateSource> Read(string folder)
    {
        string path = Path.Combine(folder, FileName);
        byte[] bytes;
        try
        {
            bytes = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new BundleException(path, "no source is configured; name one with --from, or write { \"schema\": \"" + ThisSchema + "\", \"sources\": [ { \"from\": \"https://...\" } ] } there");
        }

        try
        {
            UpdateSources? read = JsonSerializer.Deserialize(bytes, SourcesJson.Default.UpdateSources);
            return read is { Schema: ThisSchema, Sources.Count: > 0 } ? read.Sources : throw new BundleException(path, $"its \"schema\" is not {ThisSchema}, or it has no \"sources\"");
        }
        catch (JsonException e)
        {
            throw new BundleException($"{path}:{(e.LineNumber ?? 0) + 1}", e.Message);
        }
    }
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(UpdateSources))]
[JsonSerializable(typeof(DownloadNote))]
internal sealed partial class SourcesJson : JsonSerializerContext;
