using System.Text;
using System.Xml;
using System.Xml.Linq;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>A managed object of a server: its type and the server's key.</summary>
internal readonly record struct MoRef(string Type, string Value)
{
    public static MoRef Of(XElement element) => new((string?)element.Attribute("type") ?? "", element.Value);

    /// <summary>As an argument of a call.</summary>
    public XElement Named(string name) => new(name, new XAttribute("type", Type), Value);
}

/// <summary>
/// Messages of the VIM API: SOAP 1.1, document style, namespace <c>urn:vim25</c>. Spec: vSphere Web Services SDK, "vim.wsdl". What a server says is as
/// hostile as anything else: no DTD, nothing fetched, bounded in size, depth and count. Namespaces are dropped: a message means what its local names say.
/// </summary>
internal static class VimXml
{
    /// <summary>A page of two hundred VMs with all their devices has some megabytes.</summary>
    public const int MostBytes = 64 << 20;

    /// <summary>A tree of snapshots nests by one for each; hosts allow 32.</summary>
    private const int MostDepth = 128;

    private const int MostNodes = 2_000_000;

    /// <summary>An attribute that stands for <c>xsi:type</c>, the kind of a value or fault.</summary>
    public const string Kind = "kind";

    private const string Soap = "http://schemas.xmlsoap.org/soap/envelope/";
    private const string Vim = "urn:vim25";
    private const string Xsi = "http://www.w3.org/2001/XMLSchema-instance";

    private static readonly XmlReaderSettings Settings = new()
    {
        DtdProcessing = DtdProcessing.Prohibit,
        XmlResolver = null,
        MaxCharactersInDocument = MostBytes,
        IgnoreComments = true,
        IgnoreProcessingInstructions = true,
        IgnoreWhitespace = true,
    };

    /// <exception cref="ConnectorException">Something in it cannot be said in XML.</exception>
    public static byte[] Request(string method, MoRef target, IEnumerable<XElement> arguments)
    {
        using var bytes = new MemoryStream();
        try
        {
            using var writer = XmlWriter.Create(bytes, new XmlWriterSettings { Encoding = new UTF8Encoding(false) });
            writer.WriteStartElement("Envelope", Soap);
            writer.WriteStartElement("Body", Soap);
            writer.WriteStartElement(method, Vim);
            foreach (XElement argument in (IEnumerable<XElement>)[target.Named("_this"), .. arguments])
            {
                Write(writer, argument);
            }
        }
        catch (ArgumentException e)
        {
            throw new ConnectorException($"{method}: {e.Message}", e);
        }

        return bytes.ToArray();
    }

    /// <summary>The content of an answer's body.</summary>
    /// <exception cref="InvalidDataException">It is no such message, or one beyond the bounds.</exception>
    public static XElement Answer(ReadOnlyMemory<byte> bytes)
    {
        XElement envelope = Document(bytes);
        return envelope.Name.LocalName == "Envelope" && envelope.Element("Body")?.Elements().FirstOrDefault() is { } content
            ? content
            : throw new InvalidDataException("no SOAP message");
    }

    /// <summary>The root of a document.</summary>
    /// <exception cref="InvalidDataException">It is none, or one beyond the bounds.</exception>
    public static XElement Document(ReadOnlyMemory<byte> bytes)
    {
        try
        {
            using var stream = new MemoryStream(bytes.ToArray(), writable: false);
            using var reader = XmlReader.Create(stream, Settings);
            return Read(reader);
        }
        catch (XmlException e)
        {
            throw new InvalidDataException($"no XML that could be taken: {e.Message}", e);
        }
    }

    private static void Write(XmlWriter writer, XElement element)
    {
        writer.WriteStartElement(element.Name.LocalName, Vim);
        foreach (XAttribute attribute in element.Attributes())
        {
            if (attribute.Name.LocalName == Kind)
            {
                writer.WriteAttributeString("xsi", "type", Xsi, attribute.Value);
            }
            else
            {
                writer.WriteAttributeString(attribute.Name.LocalName, attribute.Value);
            }
        }

        foreach (XNode node in element.Nodes())
        {
            if (node is XElement child)
            {
                Write(writer, child);
            }
            else if (node is XText text)
            {
                writer.WriteString(text.Value);
            }
        }

        writer.WriteEndElement();
    }

    private static XElement Read(XmlReader reader)
    {
        XElement? root = null;
        var open = new Stack<XElement>();
        int nodes = 0;
        while (reader.Read())
        {
            if (++nodes > MostNodes)
            {
                throw new InvalidDataException($"more than {MostNodes} nodes");
            }

            switch (reader.NodeType)
            {
                case XmlNodeType.Element:
                    var element = new XElement(reader.LocalName);
                    bool isEmpty = reader.IsEmptyElement;
                    TakeAttributes(reader, element);
                    if (open.TryPeek(out XElement? parent))
                    {
                        parent.Add(element);
                    }

                    root ??= element;
                    if (!isEmpty)
                    {
                        open.Push(element);
                        if (open.Count > MostDepth)
                        {
                            throw new InvalidDataException($"nested deeper than {MostDepth}");
                        }
                    }

                    break;
                case XmlNodeType.EndElement:
                    open.Pop();
                    break;
                case XmlNodeType.Text or XmlNodeType.CDATA or XmlNodeType.SignificantWhitespace when open.TryPeek(out XElement? holder):
                    holder.Add(new XText(reader.Value));
                    break;
            }
        }

        return root ?? throw new InvalidDataException("no element");
    }

    private static void TakeAttributes(XmlReader reader, XElement element)
    {
        while (reader.MoveToNextAttribute())
        {
            if (reader.NamespaceURI == Xsi && reader.LocalName == "type")
            {
                element.SetAttributeValue(Kind, reader.Value[(reader.Value.IndexOf(':', StringComparison.Ordinal) + 1)..]);
            }
            else if (reader.NamespaceURI.Length == 0)
            {
                element.SetAttributeValue(reader.LocalName, reader.Value);
            }
        }
    }

    /// <summary>What <c>xsi:type</c> says; empty where it says nothing.</summary>
    public static string KindOf(this XElement? element) => (string?)element?.Attribute(Kind) ?? "";

    /// <summary>Text of a child; empty where there is none.</summary>
    public static string Text(this XElement? element, string name) => element?.Element(name)?.Value ?? "";
}
