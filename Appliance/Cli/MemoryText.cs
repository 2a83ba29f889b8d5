using System.Globalization;
using Spectre.Console;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Cli;

/// <summary>Guest memory for people.</summary>
internal static class MemoryText
{
    /// <summary>For <c>info</c>.</summary>
    public static void Write(MemoryReport memory, TextWriter output)
    {
        output.WriteLine($"  memory {Printable.Of(memory.Path)}");
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"    {Printable.Of(memory.Format)}, {Sizes.Show(memory.SizeBytes)} ({memory.SizeBytes} bytes)"));
        foreach (RegionReport region in memory.Regions)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"    {Sizes.Show(region.SizeBytes)} at 0x{region.PhysicalAddress:x}"));
        }

        output.WriteLine("    system " + System(memory.System));
        foreach (string note in memory.Notes)
        {
            output.WriteLine("    " + Printable.Of(note));
        }
    }

    /// <summary>For <c>scan</c>.</summary>
    public static void Write(MemoryReport memory, IAnsiConsole console)
    {
        string coverage = memory.IsScanned
            ? $"{Sizes.Show(memory.Bytes.Read)} of {Sizes.Show(memory.Bytes.Seen)}{(memory.System is null ? "" : ", " + System(memory.System))}"
            : "left out by --memory-scan no";
        console.MarkupLineInterpolated($"  memory {Printable.Of(memory.Format)}, {Sizes.Show(memory.SizeBytes)}  {coverage}");
    }

    /// <summary>What stands behind a path; empty for files.</summary>
    public static string Of(MemoryPlace? place) => place switch
    {
        null => "",
        { Process: "unknown" } => " (process unknown)",
        _ => string.Create(CultureInfo.InvariantCulture, $" ({Printable.Of(place.Process)}, pid {place.Pid}, {place.VirtualAddress})"),
    };

    private static string System(MemorySystemReport? system) => system is null
        ? "unknown"
        : string.Create(CultureInfo.InvariantCulture, $"{Printable.Of(Name(system))}, {system.Processes} processes");

    /// <summary>Linux tells its compiler and builder too.</summary>
    private static string Name(MemorySystemReport system) => system.Version.Length > 0 ? system.Version.Split(" (", 2)[0] : system.Kind;
}
