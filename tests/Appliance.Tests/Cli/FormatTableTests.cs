using System.Text.Json;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Tests.Cli;

/// <summary>What README.md says is read is what the code's own lists say.</summary>
public sealed class FormatTableTests
{
    private const string Start = "<!-- formats: made by the tests, see FormatTableTests -->\n";
    private const string End = "<!-- /formats -->";

    [Fact]
    public void Readme_has_the_table_of_the_code()
    {
        string path = Path.Combine(RepositoryRoot.Path, "README.md");
        string readme = File.ReadAllText(path);
        int from = readme.IndexOf(Start, StringComparison.Ordinal) + Start.Length;
        int to = readme.IndexOf(End, StringComparison.Ordinal);
        if (Environment.GetEnvironmentVariable("VMSWEEP_ACCEPT_README") == "1")
        {
            File.WriteAllText(path, readme[..from] + FormatTable.Markdown() + readme[to..]);
            return;
        }

        Assert.Equal(FormatTable.Markdown(), readme[from..to]);
    }

    [Fact]
    public void Info_prints_what_the_README_has()
    {
        string readme = File.ReadAllText(Path.Combine(RepositoryRoot.Path, "README.md"));
        string[][] rows = [.. readme[(readme.IndexOf(Start, StringComparison.Ordinal) + Start.Length)..readme.IndexOf(End, StringComparison.Ordinal)]
            .Split('\n', StringSplitOptions.RemoveEmptyEntries).Skip(2).Select(l => l.Trim('|').Split('|').Select(c => c.Trim()).ToArray())];
        Assert.True(rows.Length > 30);

        (int status, string json, string error) = Launcher.Run("info", "--formats", "--format", "json");
        Assert.True(status == 0, error);
        JsonElement list = JsonDocument.Parse(json).RootElement;
        Assert.Equal("vmsweep.formats/1", list.GetProperty("schema").GetString());
        Assert.Equal(rows, list.GetProperty("formats").EnumerateArray().Select(r => ((string[])["kind", "title", "read", "refused"]).Select(n => r.GetProperty(n).GetString()).ToArray()));

        (status, string text, error) = Launcher.Run("info", "--formats");
        Assert.True(status == 0, error);
        List<string> expected = [];
        foreach (string[] row in rows)
        {
            string head = row[0] == "memory" ? "memory" : row[0] + "s";
            expected.AddRange(expected.Contains(head) ? [] : [head]);
            expected.Add("  " + row[1]);
            expected.AddRange(row[2].Length > 0 ? ["    read: " + row[2]] : []);
            expected.AddRange(row[3].Length > 0 ? [(row[2].Length > 0 ? "    a gap: " : "    ") + row[3]] : []);
        }

        Assert.Equal(expected, text.TrimEnd('\n').Split('\n'));
    }

    [Fact]
    public void What_is_named_as_unread_is_what_is_recognised()
    {
        SupportRow known = Assert.Single(SupportTable.Rows, r => r is { Kind: "container", Read: "" });
        foreach (string name in (string[])["QED", "Expert Witness (E01)", "QEMU copy on write, version 1 (qcow)", "Advanced Forensic Format", "Apple disk image"])
        {
            Assert.Contains(name, known.Refused, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Every_reader_says_what_it_reads()
    {
        Assert.All(SupportTable.Rows, r => Assert.True(r.Read.Length > 0 || r.Refused.Length > 0, r.Title));
        Assert.All(SupportTable.Rows, r => Assert.DoesNotContain('|', r.Title + r.Read + r.Refused));
        Assert.Equal(SupportTable.Rows.Count, SupportTable.Rows.Select(r => (r.Kind, r.Title)).Distinct().Count());
    }
}
