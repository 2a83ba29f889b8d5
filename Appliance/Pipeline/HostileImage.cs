using Vmsweep.Appliance.Pipeline.Detections;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Findings on images made to attack whoever opens them.</summary>
internal static class HostileImage
{
    /// <summary>The bytes are of another format than inventory or extension declare.</summary>
    public static FindingReport FormatDisagrees(string image, long sizeBytes, string declared, string says) =>
        Finding(BuiltinDetection.FormatDisagrees, image, sizeBytes, $"declared as {declared}, but its bytes say {says}");

    /// <summary>The image names a file that no image of this VM may name.</summary>
    public static FindingReport ForbiddenReference(string image, long sizeBytes, string name) =>
        Finding(BuiltinDetection.ForbiddenReference, image, sizeBytes, $"names \"{name}\" as a part of its disk");

    private static FindingReport Finding(BuiltinDetection detection, string image, long sizeBytes, string detail) =>
        FindingReports.Of(new VerdictFinding(detection.Found(detail)), [image], sizeBytes, "");
}
