using System.Text;
using System.Xml.Linq;
using Vmsweep.Appliance.Connectors.VSphere;

namespace Vmsweep.Appliance.Connectors.HyperV.Wmi;

/// <summary>An object as the text of a parameter. Spec: DSP0201, "INSTANCE".</summary>
internal static class EmbeddedInstance
{
    /// <param name="properties">Those that are set; a list makes an array.</param>
    public static string Write(string name, params IReadOnlyList<(string Name, string Type, object Value)> properties) => new XElement(
        "INSTANCE",
        new XAttribute("CLASSNAME", name),
        properties.Select(p => p.Value is IReadOnlyList<string> values
            ? new XElement("PROPERTY.ARRAY", new XAttribute("NAME", p.Name), new XAttribute("TYPE", p.Type), new XElement("VALUE.ARRAY", values.Select(v => new XElement("VALUE", Sayable(v)))))
            : new XElement("PROPERTY", new XAttribute("NAME", p.Name), new XAttribute("TYPE", p.Type), new XElement("VALUE", Sayable((string)p.Value))))).ToString(SaveOptions.DisableFormatting);

    /// <summary>Values by the property's name; those without one are not there.</summary>
    /// <exception cref="InvalidDataException">It is no such text.</exception>
    public static IReadOnlyDictionary<string, string> Read(string text)
    {
        XElement root = VimXml.Document(Encoding.UTF8.GetBytes(text));
        var values = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (XElement property in root.Elements("PROPERTY"))
        {
            if ((string?)property.Attribute("NAME") is { } name && property.Element("VALUE") is { } value)
            {
                values.TryAdd(name, value.Value);
            }
        }

        return values;
    }

    /// <summary>Without what XML cannot say.</summary>
    private static string Sayable(string text) => string.Concat(text.Select(c => System.Xml.XmlConvert.IsXmlChar(c) || char.IsSurrogate(c) ? c : '\uFFFD'));
}
