using System.Text.Json;
using System.Text.Json.Serialization;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Cli;

/// <summary>What this program reads, recognises and refuses: <c>info --formats</c> and the table of README.md, from the same list.</summary>
internal static class FormatTable
{
    public static void Write(string format, TextWriter output)
    {
        if (format == "json")
        {
            output.WriteLine(JsonSerializer.Serialize(new FormatList(SupportTable.Rows), FormatJson.Default.FormatList));
            return;
        }

        foreach (IGrouping<string, SupportRow> kind in SupportTable.Rows.GroupBy(r => r.Kind))
        {
            output.WriteLine(kind.Key == "memory" ? kind.Key : kind.Key + "s");
            foreach (SupportRow row in kind)
            {
                output.WriteLine("  " + row.Title);
                if (row.Read.Length > 0)
                {
                    output.WriteLine("    read: " + row.Read);
                }

                if (row.Refused.Length > 0)
                {
                    output.WriteLine((row.Read.Length > 0 ? "    a gap: " : "    ") + row.Refused);
                }
            }
        }
    }

    /// <summary>As README.md has it.</summary>
    public static string Markdown() => string.Concat(
        SupportTable.Rows.Select(r => $"| {r.Kind} | {r.Title} | {r.Read} | {r.Refused} |\n").Prepend("| | format | read | reported as a gap |\n|---|---|---|---|\n"));
}

internal sealed record FormatList(IReadOnlyList<SupportRow> Formats)
{
    public string Schema { get; init; } = "vmsweep.formats/1";
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(FormatList))]
internal sealed partial class FormatJson : JsonSerializerContext;
