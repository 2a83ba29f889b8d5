using System.Diagnostics.CodeAnalysis;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Lvm2;

/// <summary>A value of LVM2's text: a string or a number.</summary>
/// <param name="Text">The string; null for a number.</param>
internal readonly record struct ConfigItem(string? Text, long Number);

/// <summary>A section of LVM2's text. lvm.conf(5), "SYNTAX", is its grammar. What it lacks or has wrong is <see cref="Fault.Corrupt"/>.</summary>
internal sealed class ConfigSection(string name, int offset)
{
    private readonly Dictionary<string, ConfigItem[]> _values = new(StringComparer.Ordinal);
    private readonly Dictionary<string, ConfigSection> _sections = new(StringComparer.Ordinal);
    private readonly List<ConfigSection> _ordered = [];

    public string Name { get; } = name;

    /// <summary>Where in the text it begins.</summary>
    public int Offset { get; } = offset;

    /// <summary>In the order of the text.</summary>
    public IReadOnlyList<ConfigSection> Sections => _ordered;

    /// <summary>False when there is a section of that name.</summary>
    public bool TryAdd(ConfigSection section)
    {
        if (!_sections.TryAdd(section.Name, section))
        {
            return false;
        }

        _ordered.Add(section);
        return true;
    }

    /// <summary>False when there is a value of that name.</summary>
    public bool TryAdd(string key, ConfigItem[] value) => _values.TryAdd(key, value);

    public ConfigSection? Find(string name) => _sections.GetValueOrDefault(name);

    public bool Has(string key) => _values.ContainsKey(key);

    public bool TryList(string key, [NotNullWhen(true)] out ConfigItem[]? value) => _values.TryGetValue(key, out value);

    public ConfigItem[] List(string key) => _values.TryGetValue(key, out ConfigItem[]? value) ? value : throw Bad(key);

    public string Text(string key) => OptionalText(key) ?? throw Bad(key);

    /// <summary>Null where there is no such value.</summary>
    public string? OptionalText(string key) =>
        !_values.TryGetValue(key, out ConfigItem[]? value) ? null : value is [{ Text: { } text }] ? text : throw Bad(key);

    /// <summary>A number within bounds, which include both ends.</summary>
    public long Number(string key, long least, long most) =>
        _values.TryGetValue(key, out ConfigItem[]? value) && value is [{ Text: null, Number: var number }] && number >= least && number <= most ? number : throw Bad(key);

    /// <summary>As <see cref="Number"/>, or <paramref name="otherwise"/> where there is no such value.</summary>
    public long OptionalNumber(string key, long least, long most, long otherwise) => _values.ContainsKey(key) ? Number(key, least, most) : otherwise;

    /// <summary>True when the list of strings has the word; a list that is not there has none.</summary>
    public bool ListHas(string key, string word) => _values.TryGetValue(key, out ConfigItem[]? value) && Array.Exists(value, v => v.Text == word);

    public DiskFormatException Bad(string key) => new(Fault.Corrupt, ConfigText.Structure, Offset, $"{Name}: no {key}, or an impossible one");
}
