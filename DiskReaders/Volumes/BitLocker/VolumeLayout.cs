using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Crypto;

namespace Vmsweep.DiskReaders.Volumes.BitLocker;

/// <summary>What of a volume lies where, and how far it is encrypted.</summary>
internal sealed class VolumeLayout : IDisposable
{
    private const int VistaPlainSectors = 16;

    private readonly IBlockSource _content;
    private readonly ReadContext _context;
    private readonly int _sectorBytes;
    private readonly long _masterFileTable;
    private readonly bool _isVista;
    private readonly EncryptOnWrite? _eow;

    /// <exception cref="DiskFormatException">The metadata contradicts itself or the volume.</exception>
    public VolumeLayout(VolumeHeader header, MetadataBlock block, long length, IBlockSource content, string name, ReadContext context)
    {
        _content = content;
        _context = context;
        _sectorBytes = header.SectorBytes;
        _masterFileTable = header.MasterFileTable;
        _isVista = header.Form == VolumeHeaderForm.Vista;
        if (_isVista != (block.Version == 1))
        {
            throw new DiskFormatException(Fault.Corrupt, "FVE metadata block", 10, "bad version for its volume header");
        }

        EncryptedBytes = Encrypted(block, length);
        if (header.EowOffsets.Length > 0 && EncryptedBytes > 0)
        {
            try
            {
                _eow = EncryptOnWrite.Read(content, header.EowOffsets, context, Report);
            }
            catch (DiskFormatException e)
            {
                // Windows ends up with everything in use encrypted, so that this reads all but what was still to be converted.
                Report(e);
            }
        }

        if (block.State == ConversionState.SwitchingWithLog && block.ConvertedBytes > 0)
        {
            context.Gaps.Add(new CoverageGap(Fault.Unsupported, name, "BitLocker conversion log", EncryptedBytes, block.ConvertedBytes, "a conversion was cut off here and its log is not replayed"));
        }

        if (_eow is { HasPlainBlocks: true })
        {
            Notes.Add("only the blocks in use are encrypted so far");
            context.Gaps.Add(new CoverageGap(Fault.Unsupported, name, "BitLocker relocation log", -1, 0, "blocks are still being encrypted, and the log of those under way is not replayed: they may be read as they were before or as noise"));
        }

        if (block.Description.Length > 0)
        {
            Notes.Add("described as " + block.Description);
        }

        if (block.Protectors.Exists(p => p.ClearKey is not null))
        {
            Notes.Add("its key lies beside it in the clear: protection is suspended");
        }

        Map = new BitLockerMap(length, EncryptedBytes, _eow);
        try
        {
            PutAll(block, length);
        }
        catch (DiskFormatException)
        {
            Dispose();
            throw;
        }

        void Report(DiskFormatException e) => context.Gaps.Add(new CoverageGap(e, name, 0));
    }

    public BitLockerMap Map { get; }

    public long EncryptedBytes { get; }

    public List<string> Notes { get; } = [];

    /// <summary>What is stored in the clear and not shown to the guest.</summary>
    public List<(long Offset, long Bytes, string Name)> PlainAreas { get; } = [];

    /// <summary>
    /// True when the volume's first sector is one once it is decrypted with <paramref name="key"/>: of a data key that the operator
    /// gives, nothing else tells whether it is of this volume. All that Windows formats but ReFS ends the sector with a signature.
    /// Windows Vista leaves that sector as it is; there the first file record tells.
    /// </summary>
    public bool MakesSense(BitLockerCipher method, byte[] key)
    {
        using ISectorCipher cipher = method.Make(key, _sectorBytes, _context.Budget);
        using var decrypted = new SectorCipherSource(_content, cipher, _context.Budget);
        using var volume = new MappedSource(Map, [decrypted, _content, _content]);
        return _isVista
            ? volume.HasAt(_masterFileTable, "FILE"u8)
            : volume.HasAt(510, [0x55, 0xAA]) || volume.HasAt(3, "ReFS\0\0\0\0"u8);
    }

    public void Dispose() => _eow?.Dispose();

    private long Encrypted(MetadataBlock block, long length)
    {
        switch (block.State)
        {
            case ConversionState.Encrypted:
                // Vista has no size there; 0 means all of it elsewhere too.
                return block.EncryptedBytes == 0 ? length : Boundary();
            case ConversionState.Decrypted when block.Version > 1:
                Notes.Add("decrypted: BitLocker is turned off");
                return Boundary();
            case ConversionState.Switching or ConversionState.SwitchingWithLog or ConversionState.Paused when block.Version > 1:
                Notes.Add(string.Create(CultureInfo.InvariantCulture, $"being encrypted or decrypted: the first {block.EncryptedBytes} of {length} bytes are encrypted"));
                return Boundary();
            default:
                throw new DiskFormatException(Fault.Unsupported, "FVE metadata block", 12, string.Create(CultureInfo.InvariantCulture, $"conversion state {(int)block.State} in metadata of version {block.Version}"));
        }

        long Boundary() => block.EncryptedBytes % _sectorBytes == 0
            ? Math.Min(block.EncryptedBytes, length)
            : throw new DiskFormatException(Fault.Corrupt, "FVE metadata block", 16, "bad encrypted volume size");
    }

    private void PutAll(MetadataBlock block, long length)
    {
        if (block.Version == 1)
        {
            Map.Put(0, VolumeHeader.Size, ExtentKind.Data, 0, BitLockerMap.VistaBootSector);
            Map.Put(VolumeHeader.Size, (VistaPlainSectors * (long)_sectorBytes) - VolumeHeader.Size, ExtentKind.Data, VolumeHeader.Size, BitLockerMap.Stored);
        }
        else
        {
            PutHeader(block, length);
        }

        int areaBytes = block.Version == 1 ? MetadataBlock.VistaAreaBytes : MetadataBlock.AreaBytes;
        foreach (long offset in block.Offsets.Distinct())
        {
            PutZeros(offset, areaBytes, "bitlocker-metadata");
        }

        foreach ((long offset, long bytes) in _eow?.Areas ?? [])
        {
            PutZeros(offset, bytes, "bitlocker-eow");
        }
    }

    /// <summary>The first sectors lie elsewhere, encrypted when what lies around them there is: Windows moves them before it encrypts.</summary>
    private void PutHeader(MetadataBlock block, long length)
    {
        (long offset, long bytes) = block.AreaHeaderBytes > 0 ? (block.AreaHeaderOffset, block.AreaHeaderBytes) : (block.HeaderOffset, block.HeaderSectors * _sectorBytes);
        if (bytes <= 0 || bytes % _sectorBytes != 0 || offset % _sectorBytes != 0 || bytes > length || offset < bytes || offset > length - bytes)
        {
            throw new DiskFormatException(Fault.Corrupt, "FVE metadata", -1, string.Create(CultureInfo.InvariantCulture, $"volume header of {bytes} bytes at {offset}"));
        }

        Map.Put(0, bytes, ExtentKind.Data, offset, BitLockerMap.AsThere);
        Map.Put(offset, bytes, ExtentKind.Zero);
        PlainAreas.Add((0, bytes, "bitlocker-boot"));
    }

    private void PutZeros(long offset, long bytes, string name)
    {
        if (offset < 0 || bytes > Map.Length || offset > Map.Length - bytes)
        {
            throw new DiskFormatException(Fault.Corrupt, "FVE metadata", offset, $"{name} of {bytes} bytes lies outside the volume");
        }

        Map.Put(offset, bytes, ExtentKind.Zero);
        PlainAreas.Add((offset, bytes, name));
    }
}
