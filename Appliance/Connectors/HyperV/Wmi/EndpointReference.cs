using System.Xml.Linq;
using Vmsweep.Appliance.Connectors.VSphere;

namespace Vmsweep.Appliance.Connectors.HyperV.Wmi;

/// <summary>A WMI object as messages name it. Spec: WS-Addressing (member submission), "Endpoint References"; DSP0227 "Keys".</summary>
/// <param name="Resource">Its class's URI.</param>
/// <param name="Selectors">Its keys.</param>
internal sealed record EndpointReference(string Resource, IReadOnlyList<KeyValuePair<string, string>> Selectors)
{
    private const string Classes = "http://schemas.microsoft.com/wbem/wsman/1/wmi/";

    /// <summary>What only tells a namespace, which the class's URI tells already.</summary>
    private const string Namespace = "__cimnamespace";

    public string this[string key] => Selectors.FirstOrDefault(s => s.Key.Equals(key, StringComparison.OrdinalIgnoreCase)).Value ?? "";

    /// <param name="space">Such as <c>root/virtualization/v2</c>.</param>
    /// <param name="name">The class's.</param>
    public static EndpointReference To(string space, string name, params IReadOnlyList<(string Key, string Value)> keys) => new(UriOf(space, name), [.. keys.Select(k => KeyValuePair.Create(k.Key, k.Value))]);

    public static string UriOf(string space, string name) => $"{Classes}{space}/{name}";

    /// <summary>As an answer has it; null where it names nothing.</summary>
    public static EndpointReference? Of(XElement? element)
    {
        XElement? parameters = element?.Element("ReferenceParameters");
        string resource = parameters.Text("ResourceURI").Trim();
        return resource.Length == 0 ? null : new EndpointReference(
            resource,
            [
                .. (parameters!.Element("SelectorSet")?.Elements("Selector") ?? [])
                    .Select(s => KeyValuePair.Create((string?)s.Attribute("Name") ?? "", s.Value)).Where(s => s.Key.Length > 0 && s.Key != Namespace),
            ]);
    }
}
