using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Erofs;

/// <summary>
/// Other devices that hold parts of the data (<c>struct erofs_deviceslot</c>). They are images of their own and are not looked for: what lies on
/// them is missing.
/// </summary>
internal sealed class ErofsDevices
{
    public const int SlotBytes = 128;
    private const string Structure = "erofs_deviceslot";

    private readonly List<(long Start, long Blocks)> _mapped = [];
    private readonly int _mask;

    public ErofsDevices(ErofsSuperblock super, IBlockSource volume)
    {
        // "device_id": masked to the bits that the number of devices needs.
        _mask = super.ExtraDevices == 0 ? 0 : (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)super.ExtraDevices + 1) - 1;
        Span<byte> bytes = stackalloc byte[SlotBytes];
        for (int i = 0; i < super.ExtraDevices; i++)
        {
            long at = super.DeviceTableOffset + (i * (long)SlotBytes);
            volume.Read(at, bytes);
            var slot = new LeView(bytes, Structure, at);
            if (slot.U32(68) != 0)
            {
                _mapped.Add((slot.U32(68), slot.U32(64)));
            }
        }
    }

    /// <exception cref="DiskFormatException"><see cref="Fault.MissingParent"/>: the blocks lie on another device.</exception>
    public void RequirePrimary(int device, long block)
    {
        if ((device & _mask) != 0)
        {
            throw new DiskFormatException(Fault.MissingParent, Structure, -1, $"data on extra device {device & _mask}");
        }

        foreach ((long start, long blocks) in _mapped)
        {
            if (block >= start && block - start < blocks)
            {
                throw new DiskFormatException(Fault.MissingParent, Structure, -1, $"data at block {block}, which is on an extra device");
            }
        }
    }
}
