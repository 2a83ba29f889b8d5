using System.Text.Json;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Detections that are no rules: images made to attack whoever opens them.</summary>
internal static class HostileImage
{
    public const string Engine = "vmsweep";

    /// <summary>The bytes are of another format than inventory or extension declare.</summary>
    public static FindingReport FormatDisagrees(string image, long sizeBytes, string declared, string says) => Finding(
        image, sizeBytes, "HostileImage_FormatDisagrees",
        $"declared as {declared}, but its bytes say {says}; it was read as declared. Whoever probes such an image opens what its header names");

    /// <summary>The image names a file that no image of this VM may name.</summary>
    public static FindingReport ForbiddenReference(string image, long sizeBytes, string name) => Finding(
        image, sizeBytes, "HostileImage_ForbiddenReference",
        $"names \"{name}\" as a part of its disk; it was not opened");

    private static FindingReport Finding(string image, long sizeBytes, string rule, string description) => new()
    {
        Path = image,
        SizeBytes = sizeBytes,
        Sha256 = "",
        Engine = Engine,
        Rule = rule,
        Namespace = "builtin",
        Severity = "high",
        Meta = new Dictionary<string, JsonElement> { ["description"] = JsonSerializer.SerializeToElement(description, MetaJson.Default.String) },
    };
}
