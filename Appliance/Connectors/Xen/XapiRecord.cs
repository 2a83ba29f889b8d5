using System.Globalization;
using System.Text.Json;

namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>An object as the pool tells of it. What is missing, or of another kind than it must be, is empty: names in an inventory may be anything.</summary>
internal readonly struct XapiRecord(JsonElement value)
{
    private const string Null = "OpaqueRef:NULL";

    public bool IsObject => value.ValueKind == JsonValueKind.Object;

    public static string TextOf(JsonElement element)
    {
        if (element.ValueKind != JsonValueKind.String)
        {
            return element.ValueKind == JsonValueKind.Number ? element.GetRawText() : "";
        }

        try
        {
            return element.GetString()!;
        }
        catch (InvalidOperationException)
        {
            // Half of a character by an escape: as it was written.
            return element.GetRawText()[1..^1];
        }
    }

    public string Text(string name) => Member(name) is { } member ? TextOf(member) : "";

    public bool Flag(string name) => Member(name)?.ValueKind == JsonValueKind.True;

    /// <summary>0 where there is none: integers come as numbers, from some versions as texts.</summary>
    public long Number(string name) => long.TryParse(Text(name), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number) ? number : 0;

    /// <summary>A reference to another object; null where it leads nowhere.</summary>
    public string? Link(string name) => Text(name) is { Length: > 0 } reference && reference != Null ? reference : null;

    public IReadOnlyList<string> Texts(string name) => Member(name) is { ValueKind: JsonValueKind.Array } list ? [.. list.EnumerateArray().Select(TextOf)] : [];

    /// <summary>A map's keys with their values.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Map(string name) =>
        Member(name) is { ValueKind: JsonValueKind.Object } map ? [.. map.EnumerateObject().Select(p => KeyValuePair.Create(NameOf(p), TextOf(p.Value)))] : [];

    public string InMap(string name, string key) => Map(name).FirstOrDefault(p => p.Key == key).Value ?? "";

    /// <summary>Objects by their references, as <c>get_all_records</c> gives them.</summary>
    public static Dictionary<string, XapiRecord> Table(JsonElement answer)
    {
        var table = new Dictionary<string, XapiRecord>(StringComparer.Ordinal);
        foreach (JsonProperty property in answer.ValueKind == JsonValueKind.Object ? answer.EnumerateObject() : default)
        {
            table.TryAdd(NameOf(property), new XapiRecord(property.Value));
        }

        return table;
    }

    /// <summary>Null where there is none.</summary>
    public JsonElement? Member(string name)
    {
        try
        {
            return value.ValueKind == JsonValueKind.Object && value.TryGetProperty(name, out JsonElement member) ? member : null;
        }
        catch (InvalidOperationException)
        {
            // A name beside it has half of a character.
            return null;
        }
    }

    private static string NameOf(JsonProperty property)
    {
        try
        {
            return property.Name;
        }
        catch (InvalidOperationException)
        {
            return "\uFFFD";
        }
    }
}
