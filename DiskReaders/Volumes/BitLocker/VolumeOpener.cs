using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Crypto;

namespace Vmsweep.DiskReaders.Volumes.BitLocker;

/// <summary>Opens one volume: header, the best copy of the metadata, key, map.</summary>
internal sealed class VolumeOpener(VolumeMember member, int place, List<MemberArea> leftovers, ReadContext context)
{
    private const string Structure = "BitLocker";


    private const int VistaMirrorAt = 56;

    private readonly IBlockSource _content = member.Content;
    private string _layout = "bitlocker";
    private List<string> _notes = [];

    /// <summary>Never throws for content.</summary>
    public AssembledVolume Open()
    {
        try
        {
            byte[] sector = new byte[VolumeHeader.Size];
            Bounds.Check(0, sector.Length, _content.Length, "BitLocker volume header");
            _content.Read(0, sector);
            var header = new VolumeHeader(new LeView(sector, "BitLocker volume header", 0));
            MetadataBlock block = BestBlock(header);
            return Unlock(header, block, sector);
        }
        catch (DiskFormatException e)
        {
            return new AssembledVolume { Name = "", Layout = _layout, Place = place, Fault = e, SectorBytes = member.SectorBytes, Notes = _notes };
        }
    }

    /// <summary>The sound copy that was written last. The others are reported where they are faulty.</summary>
    private MetadataBlock BestBlock(VolumeHeader header)
    {
        List<long> offsets = [.. header.MetadataOffsets];
        MetadataBlock? best = null;
        List<DiskFormatException> faults = [];
        for (int i = 0; i < offsets.Count; i++)
        {
            try
            {
                MetadataBlock block = ReadBlock(header, offsets[i]);
                best = best is null || unchecked((int)(block.NextNonce - best.NextNonce)) > 0 ? block : best;

                // Where the volume header knows the first alone, the block knows the others.
                offsets.AddRange(offsets.Count == 1 ? block.Offsets.Where(o => o != offsets[0]).Take(2) : []);
            }
            catch (DiskFormatException e)
            {
                faults.Add(e);
            }
        }

        if (best is null)
        {
            throw faults[0];
        }

        faults.ForEach(f => context.Gaps.Add(new CoverageGap(f, member.Name, 0)));
        return best;
    }

    private MetadataBlock ReadBlock(VolumeHeader header, long offset)
    {
        Bounds.Check(offset, VolumeHeader.Size, _content.Length, "FVE metadata block");
        if (offset == 0 || offset % header.SectorBytes != 0)
        {
            throw new DiskFormatException(Fault.Corrupt, "FVE metadata block", offset, "bad offset");
        }

        int most = header.Form == VolumeHeaderForm.Vista ? MetadataBlock.VistaAreaBytes : MetadataBlock.AreaBytes;
        using RentedBuffer area = context.Budget.Rent((int)Math.Min(most, _content.Length - offset));
        _content.Read(offset, area.Span);
        return new MetadataBlock(new LeView(area.Span, "FVE metadata block", offset));
    }

    private AssembledVolume Unlock(VolumeHeader header, MetadataBlock block, byte[] bootSector)
    {
        long length = _content.Length - (_content.Length % header.SectorBytes);
        var layout = new VolumeLayout(header, block, length, _content, member.Name, context);
        try
        {
            _notes = layout.Notes;
            foreach ((long offset, long bytes, string name) in layout.PlainAreas)
            {
                leftovers.Add(new MemberArea(place, name, offset, bytes));
            }

            ISectorCipher? cipher = null;
            if (layout.EncryptedBytes > 0)
            {
                var method = BitLockerCipher.Of(block.Method);
                _layout = method.Name;
                var search = new KeySearch(block, context);
                byte[] key = search.Find(k => method.IsKey(k) && layout.MakesSense(method, k)) ?? throw Locked(block, search);
                if (!method.IsKey(key))
                {
                    throw new DiskFormatException(Fault.Corrupt, "FVE metadata", -1, $"a data key of {key.Length} bytes for {method.Name}");
                }

                _notes.Insert(0, "unlocked by " + search.UnlockedBy);
                cipher = method.Make(key, header.SectorBytes, context.Budget);
            }

            return Readable(header, block, layout, cipher, bootSector);
        }
        catch
        {
            layout.Dispose();
            throw;
        }
    }

    private AssembledVolume Readable(VolumeHeader header, MetadataBlock block, VolumeLayout layout, ISectorCipher? cipher, byte[] bootSector)
    {
        IBlockSource decrypted = cipher is null ? new SliceSource(_content, 0, layout.Map.Length) : new SectorCipherSource(_content, cipher, context.Budget);
        List<IBlockSource> sources = [decrypted, _content];
        if (header.Form == VolumeHeaderForm.Vista)
        {
            "NTFS    "u8.CopyTo(bootSector.AsSpan(3));
            BinaryPrimitives.WriteUInt64LittleEndian(bootSector.AsSpan(VistaMirrorAt), block.MftMirrorCluster);
            sources.Add(new MemorySource(bootSector));
        }

        return new AssembledVolume
        {
            Name = "",
            Layout = _layout,
            Place = place,
            Content = new MappedSource(layout.Map, sources),
            SectorBytes = header.SectorBytes,
            Notes = _notes,
            Owned = [decrypted, layout],
        };
    }

    /// <summary>Says what would unlock the volume, in the words of <c>manage-bde -protectors -get</c>.</summary>
    private static DiskFormatException Locked(MetadataBlock block, KeySearch search)
    {
        var detail = new StringBuilder("locked; its protectors are ");
        detail.AppendJoin(", ", block.Protectors.Count == 0 ? ["none"] : block.Protectors.Select(p => p.ToString()));
        List<string> keys = [];
        foreach (KeyProtector protector in block.Protectors.DistinctBy(p => p.Type))
        {
            switch (protector.Type)
            {
                case KeyProtector.RecoveryPasswordType:
                    keys.Add("the recovery password of 48 digits");
                    break;
                case KeyProtector.PasswordType:
                    keys.Add("the password");
                    break;
                case KeyProtector.ExternalKeyType:
                    keys.Add("the .BEK file");
                    break;
                default:
                    break;
            }
        }

        keys.Add("master: and the data key in hexadecimal");
        detail.Append("; a --key file with ").AppendJoin(", or ", keys).Append(" unlocks it");
        if (search.Tried > 0)
        {
            detail.Append(CultureInfo.InvariantCulture, $"; none of the {search.Tried} secrets given fits");
            detail.Append(search.IsCutShort ? string.Create(CultureInfo.InvariantCulture, $", of which only the first {BitLockerLimits.MostStretches} were tried") : "");
        }

        return new DiskFormatException(Fault.Encrypted, Structure, 0, detail.ToString());
    }
}
