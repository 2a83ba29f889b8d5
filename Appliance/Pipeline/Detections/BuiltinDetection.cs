using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Pipeline.Detections;

/// <summary>A detection that is no rule: it is about where something lies, how it is called, or what the image itself is.</summary>
/// <param name="Id">The report's <c>rule</c>.</param>
/// <param name="Description">The report's <c>meta.description</c>; what was seen is in <c>meta.detail</c>.</param>
internal sealed record BuiltinDetection(string Id, Severity Severity, string Description)
{
    public const string Engine = "vmsweep";

    public static readonly BuiltinDetection FormatDisagrees = new(
        "HostileImage_FormatDisagrees", Severity.High,
        "the image's bytes are of another format than inventory or extension declare; it was read as declared. Whoever probes such an image opens what its header names");

    public static readonly BuiltinDetection ForbiddenReference = new(
        "HostileImage_ForbiddenReference", Severity.High,
        "the image names a file that no image of this VM may name; it was not opened");

    public static readonly BuiltinDetection ExecutableOutsideFiles = new(
        "Hidden_ExecutableOutsideFiles", Severity.Medium,
        "executables with sound headers where no file system keeps any: between partitions, or behind a file system's end. What an earlier layout of the disk left behind looks the same");

    public static readonly BuiltinDetection UnknownBootCode = new(
        "Boot_UnknownCode", Severity.Info,
        "boot code that is not one of the list of known ones; boot loaders of many makers are not on it");

    public static readonly BuiltinDetection DoubleExtension = new(
        "Name_DoubleExtension", Severity.Medium,
        "a program that is called like a document: who does not see extensions takes it for one");

    public static readonly BuiltinDetection ReversedName = new(
        "Name_Reversed", Severity.Medium,
        "a program whose name holds a mark that turns the direction of writing, so that its extension is shown elsewhere");

    public static readonly BuiltinDetection ChangedUnseen = new(
        "Storage_ChangedUnseen", Severity.Medium,
        "what was not written to since an earlier scan, as a hypervisor or a store says, is not what was scanned then: a defect in keeping changes, or somebody wrote past it. All of this VM was read");

    public static readonly IReadOnlyList<BuiltinDetection> All =
        [FormatDisagrees, ForbiddenReference, ExecutableOutsideFiles, UnknownBootCode, DoubleExtension, ReversedName, ChangedUnseen];

    /// <summary>True for what this program tells without calling it bad. A rule that matches is a detection, whatever severity it gives itself.</summary>
    public static bool IsOnlyWorthKnowing(string engine, string severity) => engine == Engine && severity == "info";

    public Detection Found(string detail, IReadOnlyList<StringMatch>? matches = null, long matchesLeftOut = 0) => new(
        Engine, Id, "builtin", [],
        [new("description", new MetaValue(Description)), new("detail", new MetaValue(detail))],
        Severity, matches ?? [], matchesLeftOut);
}
