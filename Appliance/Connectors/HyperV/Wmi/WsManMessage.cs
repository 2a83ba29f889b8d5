using System.Globalization;
using System.Text;
using System.Xml;

namespace Vmsweep.Appliance.Connectors.HyperV.Wmi;

/// <summary>An argument of a method: a text, an <see cref="EndpointReference"/>, or several of either under one name.</summary>
internal readonly record struct MethodArgument(string Name, params IReadOnlyList<object> Values);

/// <summary>
/// Messages of WS-Management. Spec: DSP0226 (headers, Enumerate, Pull, Get), DSP0227 (methods and references), MS-WSMV (WQL, resource URIs of WMI). SOAP 1.2.
/// </summary>
internal static class WsManMessage
{
    public const string Anonymous = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous";

    /// <summary>Objects of one answer.</summary>
    private const int PageItems = 200;

    /// <summary>What hosts since Windows Server 2012 send by default.</summary>
    private const int MostEnvelope = 512_000;

    private const string Soap = "http://www.w3.org/2003/05/soap-envelope";
    private const string Addressing = "http://schemas.xmlsoap.org/ws/2004/08/addressing";
    private const string WsMan = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd";
    private const string Enumeration = "http://schemas.xmlsoap.org/ws/2004/09/enumeration";
    private const string Transfer = "http://schemas.xmlsoap.org/ws/2004/09/transfer";
    private const string Wql = "http://schemas.microsoft.com/wbem/wsman/1/WQL";

    public static byte[] Enumerate(Uri to, string space, string query) => Write(to, EndpointReference.To(space, "*"), Enumeration + "/Enumerate", writer =>
    {
        writer.WriteStartElement("n", "Enumerate", Enumeration);
        writer.WriteElementString("w", "OptimizeEnumeration", WsMan, "");
        writer.WriteElementString("w", "MaxElements", WsMan, PageItems.ToString(CultureInfo.InvariantCulture));
        writer.WriteStartElement("w", "Filter", WsMan);
        writer.WriteAttributeString("Dialect", Wql);
        writer.WriteString(query);
        writer.WriteEndElement();
        writer.WriteEndElement();
    });

    public static byte[] Pull(Uri to, string space, string context) => Write(to, EndpointReference.To(space, "*"), Enumeration + "/Pull", writer =>
    {
        writer.WriteStartElement("n", "Pull", Enumeration);
        writer.WriteElementString("n", "EnumerationContext", Enumeration, context);
        writer.WriteElementString("n", "MaxElements", Enumeration, PageItems.ToString(CultureInfo.InvariantCulture));
        writer.WriteEndElement();
    });

    public static byte[] Get(Uri to, EndpointReference target) => Write(to, target, Transfer + "/Get", _ => { });

    public static byte[] Invoke(Uri to, EndpointReference target, string method, IReadOnlyList<MethodArgument> arguments) => Write(to, target, $"{target.Resource}/{method}", writer =>
    {
        writer.WriteStartElement("p", method + "_INPUT", target.Resource);
        foreach (MethodArgument argument in arguments)
        {
            foreach (object value in argument.Values)
            {
                writer.WriteStartElement("p", argument.Name, target.Resource);
                if (value is EndpointReference reference)
                {
                    writer.WriteElementString("a", "Address", Addressing, Anonymous);
                    writer.WriteStartElement("a", "ReferenceParameters", Addressing);
                    Selectors(writer, reference, isHeader: false);
                    writer.WriteEndElement();
                }
                else
                {
                    writer.WriteString((string)value);
                }

                writer.WriteEndElement();
            }
        }

        writer.WriteEndElement();
    });

    private static byte[] Write(Uri to, EndpointReference target, string action, Action<XmlWriter> body)
    {
        using var bytes = new MemoryStream();
        try
        {
            using var writer = XmlWriter.Create(bytes, new XmlWriterSettings { Encoding = new UTF8Encoding(false) });
            writer.WriteStartElement("s", "Envelope", Soap);
            writer.WriteAttributeString("xmlns", "a", null, Addressing);
            writer.WriteAttributeString("xmlns", "w", null, WsMan);
            writer.WriteStartElement("Header", Soap);
            writer.WriteElementString("To", Addressing, to.ToString());
            writer.WriteStartElement("ReplyTo", Addressing);
            Must(writer, "Address", Addressing, Anonymous);
            writer.WriteEndElement();
            Must(writer, "Action", Addressing, action);
            Must(writer, "MaxEnvelopeSize", WsMan, MostEnvelope.ToString(CultureInfo.InvariantCulture));
            writer.WriteElementString("MessageID", Addressing, "uuid:" + Guid.NewGuid().ToString("D").ToUpperInvariant());
            writer.WriteElementString("OperationTimeout", WsMan, "PT60.000S");
            Selectors(writer, target, isHeader: true);
            writer.WriteEndElement();
            writer.WriteStartElement("Body", Soap);
            body(writer);
        }
        catch (ArgumentException e)
        {
            throw new ConnectorException($"{action}: {e.Message}", e);
        }

        return bytes.ToArray();
    }

    private static void Selectors(XmlWriter writer, EndpointReference target, bool isHeader)
    {
        if (isHeader)
        {
            Must(writer, "ResourceURI", WsMan, target.Resource);
        }
        else
        {
            writer.WriteElementString("ResourceURI", WsMan, target.Resource);
        }

        if (target.Selectors.Count > 0)
        {
            writer.WriteStartElement("SelectorSet", WsMan);
            foreach ((string name, string value) in target.Selectors)
            {
                writer.WriteStartElement("Selector", WsMan);
                writer.WriteAttributeString("Name", name);
                writer.WriteString(value);
                writer.WriteEndElement();
            }

            writer.WriteEndElement();
        }
    }

    private static void Must(XmlWriter writer, string name, string space, string value)
    {
        writer.WriteStartElement(name, space);
        writer.WriteAttributeString("mustUnderstand", Soap, "true");
        writer.WriteString(value);
        writer.WriteEndElement();
    }
}
