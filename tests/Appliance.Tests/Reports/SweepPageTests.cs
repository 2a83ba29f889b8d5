using System.Net;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.Results.Store;

namespace Vmsweep.Appliance.Tests.Reports;

/// <summary>The page of a sweep's run in a real browser.</summary>
public sealed class SweepPageTests : IDisposable
{
    private const string Owned = "data-owned=";

    private readonly Browser _browser = new();

    public void Dispose() => _browser.Dispose();

    [Fact]
    [Trait("Category", "Slow")]
    public void Hostile_names_are_text_in_it_no_script_runs_and_no_request_leaves()
    {
        string name = string.Concat(HostileNames.Markup(_browser.Address));
        string page = Page(SweepReports.Named(name));
        string shown = _browser.Load(page);
        Assert.DoesNotContain(Owned, shown[..shown.IndexOf("<head", StringComparison.Ordinal)], StringComparison.Ordinal);
        foreach (string element in (string[])["<script", "<img", "<iframe", "<base", "<link", "<a ", "<image", "<math", "<meta http-equiv=\"refresh", "<svg onload"])
        {
            Assert.DoesNotContain(element, shown, StringComparison.OrdinalIgnoreCase);
        }

        // In every place where it may stand it can be read.
        Assert.Equal(Count(page, WebUtility.HtmlEncode(name)), Count(WebUtility.HtmlDecode(shown), name));
        Assert.True(Count(page, WebUtility.HtmlEncode(name)) >= 20);
        Assert.Equal(0, _browser.Connections);
        Assert.Contains("<rect", shown, StringComparison.Ordinal);
        Assert.Equal(2 + 4, Count(shown, "<table") + Count(shown, "<h2>") - 2);
    }

    /// <summary>The policy alone holds too; and without both, what this test looks for would be seen.</summary>
    [Fact]
    [Trait("Category", "Slow")]
    public void The_policy_holds_where_encoding_would_have_failed()
    {
        string page = Page(SweepReports.Named("NAME"));
        string name = string.Concat(HostileNames.Markup(_browser.Address).Where(n => !n.Contains("refresh", StringComparison.Ordinal)));
        string shown = _browser.Load(page.Replace("NAME", name, StringComparison.Ordinal));
        Assert.DoesNotContain(Owned, shown[..shown.IndexOf('>', shown.IndexOf("<html", StringComparison.Ordinal))], StringComparison.Ordinal);
        Assert.Contains("<script>document", shown, StringComparison.Ordinal);
        Assert.Equal(0, _browser.Requests);

        string open = _browser.Load(page.Replace("NAME", HostileNames.Markup(_browser.Address)[0], StringComparison.Ordinal).Replace("Content-Security-Policy", "X-Nothing", StringComparison.Ordinal));
        Assert.Contains(Owned, open[..open.IndexOf('>', open.IndexOf("<html", StringComparison.Ordinal))], StringComparison.Ordinal);
        Assert.True(_browser.Requests > 0);
    }

    [Fact]
    [Trait("Category", "Slow")]
    public void It_can_be_printed_and_its_style_is_used()
    {
        byte[] pdf = _browser.Print(Page(SweepReports.Named("a VM")));
        Assert.True(pdf.AsSpan().StartsWith("%PDF"u8));
        Assert.True(pdf.Length > 10_000);
        // A style that the policy refuses would leave the page without a width.
        string page = Page(SweepReports.Named("a VM"));
        string refused = page.Replace("sha256-", "sha256-A", StringComparison.Ordinal);
        Assert.NotEqual(pdf.Length, _browser.Print(refused).Length);
    }

    [Fact]
    public void It_is_one_page_without_anything_from_elsewhere()
    {
        string page = Page(SweepReports.Named("x", trend: 40));
        Assert.Contains("default-src 'none'; style-src 'sha256-", page, StringComparison.Ordinal);
        foreach (string from in (string[])["<script", "src=", "href=", "url(", "@import", " style=", "on"])
        {
            Assert.DoesNotContain(from == "on" ? " onclick" : from, page[page.IndexOf("</style>", StringComparison.Ordinal)..], StringComparison.OrdinalIgnoreCase);
        }

        foreach (string expected in (string[])["VMs scanned", "held", "Held back", "Against the runs before", "vmsweep", "12.5 s", "1:06:40", "90 of 100"])
        {
            Assert.Contains(expected, page.Replace("<title>", "vmsweep", StringComparison.Ordinal), StringComparison.Ordinal);
        }
    }

    internal static string Page(SweepReport run)
    {
        using var writer = new StringWriter { NewLine = "\n" };
        SweepText.Write(run, "html", writer, isTerminal: false);
        return writer.ToString();
    }

    private static int Count(string text, string part) => (text.Length - text.Replace(part, "", StringComparison.Ordinal).Length) / part.Length;
}
