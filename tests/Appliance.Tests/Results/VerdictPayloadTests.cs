using System.Text;
using System.Text.Json;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Tests.Results;

/// <summary>A verdict is the same after it was remembered, but for rules that are gone.</summary>
public sealed class VerdictPayloadTests
{
    private static readonly Lazy<RuleIndex> Rules = new(() => new RuleIndex([new("ns", "r", 1, false, false), new("ns", "s", 2, false, false)]));

    private static readonly Verdict Full = new(
        [
            new(Of("r")),
            new(Of("s"), new InnerContent(["a.zip", "b\u001b\ud800.exe"], new string('a', 64), 7)),
            new(Of("r") with { Engine = "clamav", Rule = "Other" }),
        ],
        [new(Fault.Encrypted, "zip", 12, 34, "no password", ["a.zip", "c"])])
    {
        HangsOnHashLists = true,
    };

    [Fact]
    public void A_verdict_comes_back_as_it_was() => Assert.Equal(Json(Full), Json(VerdictPayload.Read(VerdictPayload.Write(Full, Rules)!, Rules)!));

    [Fact]
    public void Findings_of_rules_that_are_gone_or_changed_are_dropped()
    {
        byte[] payload = VerdictPayload.Write(Full, Rules)!;
        Verdict left = VerdictPayload.Read(payload, new(() => new RuleIndex([new("ns", "r", 1, false, false), new("ns", "s", 3, false, false)])))!;
        Assert.Equal(["r", "Other"], left.Findings.Select(f => f.Detection.Rule));
        Assert.Single(left.Gaps);
    }

    [Fact]
    public void A_clean_verdict_is_no_bytes_and_an_unsettled_or_foreign_one_is_not_kept()
    {
        Assert.Empty(VerdictPayload.Write(Verdict.Clean, Rules)!);
        Assert.Equal(Json(Verdict.Clean), Json(VerdictPayload.Read([], Rules)!));
        Assert.True(VerdictPayload.Read(VerdictPayload.Write(Verdict.Clean with { HangsOnHashLists = true }, Rules)!, Rules)!.HangsOnHashLists);
        Assert.Null(VerdictPayload.Write(Verdict.Clean with { IsSettled = false }, Rules));
        Assert.Null(VerdictPayload.Write(new Verdict([new(Of("unknown"))], []), Rules));
        Assert.Null(VerdictPayload.Write(new Verdict([new(Of("r") with { Tags = [new string('x', 200_000)] })], []), Rules));
    }

    [Theory]
    [InlineData("x")]
    [InlineData("null")]
    [InlineData("{}")]
    [InlineData("{\"findings\":null,\"gaps\":[]}")]
    [InlineData("{\"findings\":[null],\"gaps\":[]}")]
    [InlineData("{\"findings\":[{\"engine\":\"yara\"}],\"gaps\":[]}")]
    [InlineData("{\"findings\":[],\"gaps\":[null]}")]
    [InlineData("{\"findings\":[],\"gaps\":[],\"hangsOnHashLists\":7}")]
    public void What_is_no_verdict_is_not_believed(string json) => Assert.Null(VerdictPayload.Read(Encoding.UTF8.GetBytes(json), Rules));

    private static string Json(Verdict verdict) => JsonSerializer.Serialize(verdict);

    private static Detection Of(string rule) => new(
        YaraRules.EngineName, rule, "ns", ["t"], [new("a", new MetaValue("text")), new("a", new MetaValue(-5)), new("b", new MetaValue(truth: true))], Severity.High, [new("$a", 3, 4)], 9);
}
