using System.Buffers.Binary;
using Vmsweep.DiskReaders.Tests.Containers.Vdi;
using Vmsweep.DiskReaders.Tests.Containers.Vhd;
using Vmsweep.DiskReaders.Tests.Containers.Vhdx;

namespace Vmsweep.Appliance.Tests.Changes;

/// <summary>Differencing disks of the formats of which qemu-img makes none: built from the specifications, over parents that it makes.</summary>
internal static class DifferencingDisk
{
    private const int SectorBytes = 512;

    /// <summary>VirtualBox finds a parent by its identity alone, which beside a configuration is also its file's name.</summary>
    public static readonly Guid VdiBase = new("5a1d7c1e-6d0b-4c57-9b53-0f6f4f6c2a10");

    /// <summary>A file name that says which disk it is, where the format asks for that.</summary>
    public static string NameOf(string format) => format == "vdi" ? $"{{{VdiBase:D}}}.vdi" : $"base.{format}";

    /// <param name="parent">The file that it lies over.</param>
    /// <param name="now">What the disk holds.</param>
    /// <param name="before">What its parent holds.</param>
    /// <param name="claims">The identity that it says its parent has; null: the one that it has.</param>
    public static void Write(string path, string parent, byte[] now, byte[] before, Guid? claims = null)
    {
        string name = Path.GetFileName(parent);
        Guid identity = claims ?? IdentityOf(parent);
        switch (Path.GetExtension(path))
        {
            case ".vhdx":
                var vhdx = new VhdxWriter { DiskBytes = now.Length, Parent = [("parent_linkage", identity.ToString("B")), ("relative_path", name)] };
                Each(vhdx.BlockBytes, (block, content, differs) => vhdx.Partial(block, content, differs));
                File.WriteAllBytes(path, vhdx.Build());
                break;
            case ".vhd":
                var vhd = new VhdWriter { DiskBytes = now.Length, BlockBytes = 2 << 20, ParentId = identity, ParentName = name };
                Each(vhd.BlockBytes, (block, content, differs) => vhd.Block(block, content, differs));
                File.WriteAllBytes(path, vhd.Build());
                break;
            default:
                var vdi = new VdiWriter { DiskBytes = now.Length, Type = 4, Parent = identity, Id = Path.GetFileNameWithoutExtension(path) is var file && Guid.TryParse(file, out Guid own) ? own : Guid.NewGuid() };
                Each(vdi.BlockBytes, (block, content, _) => vdi.Block(block, content));
                File.WriteAllBytes(path, vdi.Build());
                break;
        }

        void Each(int blockBytes, Action<long, byte[], Func<int, bool>> write)
        {
            for (int at = 0; at < now.Length; at += blockBytes)
            {
                int count = Math.Min(blockBytes, now.Length - at);
                if (now.AsSpan(at, count).SequenceEqual(before.AsSpan(at, count)))
                {
                    continue;
                }

                int start = at;
                byte[] content = new byte[blockBytes];
                now.AsSpan(at, count).CopyTo(content);
                write(at / blockBytes, content, sector =>
                    start + ((sector + 1) * SectorBytes) <= now.Length && !now.AsSpan(start + (sector * SectorBytes), SectorBytes).SequenceEqual(before.AsSpan(start + (sector * SectorBytes), SectorBytes)));
            }
        }
    }

    /// <summary>What a disk over this one must name.</summary>
    public static Guid IdentityOf(string path)
    {
        byte[] head = new byte[256 << 10];
        using (FileStream file = File.OpenRead(path))
        {
            file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false);
        }

        // VHDX: the data write identity of the header with the larger sequence number. VHD: the unique id of the footer's copy. VDI: the creation id.
        return Path.GetExtension(path) switch
        {
            ".vhdx" => new Guid(head.AsSpan((Sequence(VhdxWriter.HeaderAt) > Sequence(VhdxWriter.SecondHeaderAt) ? VhdxWriter.HeaderAt : VhdxWriter.SecondHeaderAt) + 32, 16)),
            ".vhd" => new Guid(head.AsSpan(68, 16), bigEndian: true),
            _ => new Guid(head.AsSpan(392, 16)),
        };

        ulong Sequence(int at) => BinaryPrimitives.ReadUInt64LittleEndian(head.AsSpan(at + 8));
    }

    /// <summary>Gives a VDI an identity.</summary>
    public static void Identify(string path, Guid identity)
    {
        using FileStream file = File.OpenWrite(path);
        file.Position = 392;
        file.Write(identity.ToByteArray());
    }
}
