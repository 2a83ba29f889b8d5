using System.Text;
using System.Text.Json;

namespace Vmsweep.Appliance.Connectors.Configuration;

/// <summary>A value of a configuration file with the line it stands on, so that what is wrong can be shown.</summary>
internal sealed class ConfigurationNode
{
    private const int MostDepth = 16;

    private ConfigurationNode(string file, int line, JsonTokenType type)
    {
        File = file;
        Line = line;
        Type = type;
    }

    public string File { get; }

    public int Line { get; }

    public JsonTokenType Type { get; }

    public string Text { get; private init; } = "";

    public Dictionary<string, ConfigurationNode> Members { get; } = new(StringComparer.Ordinal);

    public List<ConfigurationNode> Items { get; } = [];

    /// <exception cref="ConfigurationException">It is no JSON.</exception>
    public static ConfigurationNode Parse(string file, byte[] json)
    {
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true, MaxDepth = MostDepth });
        try
        {
            reader.Read();
            ConfigurationNode root = Read(ref reader, file, json);
            while (reader.Read())
            {
            }

            return root;
        }
        catch (JsonException e)
        {
            throw new ConfigurationException(file, (int)(e.LineNumber ?? 0) + 1, "no JSON: " + e.Message.Split(" LineNumber")[0]);
        }
    }

    public ConfigurationException Wrong(string why) => new(File, Line, why);

    /// <exception cref="ConfigurationException">It is no object, or has a member of another name.</exception>
    public void Allow(params ReadOnlySpan<string> names)
    {
        Expect(JsonTokenType.StartObject, "an object");
        foreach ((string name, ConfigurationNode member) in Members)
        {
            if (!names.Contains(name))
            {
                throw member.Wrong($"unknown key \"{name}\"; known are {string.Join(", ", names)}");
            }
        }
    }

    /// <exception cref="ConfigurationException">It is something else.</exception>
    public ConfigurationNode Expect(JsonTokenType type, string called) => Type == type ? this : throw Wrong($"{called} is expected here");

    /// <summary>A member's text; null where it is not there.</summary>
    /// <exception cref="ConfigurationException">It is something else.</exception>
    public string? String(string name) => Members.TryGetValue(name, out ConfigurationNode? member) ? member.Expect(JsonTokenType.String, $"\"{name}\": a text").Text : null;

    /// <exception cref="ConfigurationException">It is something else.</exception>
    public IReadOnlyList<string> Strings(string name) =>
        Members.TryGetValue(name, out ConfigurationNode? member)
            ? [.. member.Expect(JsonTokenType.StartArray, $"\"{name}\": a list of texts").Items.Select(i => i.Expect(JsonTokenType.String, "a text").Text)]
            : [];

    /// <summary>A member that is a path; null where it is not there.</summary>
    /// <exception cref="ConfigurationException">It is something else.</exception>
    public string? AbsolutePath(string name) =>
        String(name) is not { } path ? null
        : Path.IsPathRooted(path) ? Path.GetFullPath(path)
        : throw Members[name].Wrong($"\"{name}\" must be an absolute path");

    private static ConfigurationNode Read(ref Utf8JsonReader reader, string file, byte[] json)
    {
        int line = 1 + json.AsSpan(0, (int)reader.TokenStartIndex).Count((byte)'\n');
        var node = new ConfigurationNode(file, line, reader.TokenType) { Text = reader.TokenType is JsonTokenType.String ? reader.GetString()! : Encoding.UTF8.GetString(reader.ValueSpan) };
        if (reader.TokenType == JsonTokenType.StartObject)
        {
            while (reader.Read() && reader.TokenType != JsonTokenType.EndObject)
            {
                string name = reader.GetString()!;
                int at = 1 + json.AsSpan(0, (int)reader.TokenStartIndex).Count((byte)'\n');
                reader.Read();
                if (!node.Members.TryAdd(name, Read(ref reader, file, json)))
                {
                    throw new ConfigurationException(file, at, $"\"{name}\" stands here twice");
                }
            }
        }
        else if (reader.TokenType == JsonTokenType.StartArray)
        {
            while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
            {
                node.Items.Add(Read(ref reader, file, json));
            }
        }

        return node;
    }
}

/// <summary>The configuration is wrong at a line of a file.</summary>
internal sealed class ConfigurationException(string file, int line, string why) : IOException(FormattableString.Invariant($"{file}:{line}: {why}"));
