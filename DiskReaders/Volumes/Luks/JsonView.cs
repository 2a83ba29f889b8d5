using System.Globalization;
using System.Text.Json;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Luks;

/// <summary>An object of a LUKS2 JSON area with its path, so that each fault can say where it is.</summary>
internal readonly struct JsonView(JsonElement element, string path, long offset)
{
    /// <summary>Salts and digests: none is longer than a hash, here with much room.</summary>
    private const int MostBase64Chars = 1024;

    public string Path => path;

    public bool Has(string name) => element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out _);

    public JsonView Object(string name)
    {
        JsonElement found = Required(name);
        Require(found.ValueKind == JsonValueKind.Object, name);
        return new JsonView(found, path + name + ".", offset);
    }

    /// <summary>The numbered objects of a section, in the order of their numbers.</summary>
    public List<(int Number, JsonView View)> Numbered(string name)
    {
        JsonElement section = Required(name);
        Require(section.ValueKind == JsonValueKind.Object, name);
        List<(int Number, JsonView View)> found = [];
        foreach (JsonProperty property in section.EnumerateObject())
        {
            Require(int.TryParse(property.Name, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && property.Value.ValueKind == JsonValueKind.Object, name);
            if (found.Count >= LuksLimits.MostObjects)
            {
                throw new DiskFormatException(Fault.Limit, Luks2Metadata.Structure, offset, $"more than {LuksLimits.MostObjects} {path}{name}");
            }

            Require(!found.Exists(f => f.Number == number), name);
            found.Add((number, new JsonView(property.Value, $"{path}{name}.{number}.", offset)));
        }

        found.Sort((a, b) => a.Number.CompareTo(b.Number));
        return found;
    }

    public string Text(string name)
    {
        JsonElement found = Required(name);
        Require(found.ValueKind == JsonValueKind.String, name);
        return found.GetString()!;
    }

    public int Int(string name, int least, int most)
    {
        Require(Required(name) is { ValueKind: JsonValueKind.Number } found && found.TryGetInt32(out int value) && value >= least && value <= most, name);
        return Required(name).GetInt32();
    }

    /// <summary>"64-bit integers are stored as strings", section 3.4.</summary>
    public long Long(string name)
    {
        Require(long.TryParse(Text(name), NumberStyles.None, CultureInfo.InvariantCulture, out long value), name);
        return value;
    }

    public byte[] Base64(string name)
    {
        string text = Text(name);
        byte[] bytes = new byte[MostBase64Chars];
        int length = 0;
        Require(text.Length <= MostBase64Chars && Convert.TryFromBase64String(text, bytes, out length), name);
        return bytes[..length];
    }

    /// <summary>An array of texts; empty where there is none.</summary>
    public List<string> Texts(string name)
    {
        if (!Has(name))
        {
            return [];
        }

        JsonElement found = Required(name);
        Require(found.ValueKind == JsonValueKind.Array && found.GetArrayLength() <= LuksLimits.MostObjects, name);
        List<string> texts = [];
        foreach (JsonElement item in found.EnumerateArray())
        {
            Require(item.ValueKind == JsonValueKind.String, name);
            texts.Add(item.GetString()!);
        }

        return texts;
    }

    /// <summary>An array of numbers written as texts.</summary>
    public List<int> Numbers(string name)
    {
        List<int> numbers = [];
        foreach (string text in Texts(name))
        {
            Require(int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number), name);
            numbers.Add(number);
        }

        return numbers;
    }

    public void Require(bool condition, string name)
    {
        if (!condition)
        {
            throw new DiskFormatException(Fault.Corrupt, Luks2Metadata.Structure, offset, $"bad {path}{name}");
        }
    }

    private JsonElement Required(string name)
    {
        JsonElement found = default;
        Require(element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out found), name);
        return found;
    }
}
