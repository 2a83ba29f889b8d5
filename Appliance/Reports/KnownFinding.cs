namespace Vmsweep.Appliance.Reports;

/// <summary>A finding with its life: what all scans of its VM together say of one rule at one place.</summary>
internal sealed record KnownFinding
{
    public required long Id { get; init; }

    public required string Tenant { get; init; }

    public required string VmId { get; init; }

    public required string VmName { get; init; }

    /// <summary>The VM's earlier state that it lies in; absent for the present one.</summary>
    public string? Snapshot { get; init; }

    public required string Path { get; init; }

    public string? GuestPath { get; init; }

    /// <summary>Members on the way, as in <see cref="FindingReport"/>.</summary>
    public IReadOnlyList<string> Inside { get; init; } = [];

    public required long SizeBytes { get; init; }

    /// <summary>Of the content as it was seen last.</summary>
    public required string Sha256 { get; init; }

    public required string Engine { get; init; }

    public required string Rule { get; init; }

    public required string Namespace { get; init; }

    public required string Severity { get; init; }

    /// <summary>One of <see cref="FindingStates"/>.</summary>
    public required string State { get; init; }

    public required DateTimeOffset FirstSeen { get; init; }

    public required DateTimeOffset LastSeen { get; init; }

    /// <summary>How many scans saw it.</summary>
    public required long Scans { get; init; }

    /// <summary>Why it is gone or suppressed, or why a scan that did not see it does not call it gone; absent where there is nothing to say.</summary>
    public string? Detail { get; init; }
}

/// <summary>The life of a finding.</summary>
internal static class FindingStates
{
    /// <summary>The last scan that could see it was the first to, or the first after it was gone.</summary>
    public const string New = "new";

    /// <summary>It was seen again.</summary>
    public const string Open = "open";

    /// <summary>A later scan read its place with its engine and did not find it.</summary>
    public const string Gone = "gone";

    /// <summary>An allow list takes it out.</summary>
    public const string Suppressed = "suppressed";

    public static IReadOnlyList<string> All { get; } = [New, Open, Gone, Suppressed];
}
