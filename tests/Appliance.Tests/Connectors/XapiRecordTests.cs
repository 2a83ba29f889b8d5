using System.Text.Json;
using Vmsweep.Appliance.Connectors.Xen;

namespace Vmsweep.Appliance.Tests.Connectors;

public sealed class XapiRecordTests
{
    [Theory]
    [InlineData("""{"uuid":"a","\ud800uuid":1}""")]
    [InlineData("""{"\ud800uuid":1,"uuid":"\udc00"}""")]
    [InlineData("""{"\ud800\ud800":{},"other":{"\ud800":"\udfff"}}""")]
    [InlineData("""["uuid"]""")]
    [InlineData("null")]
    public void Halves_of_characters_in_names_and_values_are_no_fault(string json)
    {
        using var document = JsonDocument.Parse(json);
        var record = new XapiRecord(document.RootElement);
        Assert.NotNull(record.Text("uuid"));
        Assert.Equal(0, record.Number("uuid"));
        Assert.False(record.Flag("uuid"));
        Assert.Empty(record.Texts("uuid"));
        Assert.NotNull(record.InMap("other", "x"));
        Assert.NotNull(XapiRecord.Table(document.RootElement));
    }
}
