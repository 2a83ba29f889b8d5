using System.Globalization;
using System.Text.Json;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Cli;

/// <summary>A run of a sweep for people, and as JSON.</summary>
internal static class SweepText
{
    public static void Write(SweepReport run, string format, TextWriter writer)
    {
        if (format == "json")
        {
            writer.WriteLine(JsonSerializer.Serialize(run, SweepJson.Default.SweepReport));
            return;
        }

        writer.WriteLine($"{run.RunId}  {run.State}{(run.Detail is { } detail ? ": " + Printable.Of(detail) : "")}");
        foreach (SweepVmReport vm in run.Vms)
        {
            string counts = vm.State == SweepVmStates.Done ? string.Create(CultureInfo.InvariantCulture, $"  {Sizes.Show(vm.Bytes.Read)} of {Sizes.Show(vm.Bytes.Seen)}, {vm.Findings} findings, {vm.Gaps} gaps") : "";
            writer.WriteLine($"  {vm.Verdict ?? vm.State,-10}  {Printable.Of(vm.Name)}{counts}{(vm.Detail is { } why ? ": " + Printable.Of(why) : "")}");
            foreach (GapReasonReport gap in vm.State == SweepVmStates.Done ? vm.GapReasons : [])
            {
                writer.WriteLine(string.Create(CultureInfo.InvariantCulture, $"              {gap.Count} {gap.Fault} ({Printable.Of(gap.Structure)}): {Printable.Of(gap.Path)}: {Printable.Of(gap.Detail)}"));
            }
        }

        foreach (HeldBackReport held in run.HeldBack)
        {
            writer.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  held back on {Printable.Of(held.Datastore)}: slowed {held.SlowedSeconds:0.0} s, stopped {held.StoppedSeconds:0.0} s; {Printable.Of(held.Reason)}"));
        }

        SweepTotals totals = run.Totals;
        writer.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{totals.Done} of {totals.Vms} VMs, {totals.FilesScanned} of {totals.FilesSeen} files, {Sizes.Show(totals.BytesRead)} of {Sizes.Show(totals.BytesSeen)}"));
        writer.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{run.Verdict.ToUpperInvariant()}: {totals.Findings} findings, {totals.Gaps} gaps"));
    }
}
