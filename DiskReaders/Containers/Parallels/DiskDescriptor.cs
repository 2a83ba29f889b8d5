using System.Globalization;
using System.Xml;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Containers.Parallels;

/// <summary>An image of a storage.</summary>
/// <param name="IsPlain">Raw bytes; else an expanding image.</param>
/// <param name="File">As found. Guest-controlled text.</param>
internal sealed record DescribedImage(Guid Id, bool IsPlain, string File);

/// <summary>A range of the disk and the images that hold it, one for each state.</summary>
internal sealed record DescribedStorage(long StartSector, long EndSector, IReadOnlyList<DescribedImage> Images);

/// <summary>
/// <c>DiskDescriptor.xml</c> of a Parallels disk. Spec: QEMU docs/interop/prl-xml. No DTD is read; size, depth and counts are bounded.
/// </summary>
internal sealed class DiskDescriptor
{
    public const string FileName = "DiskDescriptor.xml";
    public const string Name = "Parallels disk descriptor";
    public const string Root = "Parallels_disk_image";
    public const int SectorBytes = 512;

    /// <summary>Real ones have some kilobytes.</summary>
    public const int MostBytes = 4 << 20;

    private const int MostDepth = 32;
    private const int MostParts = 4096;

    /// <summary>"Top snapshot could be described via ... predefined GUID".</summary>
    private static readonly Guid DefaultTop = new("5fbaabe3-6958-40ff-92a7-860e329aab41");

    private readonly Dictionary<Guid, Guid> _parents = [];
    private readonly List<DescribedStorage> _storages = [];
    private readonly Dictionary<string, long> _bounds = [];
    private Guid? _top;

    private DiskDescriptor()
    {
    }

    public long DiskSectors { get; private set; }

    /// <summary>In the order of the disk; they cover it without gap.</summary>
    public IReadOnlyList<DescribedStorage> Storages => _storages;

    public Guid Top { get; private set; }

    /// <summary>The kept states but the top, a parent always before its children.</summary>
    public IReadOnlyList<Guid> Shots { get; private set; } = [];

    public static DiskDescriptor Read(ImageFile file)
    {
        if (file.Bytes.Length > MostBytes)
        {
            throw new DiskFormatException(Fault.Limit, Name, 0, $"it has {file.Bytes.Length} bytes");
        }

        byte[] bytes = new byte[file.Bytes.Length];
        file.Bytes.Read(0, bytes);
        try
        {
            return Parse(bytes);
        }
        catch (XmlException e)
        {
            throw Corrupt(e.Message);
        }
    }

    /// <summary>A state and those below it, the nearest first.</summary>
    public IReadOnlyList<Guid> Lineage(Guid id)
    {
        List<Guid> lineage = [];
        var seen = new HashSet<Guid>();
        for (Guid at = id; at != Guid.Empty; at = _parents.GetValueOrDefault(at))
        {
            if (!seen.Add(at))
            {
                throw Corrupt($"{at:B} is its own ancestor");
            }

            if (_parents.Count > 0 && !_parents.ContainsKey(at))
            {
                throw Corrupt($"no Shot of the GUID {at:B}");
            }

            lineage.Add(at);
        }

        return lineage;
    }

    private static DiskDescriptor Parse(byte[] bytes)
    {
        var found = new DiskDescriptor();
        using var reader = XmlReader.Create(new MemoryStream(bytes), new XmlReaderSettings
        {
            DtdProcessing = DtdProcessing.Prohibit,
            XmlResolver = null,
            MaxCharactersInDocument = MostBytes,
        });
        var path = new Stack<string>();
        var values = new Dictionary<string, string>(StringComparer.Ordinal);
        List<DescribedImage> images = [];
        int parts = 0;
        while (reader.Read())
        {
            switch (reader.NodeType)
            {
                case XmlNodeType.Element:
                    if (path.Count >= MostDepth || ++parts > MostParts * 8)
                    {
                        throw new DiskFormatException(Fault.Limit, Name, 0, "too many or too deep elements");
                    }

                    if (path.Count == 0 && reader.LocalName != Root)
                    {
                        throw Corrupt($"its root is {reader.LocalName}");
                    }

                    if (reader.LocalName is "Image" or "Shot" or "Storage")
                    {
                        values.Clear();
                    }

                    values.Remove(reader.LocalName);
                    if (!reader.IsEmptyElement)
                    {
                        path.Push(reader.LocalName);
                    }

                    break;
                case XmlNodeType.Text or XmlNodeType.CDATA:
                    values[path.Peek()] = reader.Value.Trim();
                    break;
                case XmlNodeType.EndElement:
                    found.End(path.Pop(), path.Count > 0 ? path.Peek() : "", values, images);
                    break;
                default:
                    break;
            }
        }

        return found.Checked();
    }

    private static DiskFormatException Corrupt(string detail) => new(Fault.Corrupt, Name, 0, detail);

    private static long Sectors(Dictionary<string, string> values, string name) =>
        long.TryParse(values.GetValueOrDefault(name), NumberStyles.None, CultureInfo.InvariantCulture, out long sectors) && sectors <= long.MaxValue / SectorBytes
            ? sectors
            : throw Corrupt($"bad {name}");

    private static Guid Id(Dictionary<string, string> values, string name) =>
        Guid.TryParse(values.GetValueOrDefault(name), out Guid id) ? id : throw Corrupt($"bad {name}");

    private void End(string element, string parent, Dictionary<string, string> values, List<DescribedImage> images)
    {
        switch (element)
        {
            case "Disk_size":
                DiskSectors = Sectors(values, element);
                break;
            case "Padding" when values.GetValueOrDefault(element) != "0":
                throw new DiskFormatException(Fault.Unsupported, Name, 0, "unsupported Padding");
            case "Engine" when parent == "Encryption" && values.ContainsKey(element) && Id(values, element) != Guid.Empty:
                throw new DiskFormatException(Fault.Encrypted, Name, 0, "the disk is encrypted by Parallels");
            case "Start" or "End" when parent == "Storage":
                // Kept under names of their own: the images within the storage have values, too.
                _bounds[element] = Sectors(values, element);
                break;
            case "Image":
                string type = values.GetValueOrDefault("Type", "");
                if (type is not ("Plain" or "Compressed"))
                {
                    throw new DiskFormatException(Fault.Unsupported, Name, 0, $"unsupported image type \"{type}\"");
                }

                images.Add(new DescribedImage(Id(values, "GUID"), type == "Plain", values.GetValueOrDefault("File", "")));
                break;
            case "Storage":
                _storages.Add(new DescribedStorage(
                    _bounds.TryGetValue("Start", out long start) ? start : throw Corrupt("a Storage without Start"),
                    _bounds.TryGetValue("End", out long end) ? end : throw Corrupt("a Storage without End"),
                    [.. images]));
                images.Clear();
                _bounds.Clear();
                break;
            case "Shot":
                if (!_parents.TryAdd(Id(values, "GUID"), Id(values, "ParentGUID")))
                {
                    throw Corrupt("two Shots of one GUID");
                }

                break;
            case "TopGUID":
                _top = Id(values, element);
                break;
            default:
                break;
        }
    }

    private DiskDescriptor Checked()
    {
        _storages.Sort((a, b) => a.StartSector.CompareTo(b.StartSector));
        long at = 0;
        foreach (DescribedStorage storage in _storages)
        {
            if (storage.StartSector != at || storage.EndSector <= at || storage.Images.Count == 0)
            {
                throw Corrupt("the storages do not cover the disk");
            }

            at = storage.EndSector;
            if (storage.Images.DistinctBy(i => i.Id).Count() != storage.Images.Count)
            {
                throw Corrupt("two images of one GUID");
            }
        }

        if (at == 0 || at != DiskSectors)
        {
            throw Corrupt("the storages do not cover the disk");
        }

        IReadOnlyList<DescribedImage> images = _storages[0].Images;
        Top = _top ?? (images.Any(i => i.Id == DefaultTop) || images.Count > 1 ? DefaultTop : images[0].Id);
        Lineage(Top);
        Shots = Ordered();
        return this;
    }

    /// <summary>Parents first; what hangs on no root is no state.</summary>
    private List<Guid> Ordered()
    {
        ILookup<Guid, Guid> children = _parents.ToLookup(p => p.Value, p => p.Key);
        List<Guid> ordered = [];
        var left = new Queue<Guid>(children[Guid.Empty]);
        while (left.TryDequeue(out Guid shot))
        {
            if (shot != Top)
            {
                ordered.Add(shot);
            }

            foreach (Guid child in children[shot])
            {
                left.Enqueue(child);
            }
        }

        return ordered;
    }
}
