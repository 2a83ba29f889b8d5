using System.Xml;
using System.Xml.Linq;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>Reads configurations that are XML: no DTD, nothing fetched, bounded in size and depth.</summary>
internal static class ConfigurationXml
{
    /// <summary>One of a VM with hundreds of snapshots has some megabytes.</summary>
    private const int MostBytes = 16 << 20;

    /// <summary>A line of snapshots nests by two for each.</summary>
    private const int MostDepth = 1024;

    private static readonly XmlReaderSettings Settings = new()
    {
        DtdProcessing = DtdProcessing.Prohibit,
        XmlResolver = null,
        MaxCharactersInDocument = MostBytes,
        IgnoreComments = true,
        IgnoreProcessingInstructions = true,
        IgnoreWhitespace = true,
    };

    /// <summary>The local name of the root element; empty when the file is no such XML.</summary>
    public static string RootOf(string path)
    {
        try
        {
            using FileStream file = File.OpenRead(path);
            using var reader = XmlReader.Create(file, Settings);
            return reader.MoveToContent() == XmlNodeType.Element ? reader.LocalName : "";
        }
        catch (Exception e) when (e is XmlException or IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }

    /// <exception cref="InvalidDataException">The file is no XML, or one beyond the bounds.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static XElement Read(string path)
    {
        if (new FileInfo(path).Length > MostBytes)
        {
            throw new InvalidDataException($"{path}: larger than {MostBytes} bytes, so no VM configuration");
        }

        return Parse(File.ReadAllBytes(path), path);
    }

    /// <exception cref="InvalidDataException">The bytes are no XML, or one beyond the bounds.</exception>
    public static XElement Parse(byte[] bytes, string name)
    {
        try
        {
            using (XmlReader depth = Reader(bytes))
            {
                while (depth.Read())
                {
                    if (depth.Depth > MostDepth)
                    {
                        throw new InvalidDataException($"{name}: nested deeper than {MostDepth}");
                    }
                }
            }

            using XmlReader reader = Reader(bytes);
            return XElement.Load(reader);
        }
        catch (XmlException e)
        {
            throw new InvalidDataException($"{name}: {e.Message}", e);
        }
    }

    /// <summary>The first child of a local name, whatever its namespace.</summary>
    public static XElement? Child(this XElement element, string name) => element.Elements().FirstOrDefault(e => e.Name.LocalName == name);

    public static IEnumerable<XElement> Children(this XElement element, string name) => element.Elements().Where(e => e.Name.LocalName == name);

    /// <summary>An attribute's value; empty when it is not there.</summary>
    public static string Value(this XElement? element, string attribute) => element?.Attribute(attribute)?.Value ?? "";

    private static XmlReader Reader(byte[] bytes) => XmlReader.Create(new MemoryStream(bytes), Settings);
}
