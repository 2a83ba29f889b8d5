using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>A file of guest memory that was named by itself.</summary>
internal static class MemoryTarget
{
    // libvirt's header: the length of the XML at 20, the XML behind.
    private const int HeaderBytes = 92;
    private const int LengthAt = 20;
    private const int MostXmlBytes = 16 << 20;

    public static Vm Of(string target, string path)
    {
        VmMemory memory = VmMemory.Of(path);
        LibvirtXml? domain = DomainOf(path);
        var identity = new VmReport(
            domain?.Uuid is { Length: > 0 } uuid ? uuid : path,
            domain?.Name is { Length: > 0 } name ? name : Path.GetFileName(path),
            "suspended",
            domain?.GuestOs ?? "");
        return new Vm(target, identity, [], []) { Memory = memory };
    }

    /// <summary>What a save image of libvirt says of its domain; null where it is none, or says nothing that can be read.</summary>
    private static LibvirtXml? DomainOf(string path)
    {
        try
        {
            using var file = new FileSource(path);
            Span<byte> head = stackalloc byte[HeaderBytes];
            if (file.Length < HeaderBytes)
            {
                return null;
            }

            file.Read(0, head);
            if (!head.StartsWith("LibvirtQemudSave"u8) && !head.StartsWith("LibvirtQemudPart"u8))
            {
                return null;
            }

            long length = new LeView(head, "libvirt save image", 0).U32(LengthAt);
            if (length > MostXmlBytes || length > file.Length - HeaderBytes)
            {
                return null;
            }

            byte[] xml = new byte[length];
            file.Read(HeaderBytes, xml);
            int end = Array.IndexOf(xml, (byte)0);
            return LibvirtXml.Of(ConfigurationXml.Parse(end < 0 ? xml : xml[..end], path), path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException or DiskFormatException)
        {
            // The names of a VM are for people. What is wrong with the image the worker reports.
            return null;
        }
    }
}
