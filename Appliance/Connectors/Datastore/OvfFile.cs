using System.Globalization;
using System.Xml;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>
/// An OVF descriptor: which VMs a package holds, and which files their disks are. Spec: DMTF DSP0243, versions 1.0 to 2.1; also 0.9 and
/// oVirt's dialect, which differ in how they name a system. Elements and attributes are known by local name: their namespaces changed
/// with each version. Everything in it is text of whoever made the package.
/// </summary>
internal sealed class OvfFile
{
    /// <summary>Real ones have some kilobytes; licences in all languages make a megabyte.</summary>
    public const int MostBytes = 8 << 20;

    private const int MostDepth = 128;
    private const int MostParts = 65_536;
    private const int MostText = 64 << 10;

    private OvfFile()
    {
    }

    /// <summary>References: the files of the package.</summary>
    public List<OvfReference> Files { get; } = [];

    /// <summary>DiskSection: the disks that systems may use.</summary>
    public List<OvfDisk> Disks { get; } = [];

    /// <summary>Each VirtualSystem, alone or in collections.</summary>
    public List<OvfSystem> Systems { get; } = [];

    /// <exception cref="InvalidDataException">The bytes are no descriptor.</exception>
    public static OvfFile Parse(byte[] bytes, string name)
    {
        var file = new OvfFile();
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
            file.Read(reader);
        }
        catch (XmlException e)
        {
            throw new InvalidDataException($"{name}: no OVF descriptor: {e.Message}");
        }

        return file;
    }

    private void Read(XmlReader reader)
    {
        OvfSystem? system = null;
        int systemDepth = 0;
        bool isEnvelope = false;
        bool inGuestOs = false;
        int guestOsDepth = 0;

        // ReadElementContentAsString already stands on what follows.
        bool isThere = reader.Read();
        while (isThere)
        {
            if (reader.NodeType == XmlNodeType.EndElement)
            {
                system = system is not null && reader.Depth <= systemDepth ? null : system;
                inGuestOs = inGuestOs && reader.Depth > guestOsDepth;
            }

            if (reader.NodeType != XmlNodeType.Element)
            {
                isThere = reader.Read();
                continue;
            }

            if (reader.Depth > MostDepth || Files.Count + Disks.Count + Systems.Count > MostParts)
            {
                throw new InvalidDataException("no OVF descriptor: it is nested too deeply or has too many parts");
            }

            int depth = reader.Depth;
            string name = reader.LocalName;
            isEnvelope |= depth == 0 && name == "Envelope";
            if (!isEnvelope)
            {
                throw new InvalidDataException("no OVF descriptor: its first element is no Envelope");
            }

            string type = Attribute(reader, "type");
            if (name == "File" && Attribute(reader, "href") is { Length: > 0 } href)
            {
                Files.Add(new OvfReference(Attribute(reader, "id"), href, Attribute(reader, "compression"), Number(Attribute(reader, "chunkSize"))));
            }
            else if (name == "Disk" && Attribute(reader, "diskId") is { Length: > 0 } id)
            {
                Disks.Add(new OvfDisk(id, Attribute(reader, "fileRef"), Attribute(reader, "parentRef"), Attribute(reader, "format"), Attribute(reader, "volume-format")));
            }
            else if (name == "VirtualSystem" || (name == "Content" && type.EndsWith("VirtualSystem_Type", StringComparison.Ordinal)))
            {
                system = new OvfSystem(Attribute(reader, "id"));
                systemDepth = depth;
                Systems.Add(system);
                if (reader.IsEmptyElement)
                {
                    system = null;
                }
            }
            else if (system is not null && (name == "OperatingSystemSection" || type.EndsWith("OperatingSystemSection_Type", StringComparison.Ordinal)))
            {
                system.GuestOs = Attribute(reader, "osType");
                inGuestOs = !reader.IsEmptyElement;
                guestOsDepth = depth;
            }
            else if (system is not null && name == "Description" && inGuestOs && depth == guestOsDepth + 1)
            {
                string text = Text(reader);
                system.GuestOs = system.GuestOs.Length > 0 ? system.GuestOs : text;
                isThere = !reader.EOF;
                continue;
            }
            else if (system is not null && name == "Name" && depth == systemDepth + 1)
            {
                system.Name = Text(reader);
                isThere = !reader.EOF;
                continue;
            }
            else if (system is not null && name == "HostResource")
            {
                if (system.Resources.Count >= MostParts)
                {
                    throw new InvalidDataException("no OVF descriptor: a system has too many devices");
                }

                system.Resources.Add(Text(reader));
                isThere = !reader.EOF;
                continue;
            }

            isThere = reader.Read();
        }

        if (!isEnvelope)
        {
            throw new InvalidDataException("no OVF descriptor: it is empty");
        }
    }

    /// <summary>The element's text; leaves the reader on what follows it.</summary>
    private static string Text(XmlReader reader)
    {
        string text = reader.ReadElementContentAsString().Trim();
        return text.Length <= MostText ? text : throw new InvalidDataException("no OVF descriptor: a name of more than 64 KiB");
    }

    private static string Attribute(XmlReader reader, string name)
    {
        string found = "";
        for (bool isThere = reader.MoveToFirstAttribute(); isThere; isThere = reader.MoveToNextAttribute())
        {
            if (reader.LocalName == name && reader.Value.Length <= MostText)
            {
                found = reader.Value;
                break;
            }
        }

        reader.MoveToElement();
        return found;
    }

    private static long Number(string text) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number : 0;
}

/// <summary>A file of the package.</summary>
/// <param name="Href">Its name, a URI relative to the descriptor.</param>
/// <param name="Compression">Empty, <c>identity</c> or <c>gzip</c>.</param>
/// <param name="ChunkBytes">Where above zero, the file is stored in chunks: its name with <c>.000000000</c> and on.</param>
internal sealed record OvfReference(string Id, string Href, string Compression, long ChunkBytes);

/// <summary>A disk of the package.</summary>
/// <param name="FileRef">The file with its content; empty for a disk that is made empty.</param>
/// <param name="ParentRef">The disk that this one only holds the changes to; empty where it is whole.</param>
/// <param name="Format">URI of the format's specification.</param>
/// <param name="VolumeFormat">oVirt: <c>RAW</c> or <c>COW</c>; it writes VMware's URI for whatever the format is.</param>
internal sealed record OvfDisk(string Id, string FileRef, string ParentRef, string Format, string VolumeFormat);

/// <summary>A VM of the package.</summary>
internal sealed class OvfSystem(string id)
{
    public string Id => id;

    public string Name { get; set; } = "";

    public string GuestOs { get; set; } = "";

    /// <summary>HostResource of its devices: <c>ovf:/disk/ID</c>, <c>ovf:/file/ID</c>.</summary>
    public List<string> Resources { get; } = [];
}
