using System.Text;
using System.Text.Json;
using Vmsweep.Appliance.Leases;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Cli;

/// <summary>
/// The report as JSON: what <see cref="JsonSerializer"/> makes of all of it, byte for byte. The verdict stands before the targets, and is known after them: they wait
/// in a file, so that a scan of many VMs with many findings each holds those of one.
/// </summary>
internal sealed class JsonReport : IReportForm, IDisposable
{
    /// <summary>No string has a line break as it is, so that this stands in a report once.</summary>
    private const string NoTargets = "\n  \"targets\": []";

    private readonly TextWriter _output;
    private readonly HeldFolder _folder = new("report");
    private readonly FileStream _waiting;
    private readonly Utf8JsonWriter _targets;
    private readonly long _begin;

    public JsonReport(TextWriter output)
    {
        _output = output;
        _waiting = new FileStream(_folder.File("targets"), FileMode.CreateNew, FileAccess.ReadWrite);
        _targets = new Utf8JsonWriter(_waiting, new JsonWriterOptions { Indented = true, NewLine = "\n" });

        // As deep as they are in the report, and so as far indented.
        _targets.WriteStartObject();
        _targets.WriteStartArray("targets");
        _targets.Flush();
        _begin = _waiting.Position;
    }

    public void Add(TargetReport target)
    {
        JsonSerializer.Serialize(_targets, target, ReportJson.Default.TargetReport);
        _targets.Flush();
    }

    public void Finish(Report report)
    {
        _targets.WriteEndArray();
        _targets.Flush();
        ReadOnlySpan<char> all = JsonSerializer.Serialize(report with { Targets = [] }, ReportJson.Default.Report);
        int end = all.IndexOf(NoTargets, StringComparison.Ordinal) + NoTargets.Length;
        _output.Write(all[..(end - 1)]);
        _waiting.Position = _begin;
        using (var waited = new StreamReader(_waiting, Encoding.UTF8, detectEncodingFromByteOrderMarks: false, 64 << 10, leaveOpen: true))
        {
            Span<char> part = new char[32 << 10];
            for (int read; (read = waited.Read(part)) > 0;)
            {
                _output.Write(part[..read]);
            }
        }

        _output.WriteLine(all[end..]);
    }

    public void Dispose()
    {
        // It would complain of what a scan that failed has left open; nobody reads that.
        _targets.Reset(Stream.Null);
        _targets.Dispose();
        _waiting.Dispose();
        _folder.Dispose();
    }
}
