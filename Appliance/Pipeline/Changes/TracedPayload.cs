using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Pipeline.Changes;

/// <summary>What an earlier scan found in a content that need not be read again.</summary>
/// <param name="Sha256">Of an executable, for whoever records where it is; null for all else.</param>
internal sealed record KnownContent(IReadOnlyList<FindingReport> Findings, byte[]? Sha256)
{
    public TraceLedger? Ledger { get; init; }

    public UInt128 Trace { get; init; }

    /// <summary>The first bytes of its SHA-256.</summary>
    public ulong Check { get; init; }

    public byte[] Payload { get; init; } = [];
}

/// <summary>
/// A content's report as it is kept beside its trace: nothing for one without findings that is no executable; otherwise a byte that is 1 where a SHA-256 follows and
/// 0 where not, and the findings as JSON to the end, unless there are none.
/// </summary>
internal static class TracedPayload
{
    public static byte[] Write(IReadOnlyList<FindingReport> findings, byte[]? sha256)
    {
        byte[] json = findings.Count == 0 ? [] : JsonSerializer.SerializeToUtf8Bytes(findings, TracedJson.Default.IReadOnlyListFindingReport);
        return json.Length == 0 && sha256 is null ? [] : [(byte)(sha256 is null ? 0 : 1), .. sha256 ?? [], .. json];
    }

    /// <summary>Null when it cannot be understood, or speaks of something else than the content.</summary>
    public static KnownContent? Read(ReadOnlySpan<byte> payload, ContentItem item)
    {
        if (payload.IsEmpty)
        {
            return new KnownContent([], null);
        }

        byte[]? sha256 = null;
        if (payload[0] > 1 || (payload[0] == 1 && payload.Length <= SHA256.HashSizeInBytes))
        {
            return null;
        }

        bool isExecutable = payload[0] == 1;
        payload = payload[1..];
        if (isExecutable)
        {
            sha256 = payload[..SHA256.HashSizeInBytes].ToArray();
            payload = payload[SHA256.HashSizeInBytes..];
        }

        if (payload.IsEmpty)
        {
            return new KnownContent([], sha256);
        }

        try
        {
            IReadOnlyList<FindingReport> findings = JsonSerializer.Deserialize(payload, TracedJson.Default.IReadOnlyListFindingReport) ?? [];
            IReadOnlyList<string> paths = item.Paths;
            foreach (FindingReport finding in findings)
            {
                if (finding is not { Memory: null } || finding.Path != paths[0] || !finding.AlsoAt.SequenceEqual(paths.Skip(1)))
                {
                    return null;
                }

                WorkerEvents.Check(new FindingEvent(finding));
            }

            return new KnownContent(findings, sha256);
        }
        catch (Exception e) when (e is JsonException or InvalidDataException or NotSupportedException or ArgumentException)
        {
            return null;
        }
    }
}

/// <summary>How findings are kept until the next scan.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(IReadOnlyList<FindingReport>))]
internal sealed partial class TracedJson : JsonSerializerContext;
