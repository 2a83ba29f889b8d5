namespace Vmsweep.Appliance.Results;

/// <summary>Which findings are asked for. What is null does not matter.</summary>
internal sealed record FindingFilter
{
    /// <summary>A VM's id or name.</summary>
    public string? Vm { get; init; }

    public string? Tenant { get; init; }

    /// <summary>This severity and those above.</summary>
    public string? Severity { get; init; }

    /// <summary>A rule's name; <c>*</c> stands for any characters.</summary>
    public string? Rule { get; init; }

    /// <summary>Of <see cref="Reports.FindingStates.All"/>; empty: all of them.</summary>
    public IReadOnlyList<string> States { get; init; } = [];

    /// <summary>Seen, or changed in state, since.</summary>
    public DateTimeOffset? Since { get; init; }

    /// <summary>Recorded by this run of a sweep.</summary>
    public string? RunId { get; init; }

    public byte[]? Sha256 { get; init; }

    public int Most { get; init; } = 10_000;
}
