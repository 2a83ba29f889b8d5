using Vmsweep.Appliance.Cli;
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
    public void Every_reader_says_what_it_reads()
    {
        Assert.All(SupportTable.Rows, r => Assert.True(r.Read.Length > 0 || r.Refused.Length > 0, r.Title));
        Assert.All(SupportTable.Rows, r => Assert.DoesNotContain('|', r.Title + r.Read + r.Refused));
        Assert.Equal(SupportTable.Rows.Count, SupportTable.Rows.Select(r => (r.Kind, r.Title)).Distinct().Count());
    }
}
