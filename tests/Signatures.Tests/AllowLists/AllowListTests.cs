using System.Text;
using Vmsweep.Signatures.AllowLists;

namespace Vmsweep.Signatures.Tests.AllowLists;

public sealed class AllowListTests
{
    private const string Hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    private static readonly DateTimeOffset Now = new(2026, 6, 1, 12, 0, 0, TimeSpan.Zero);

    private static (IReadOnlyList<AllowEntry> Entries, List<AllowFault> Faults) Read(string json)
    {
        List<AllowFault> faults = [];
        return (AllowList.Parse(Encoding.UTF8.GetBytes(json), "allow.json", Now, faults).Entries, faults);
    }

    private static AllowList List(string criteria)
    {
        (IReadOnlyList<AllowEntry> entries, List<AllowFault> faults) = Read(Json(criteria));
        Assert.Empty(faults);
        return new AllowList(entries);
    }

    private static string Json(string criteria) =>
        $$"""{ "schema": "vmsweep.allow/1", "entries": [ { {{criteria}}, "who": "anna", "why": "ticket 7", "until": "2026-12-31" } ] }""";

    private static AllowSubject Subject(params string[] paths) => new(Hash, paths.Length > 0 ? paths : ["v1/a/b.exe"], "packed_upx", ["pua", "packer"], "564d1122", "web 01");

    [Theory]
    [InlineData("v1/Windows/x.dll", "v1/Windows/x.dll", true)]
    [InlineData("v1/Windows/x.dll", "v1/windows/x.dll", false)]
    [InlineData("v1/Windows/x.dll", "v1/Windows/x.dll.", false)]
    [InlineData("v1/Windows/x.dll", "v1/Windows/x.dll ", false)]
    [InlineData("v1/Windows/x.dll", "v1/Windows/x.dll:evil", false)]
    [InlineData("v1/Windows/*", "v1/Windows/x.dll", true)]
    [InlineData("v1/Windows/*", "v1/Windows/sub/x.dll", false)]
    [InlineData("v1/Windows/*", "v1/Windows/x.dll:evil", false)]
    [InlineData("v1/Windows/*:*", "v1/Windows/x.dll:evil", true)]
    [InlineData("v1/Windows/**", "v1/Windows/sub/x.dll", true)]
    [InlineData("v1/Windows/**", "v1/Windows", false)]
    [InlineData("v1/Windows/**", "v1/WindowsEvil/x.dll", false)]
    [InlineData("v1/Windows/**", "d1v1/Windows/x.dll", false)]
    [InlineData("v*/opt/**/x", "v3/opt/x", true)]
    [InlineData("v*/opt/**/x", "v3/opt/a/b/x", true)]
    [InlineData("v*/opt/**/x", "v3/opt/ax", false)]
    [InlineData("v1/a?.exe", "v1/ab.exe", true)]
    [InlineData("v1/a?.exe", "v1/a😀.exe", true)]
    [InlineData("v1/a?.exe", "v1/a/.exe", false)]
    [InlineData("v1/a[*].exe", "v1/a*.exe", true)]
    [InlineData("v1/a[*].exe", "v1/ab.exe", false)]
    [InlineData("v1/[[]x[]].exe", "v1/[x].exe", true)]
    [InlineData(@"v1/a\nb", @"v1/a\nb", true)]
    [InlineData(@"v1/a\nb", @"v1/a\\nb", false)]
    [InlineData("v1/a.exe", "v1/aXexe", false)]
    [InlineData("v1/(a|b)+$", "v1/(a|b)+$", true)]
    public void A_path_pattern_means_what_it_says_and_no_more(string pattern, string path, bool isAllowed) =>
        Assert.Equal(isAllowed, List($"\"path\": {System.Text.Json.JsonSerializer.Serialize(pattern)}").Find(Subject(path)) is not null);

    [Fact]
    public void Case_differs_unless_the_entry_says_otherwise()
    {
        Assert.NotNull(List("\"path\": \"v1/WINDOWS/**\", \"ignoreCase\": true").Find(Subject("v1/Windows/x.dll")));
        Assert.Null(List("\"path\": \"v1/WINDOWS/**\"").Find(Subject("v1/Windows/x.dll")));
    }

    [Fact]
    public void Every_name_of_a_content_must_be_allowed()
    {
        AllowList list = List("\"path\": \"v1/ok/**\"");
        Assert.NotNull(list.Find(Subject("v1/ok/a", "v1/ok/b")));
        Assert.Null(list.Find(Subject("v1/ok/a", "v1/startup/b")));
    }

    [Theory]
    [InlineData("\"sha256\": \"0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef\"", true)]
    [InlineData("\"sha256\": \"1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"", false)]
    [InlineData("\"rule\": \"packed_upx\"", true)]
    [InlineData("\"rule\": \"packed_*\"", true)]
    [InlineData("\"rule\": \"Packed_upx\"", false)]
    [InlineData("\"tag\": \"pua\"", true)]
    [InlineData("\"tag\": \"pu\"", false)]
    [InlineData("\"vm\": \"web 01\"", true)]
    [InlineData("\"vm\": \"web*\"", true)]
    [InlineData("\"vm\": \"564d1122\"", true)]
    [InlineData("\"vm\": \"web\"", false)]
    [InlineData("\"rule\": \"packed_upx\", \"vm\": \"db*\"", false)]
    [InlineData("\"rule\": \"packed_upx\", \"vm\": \"web*\", \"tag\": \"packer\", \"path\": \"v1/**\", \"sha256\": \"" + Hash + "\"", true)]
    [InlineData("\"rule\": \"packed_upx\", \"path\": \"v2/**\"", false)]
    public void All_that_an_entry_names_must_fit(string criteria, bool isAllowed) => Assert.Equal(isAllowed, List(criteria).Find(Subject()) is not null);

    [Fact]
    public void A_content_without_a_hash_is_not_allowed_by_one() =>
        Assert.Null(List($"\"sha256\": \"{Hash}\"").Find(Subject() with { Sha256 = "" }));

    [Theory]
    [InlineData("{ \"rule\": \"x\", \"why\": \"w\", \"until\": \"2026-12-31\" }", "without \"who\"")]
    [InlineData("{ \"rule\": \"x\", \"who\": \" \", \"why\": \"w\", \"until\": \"2026-12-31\" }", "without \"who\"")]
    [InlineData("{ \"rule\": \"x\", \"who\": \"w\", \"until\": \"2026-12-31\" }", "without \"why\"")]
    [InlineData("{ \"rule\": \"x\", \"who\": \"w\", \"why\": \"w\" }", "without \"until\"")]
    [InlineData("{ \"rule\": \"x\", \"who\": \"w\", \"why\": \"w\", \"until\": \"2026-05-31\" }", "it ended with 2026-05-31")]
    [InlineData("{ \"rule\": \"x\", \"who\": \"w\", \"why\": \"w\", \"until\": \"2026-06-01T12:00:00Z\" }", "it ended with")]
    [InlineData("{ \"rule\": \"x\", \"who\": \"w\", \"why\": \"w\", \"until\": \"next year\" }", "no date")]
    [InlineData("{ \"rule\": \"x\", \"who\": \"w\", \"why\": \"w\", \"until\": 2027 }", "allow entry")]
    [InlineData("{ \"who\": \"w\", \"why\": \"w\", \"until\": \"2026-12-31\" }", "names none of")]
    [InlineData("{ \"sha256\": \"abc\", \"who\": \"w\", \"why\": \"w\", \"until\": \"2026-12-31\" }", "64 hexadecimal digits")]
    [InlineData("{ \"path\": \"v1/../x\", \"who\": \"w\", \"why\": \"w\", \"until\": \"2026-12-31\" }", "\"..\"")]
    [InlineData("{ \"path\": \"v1/[a-z]\", \"who\": \"w\", \"why\": \"w\", \"until\": \"2026-12-31\" }", "no other classes")]
    [InlineData("{ \"path\": \"\", \"who\": \"w\", \"why\": \"w\", \"until\": \"2026-12-31\" }", "characters")]
    [InlineData("{ \"rule\": \"x\", \"paht\": \"y\", \"who\": \"w\", \"why\": \"w\", \"until\": \"2026-12-31\" }", "paht")]
    [InlineData("{ \"rule\": \"x\", \"rule\": \"*\", \"who\": \"w\", \"why\": \"w\", \"until\": \"2026-12-31\" }", "allow entry")]
    [InlineData("null", "empty")]
    [InlineData("7", "allow entry")]
    public void An_entry_that_is_incomplete_or_over_is_left_out_with_its_line_and_the_others_stay(string entry, string text)
    {
        (IReadOnlyList<AllowEntry> entries, List<AllowFault> faults) = Read($$"""
            { "schema": "vmsweep.allow/1", "entries": [
              { "rule": "first", "who": "a", "why": "b", "until": "2026-06-01" },

              {{entry}},
              { "rule": "last", "who": "a", "why": "b", "until": "2026-12-31T10:00:00+02:00" }
            ] }
            """);
        Assert.Equal(2, entries.Count);
        Assert.Equal("allow.json:2", entries[0].Where);
        AllowFault fault = Assert.Single(faults);
        Assert.Equal(("allow.json", 4), (fault.File, fault.Line));
        Assert.Contains(text, fault.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", 1)]
    [InlineData("[]", 1)]
    [InlineData("{ \"schema\": \"vmsweep.allow/1\" }", 0)]
    [InlineData("{ \"entries\": [] }", 0)]
    [InlineData("{ \"schema\": \"vmsweep.allow/2\", \"entries\": [] }", 0)]
    [InlineData("{ \"schema\": \"vmsweep.allow/1\",\n\"entries\": [ { ] }", 2)]
    [InlineData("{ \"schema\": \"vmsweep.allow/1\",\n\"entires\": [] }", 2)]
    [InlineData("{ \"schema\": \"vmsweep.allow/1\", \"entries\": [], \"entries\": [] }", 1)]
    [InlineData("{ \"schema\": \"vmsweep.allow/1\", \"entries\": [] } x", 1)]
    public void What_is_no_list_allows_nothing(string json, int line)
    {
        (IReadOnlyList<AllowEntry> entries, List<AllowFault> faults) = Read(json);
        Assert.Empty(entries);
        Assert.Equal(line, Assert.Single(faults).Line);
    }

    [Fact]
    public void Hostile_patterns_and_names_take_no_time()
    {
        AllowList list = List($"\"path\": \"{string.Concat(Enumerable.Repeat("**a*", 200))}z\"");
        Assert.Null(list.Find(Subject("v1/" + new string('a', 100_000))));
        string[] bombs = ["{ \"schema\": \"vmsweep.allow/1\", \"entries\": " + new string('[', 50_000), "{ \"schema\": \"vmsweep.allow/1\", \"entries\": [" + string.Join(',', Enumerable.Repeat("{}", 30_000)) + "] }"];
        Assert.All(bombs, b => Assert.Empty(Read(b).Entries));
    }
}
