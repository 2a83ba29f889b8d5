using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Tests.Containers.Vhd;

namespace Vmsweep.Appliance.Tests.Inventory;

/// <summary>A VM of Hyper-V with its folders: configuration, checkpoints, differencing disks.</summary>
internal static class HyperVFolder
{
    public const string Ide = "83f8638b-8dca-4152-9eda-2ca8b33039b4";
    private const string ScsiDevice = "d422512d-2bf2-4752-809d-7b82b5fcb1b4";
    private const string ScsiInstance = "d7a36e9b-9256-4f0d-be2c-3a13887f7b03";

    /// <summary>Keys of a configuration, as both formats have them.</summary>
    public static List<(string Key, object Value)> Keys(Guid id, string name, int generation, IReadOnlyList<string> disks, string? disc = null, DateTimeOffset? created = null)
    {
        string controller = generation == 1 ? Ide : ScsiInstance;
        List<(string, object)> keys =
        [
            ("configuration/manifest/vdev001/device", generation == 1 ? Ide : ScsiDevice),
            ("configuration/manifest/vdev001/instance", controller.ToUpperInvariant()),
            ("configuration/properties/global_id", id.ToString("D").ToUpperInvariant()),
            ("configuration/properties/name", name),
            ("configuration/properties/subtype", (long)(generation - 1)),
            ("configuration/properties/creation_time", BitConverter.GetBytes((created ?? new DateTimeOffset(2024, 1, 1, 0, 0, 0, TimeSpan.Zero)).ToFileTime())),
        ];
        for (int i = 0; i < disks.Count; i++)
        {
            string drive = FormattableString.Invariant($"configuration/_{controller}_/controller0/drive{i}/");
            keys.Add((drive + "pathname", disks[i]));
            keys.Add((drive + "type", "VHD"));
        }

        if (disc is not null)
        {
            keys.Add(($"configuration/_{controller}_/controller0/drive63/pathname", disc));
            keys.Add(($"configuration/_{controller}_/controller0/drive63/type", "ISO"));
        }

        return keys;
    }

    public static void WriteStore(string path, List<(string Key, object Value)> keys)
    {
        var writer = new HyperVStoreWriter();
        keys.ForEach(k => writer.Add(k.Key, k.Value));
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllBytes(path, writer.Build());
    }

    /// <summary>As hosts before 2016 wrote it: UTF-16, every value with its type.</summary>
    public static void WriteXml(string path, List<(string Key, object Value)> keys)
    {
        var xml = new StringBuilder("<?xml version=\"1.0\" encoding=\"UTF-16\" standalone=\"yes\"?>\r\n");
        Level("", keys);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, xml.ToString(), Encoding.Unicode);

        void Level(string indent, List<(string Key, object Value)> below)
        {
            foreach (IGrouping<string, (string Key, object Value)> group in below.GroupBy(k => k.Key.Split('/')[0]))
            {
                if (group.First().Key == group.Key)
                {
                    (string type, string text) = group.First().Value switch
                    {
                        byte[] bytes => ("bytes", Convert.ToBase64String(bytes)),
                        long number => ("integer", number.ToString(CultureInfo.InvariantCulture)),
                        var other => ("string", other.ToString()!),
                    };
                    xml.Append(CultureInfo.InvariantCulture, $"{indent}<{group.Key} type=\"{type}\">{text}</{group.Key}>\r\n");
                    continue;
                }

                xml.Append(CultureInfo.InvariantCulture, $"{indent}<{group.Key}>\r\n");
                Level(indent + "  ", [.. group.Select(k => (k.Key[(group.Key.Length + 1)..], k.Value))]);
                xml.Append(CultureInfo.InvariantCulture, $"{indent}</{group.Key}>\r\n");
            }
        }
    }

    /// <summary>A disk, or a differencing disk over another.</summary>
    /// <returns>Its id, for those over it.</returns>
    public static Guid WriteDisk(string path, byte[] content, string parentName = "", Guid? parent = null)
    {
        var writer = new VhdWriter { ParentId = parent, ParentName = parentName, DiskBytes = 256 << 10 };
        for (int block = 0; block * writer.BlockBytes < content.Length; block++)
        {
            byte[] part = new byte[writer.BlockBytes];
            content.AsSpan(block * part.Length, Math.Min(part.Length, content.Length - (block * part.Length))).CopyTo(part);
            writer.Block(block, part);
        }

        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllBytes(path, writer.Build());
        return writer.Id;
    }
}
