using System.Text.Json;
using System.Text.Json.Nodes;

namespace Vmsweep.Rigs.Xen;

/// <summary>The database of a pool: objects of every class by their references, and what can be said of any of them.</summary>
internal sealed class XenObjects
{
    public const string Null = "OpaqueRef:NULL";

    private readonly Dictionary<string, Dictionary<string, JsonObject>> _classes = new(StringComparer.Ordinal);

    public static string NewReference() => $"OpaqueRef:{Guid.NewGuid()}";

    public Dictionary<string, JsonObject> Class(string name)
    {
        if (!_classes.TryGetValue(name, out Dictionary<string, JsonObject>? objects))
        {
            _classes.Add(name, objects = new Dictionary<string, JsonObject>(StringComparer.Ordinal));
        }

        return objects;
    }

    /// <summary>Makes an object; what every object has goes in by itself.</summary>
    public string Add(string name, JsonObject fields)
    {
        string reference = NewReference();
        fields["uuid"] ??= Guid.NewGuid().ToString();
        fields["name_label"] ??= "";
        Class(name).Add(reference, fields);
        return reference;
    }

    public JsonObject Get(string name, string reference) =>
        Class(name).TryGetValue(reference, out JsonObject? found) ? found : throw new XenFault("HANDLE_INVALID", name, reference);

    /// <summary>A call that every class knows.</summary>
    /// <param name="arguments">Without the session.</param>
    public JsonNode? Call(string name, string method, JsonElement[] arguments)
    {
        string Text(int i) => arguments[i].GetString()!;
        switch (method)
        {
            case "get_all_records":
                return new JsonObject(Class(name).Select(o => KeyValuePair.Create<string, JsonNode?>(o.Key, o.Value.DeepClone())));
            case "get_record":
                return Get(name, Text(0)).DeepClone();
            case "get_by_uuid":
                return Class(name).FirstOrDefault(o => o.Value["uuid"]!.GetValue<string>() == Text(0)).Key ?? throw new XenFault("UUID_INVALID", name, Text(0));
            case "get_by_name_label":
                return new JsonArray([.. Class(name).Where(o => o.Value["name_label"]!.GetValue<string>() == Text(0)).Select(o => JsonValue.Create(o.Key))]);
            case "add_tags":
                var tags = (JsonArray)Get(name, Text(0))["tags"]!;
                if (!tags.Any(t => t!.GetValue<string>() == Text(1)))
                {
                    tags.Add(Text(1));
                }

                return "";
            case "remove_from_other_config":
                ((JsonObject)Get(name, Text(0))["other_config"]!).Remove(Text(1));
                return "";
            case "add_to_other_config":
                var config = (JsonObject)Get(name, Text(0))["other_config"]!;
                if (!config.TryAdd(Text(1), Text(2)))
                {
                    throw new XenFault("MAP_DUPLICATE_KEY", name, Text(0), Text(1));
                }

                return "";
            default:
                throw new XenFault("MESSAGE_METHOD_UNKNOWN", $"{name}.{method}");
        }
    }
}

/// <summary>An error as the API has it: a code, and what goes with it.</summary>
internal sealed class XenFault(string code, params string[] details) : Exception("the pool answers " + code)
{
    public IReadOnlyList<string> Description => [code, .. details];
}
