using System.Text.Json.Serialization;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Reports;

/// <summary>A signature bundle as reports and <c>signatures</c> show it.</summary>
/// <param name="Id"><c>sha256:</c> and the digest of its manifest.</param>
/// <param name="Publisher">Who signed it, as the operator named the key; absent: nobody did.</param>
/// <param name="PublisherKey">Id of that key.</param>
/// <param name="Counts">Rules, hashes, ... by kind of part.</param>
internal sealed record BundleReport(
    string Id,
    string Name,
    long Version,
    DateTimeOffset Created,
    DateTimeOffset Expires,
    bool IsExpired,
    string? Publisher,
    string? PublisherKey,
    long Bytes,
    IReadOnlyDictionary<string, long> Counts)
{
    public static BundleReport Of(string id, BundleManifest manifest, Publisher? signer, DateTimeOffset now) => new(
        "sha256:" + id,
        manifest.Name,
        manifest.Version,
        manifest.Created,
        manifest.Expires,
        manifest.Expires <= now,
        signer?.Name,
        signer?.Key.Id,
        manifest.Bytes,
        manifest.Parts.GroupBy(p => p.Kind).OrderBy(g => g.Key).ToDictionary(g => PartKinds.Name(g.Key), g => g.Sum(p => p.Count)));

    public static BundleReport Of(OpenBundle bundle, DateTimeOffset now) => Of(bundle.Id, bundle.Manifest, bundle.Signer, now);

    /// <summary>True when an engine has parts in it.</summary>
    public bool Holds(string engine) => engine == "hash"
        ? Counts.ContainsKey(PartKinds.Name(PartKind.Hashes)) || Counts.ContainsKey(PartKinds.Name(PartKind.KnownGood))
        : Counts.ContainsKey(engine);

    /// <summary>The id as the store has it.</summary>
    [JsonIgnore]
    public string Digest => Id["sha256:".Length..];

    /// <summary>For people: <c>NAME version N</c>.</summary>
    [JsonIgnore]
    public string Title => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{Name} version {Version}");
}

/// <summary>Why a finding does not count, as the operator wrote it down.</summary>
/// <param name="Where">File and line of the entry.</param>
internal sealed record SuppressedReport(string Who, string Why, DateTimeOffset Until, string Where);

/// <summary>What <c>signatures list</c>, <c>add</c>, <c>update</c>, <c>verify</c> and <c>rollback</c> answer in JSON.</summary>
internal sealed record SignaturesReport
{
    public string Schema { get; init; } = "vmsweep.signatures/1";

    /// <summary><c>activated</c>, <c>unchanged</c>, <c>rolled-back-before</c>, <c>sound</c>, <c>expired</c>, <c>damaged</c>; absent in a list.</summary>
    public string? Outcome { get; init; }

    /// <summary>Where an update came from.</summary>
    public string? From { get; init; }

    public BundleReport? Active { get; init; }

    public BundleReport? Previous { get; init; }

    /// <summary>Whether the active bundle's databases for ClamAV take part; absent where it has none.</summary>
    public ClamAvPartsReport? ClamAv { get; init; }

    /// <summary>Bundles that are neither, kept because a scan uses them.</summary>
    public IReadOnlyList<BundleReport>? Kept { get; init; }

    /// <summary>What is wrong.</summary>
    public IReadOnlyList<string>? Faults { get; init; }
}

/// <summary>What became of a bundle's databases for ClamAV.</summary>
/// <param name="IsLoaded"><c>clamd</c> matches with them.</param>
/// <param name="Signatures">How many there are.</param>
/// <param name="Detail">Where they are loaded, or why they are not.</param>
internal sealed record ClamAvPartsReport(bool IsLoaded, long Signatures, string Detail);

/// <summary>What <c>signatures trust</c> answers in JSON.</summary>
internal sealed record TrustReport(IReadOnlyList<TrustedKeyReport> Keys)
{
    public string Schema { get; init; } = "vmsweep.trust/1";
}

internal sealed record TrustedKeyReport(string Name, string Id, string Algorithm);

/// <summary>What <c>signatures build</c> answers in JSON.</summary>
internal sealed record BuildReport(string File, BundleReport Bundle)
{
    public string Schema { get; init; } = "vmsweep.build/1";
}

/// <summary>What <c>signatures test</c> answers in JSON.</summary>
internal sealed record RuleTestReport(string Verdict, BundleReport? Bundle, RuleTrial Trial, IReadOnlyList<FindingReport> FalseAlarms, IReadOnlyList<GapReport> Gaps)
{
    public string Schema { get; init; } = "vmsweep.rule-test/1";
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    WriteIndented = true)]
[JsonSerializable(typeof(SignaturesReport))]
[JsonSerializable(typeof(TrustReport))]
[JsonSerializable(typeof(BuildReport))]
[JsonSerializable(typeof(RuleTestReport))]
internal sealed partial class SignaturesJson : JsonSerializerContext;
