namespace Vmsweep.Appliance.Reports;

/// <summary>The memory of a suspended VM or a snapshot, as part of its report.</summary>
internal sealed record MemoryReport
{
    public const int MostRegions = 1024;

    /// <summary>Host path of the file that tells.</summary>
    public required string Path { get; init; }

    /// <summary>Such as <c>vmware/vmem</c>, <c>libvirt-save/gzip</c>, <c>qemu</c>, <c>elf-core</c>.</summary>
    public string Format { get; init; } = "unknown";

    public long SizeBytes { get; init; }

    /// <summary>Stretches of physical memory; of more than <see cref="MostRegions"/> the first.</summary>
    public IReadOnlyList<RegionReport> Regions { get; init; } = [];

    /// <summary>Things to know that are no gaps.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>What it says of the system in it; absent where nothing was found, and in reports of scans where no finding asked for it.</summary>
    public MemorySystemReport? System { get; init; }

    /// <summary>False where the operator had it left out.</summary>
    public bool IsScanned { get; init; } = true;

    public ByteCounts Bytes { get; set; } = new();
}

internal sealed record RegionReport(long PhysicalAddress, long SizeBytes);

/// <param name="Kind"><c>linux</c> or <c>windows</c>.</param>
/// <param name="Version">As the kernel says it. Guest text.</param>
/// <param name="Processes">How many were found.</param>
internal sealed record MemorySystemReport(string Kind, string Version, int Processes);

/// <summary>Where a finding lies in memory. Addresses are written in hexadecimal, or are <c>unknown</c>.</summary>
/// <param name="PhysicalAddress">Of the first match.</param>
/// <param name="VirtualAddress">The same as its process knows it.</param>
/// <param name="Process">Its name; <c>kernel</c> on Linux and <c>System</c> on Windows where only the kernel has the page; <c>unknown</c>. Guest text.</param>
/// <param name="Pid">Absent where it is not known.</param>
internal sealed record MemoryPlace(string PhysicalAddress, string VirtualAddress, string Process, long? Pid)
{
    /// <summary>Others that have the same page; absent where there are none.</summary>
    public IReadOnlyList<MemoryMapping>? AlsoIn { get; init; }
}

internal sealed record MemoryMapping(string VirtualAddress, string Process, long Pid);
