using System.Globalization;
using System.Xml;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Xva;

/// <summary>A disk of an export.</summary>
/// <param name="Reference">The VDI's reference in the export, which is also the folder of its chunks: <c>Ref:4</c>.</param>
/// <param name="SizeBytes"><c>virtual_size</c>.</param>
internal sealed record XvaDisk(string Reference, long SizeBytes);

/// <summary>
/// <c>ova.xml</c>: the objects of an exported VM as XML-RPC values. Spec: xapi, "VM import/export", export version 2: a struct with
/// <c>objects</c>, an array of structs with <c>class</c>, <c>id</c> and <c>snapshot</c>, the last a struct of the object's fields.
/// </summary>
internal sealed class XvaDescriptor
{
    /// <summary>Real ones have 20 to 200 KiB.</summary>
    public const int MostBytes = 16 << 20;

    private const string Structure = "ova.xml";
    private const int MostDepth = 64;
    private const int MostValues = 1 << 18;
    private const int MostDisks = 1024;

    private int _values;

    private XvaDescriptor()
    {
    }

    public string VmName { get; private set; } = "";

    /// <summary>By <c>userdevice</c>; those of the VM's snapshots behind its own.</summary>
    public List<XvaDisk> Disks { get; } = [];

    /// <exception cref="DiskFormatException">The bytes are no descriptor of an export.</exception>
    public static XvaDescriptor Parse(byte[] bytes)
    {
        var descriptor = new XvaDescriptor();
        try
        {
            using var stream = new MemoryStream(bytes, writable: false);
            using XmlReader reader = XmlReader.Create(stream, new XmlReaderSettings
            {
                DtdProcessing = DtdProcessing.Prohibit,
                XmlResolver = null,
                IgnoreComments = true,
                IgnoreProcessingInstructions = true,
                IgnoreWhitespace = true,
                MaxCharactersInDocument = MostBytes,
            });
            reader.MoveToContent();
            if (reader.LocalName == "appliance")
            {
                throw new DiskFormatException(Fault.Unsupported, Structure, 0, "an export of XenServer 3, whose chunks are packed one by one");
            }

            descriptor.Take(descriptor.Value(reader, 0));
        }
        catch (XmlException e)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, 0, e.Message);
        }

        return descriptor;
    }

    private void Take(object root)
    {
        List<object> objects = (root as Dictionary<string, object>)?.GetValueOrDefault("objects") as List<object>
            ?? throw new DiskFormatException(Fault.Corrupt, Structure, 0, "no objects");
        Dictionary<string, (string Class, Dictionary<string, object> Fields)> all = new(StringComparer.Ordinal);
        foreach (Dictionary<string, object> item in objects.OfType<Dictionary<string, object>>())
        {
            if (item.GetValueOrDefault("snapshot") is Dictionary<string, object> fields && Text(item, "id") is { Length: > 0 } id)
            {
                all.TryAdd(id, (Text(item, "class"), fields));
            }
        }

        List<(bool IsSnapshot, string Id, Dictionary<string, object> Fields)> vms =
            [.. all.Where(o => o.Value.Class == "VM").Select(o => (Text(o.Value.Fields, "is_a_snapshot") == "1", o.Key, o.Value.Fields)).OrderBy(v => v.Item1)];
        VmName = vms.Count > 0 ? Text(vms[0].Fields, "name_label") : "";
        IEnumerable<(int Vm, int Device, string Vdi)> drives = all.Values
            .Where(o => o.Class == "VBD" && Text(o.Fields, "type") == "Disk")
            .Select(o => (Math.Max(0, vms.FindIndex(v => v.Id == Text(o.Fields, "VM"))), Device(Text(o.Fields, "userdevice")), Text(o.Fields, "VDI")))
            .OrderBy(d => d.Item1).ThenBy(d => d.Item2);
        HashSet<string> seen = new(StringComparer.Ordinal);
        foreach ((_, _, string reference) in drives)
        {
            // A drive without a disk names OpaqueRef:NULL.
            if (!all.TryGetValue(reference, out (string Class, Dictionary<string, object> Fields) vdi) || vdi.Class != "VDI" || !seen.Add(reference))
            {
                continue;
            }

            if (!long.TryParse(Text(vdi.Fields, "virtual_size"), NumberStyles.None, CultureInfo.InvariantCulture, out long size) || size == 0)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, 0, $"bad virtual_size of {reference}");
            }

            if (Disks.Count >= MostDisks)
            {
                throw new DiskFormatException(Fault.Limit, Structure, 0, $"more than {MostDisks} disks");
            }

            Disks.Add(new XvaDisk(reference, size));
        }
    }

    /// <summary>The value that the reader stands on: text, a list, or a dictionary. Leaves the reader behind it.</summary>
    private object Value(XmlReader reader, int depth)
    {
        if (depth > MostDepth || ++_values > MostValues)
        {
            throw new DiskFormatException(Fault.Limit, Structure, 0, "values nested too deeply, or too many of them");
        }

        if (reader.NodeType != XmlNodeType.Element || reader.LocalName != "value")
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, 0, "no XML-RPC value");
        }

        if (reader.IsEmptyElement)
        {
            reader.Read();
            return "";
        }

        object value = "";
        reader.Read();
        while (reader.NodeType != XmlNodeType.EndElement)
        {
            if (reader.NodeType != XmlNodeType.Element)
            {
                value = reader.HasValue ? reader.Value : value;
                Advance(reader);
                continue;
            }

            value = reader.LocalName switch
            {
                "struct" => Struct(reader, depth),
                "array" => Array(reader, depth),
                _ => reader.ReadElementContentAsString(),
            };
        }

        reader.ReadEndElement();
        return value;
    }

    private Dictionary<string, object> Struct(XmlReader reader, int depth)
    {
        Dictionary<string, object> fields = new(StringComparer.Ordinal);
        foreach (bool _ in Children(reader, "member"))
        {
            string name = "";
            foreach (bool field in Children(reader, null))
            {
                if (reader.LocalName == "name")
                {
                    name = reader.ReadElementContentAsString();
                }
                else
                {
                    fields[name] = Value(reader, depth + 1);
                }
            }
        }

        return fields;
    }

    private List<object> Array(XmlReader reader, int depth)
    {
        List<object> items = [];
        foreach (bool _ in Children(reader, "data"))
        {
            foreach (bool item in Children(reader, "value"))
            {
                items.Add(Value(reader, depth + 1));
            }
        }

        return items;
    }

    /// <summary>Stands on each child element in turn, which the caller reads to its end; then behind the element itself.</summary>
    private static IEnumerable<bool> Children(XmlReader reader, string? name)
    {
        if (reader.IsEmptyElement)
        {
            Advance(reader);
            yield break;
        }

        Advance(reader);
        while (reader.NodeType != XmlNodeType.EndElement)
        {
            if (reader.NodeType != XmlNodeType.Element)
            {
                Advance(reader);
                continue;
            }

            if (name is not null && reader.LocalName != name)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, 0, $"no {name} where one belongs");
            }

            yield return true;
        }

        reader.ReadEndElement();
    }

    private static void Advance(XmlReader reader)
    {
        if (!reader.Read())
        {
            throw new DiskFormatException(Fault.Truncated, Structure, 0, "it ends within a value");
        }
    }

    private static string Text(Dictionary<string, object> fields, string name) => fields.GetValueOrDefault(name) as string ?? "";

    private static int Device(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int device) ? device : int.MaxValue;
}
