using System.Buffers.Binary;
using System.Globalization;
using Vmsweep.DiskReaders.Inspection.Registry;

namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>
/// Windows' <c>MountedDevices</c>: which volume has which letter. A basic disk's partition is named by the MBR's signature and its own
/// offset in bytes, one of a GPT by <c>DMIO:ID:</c> and its UniquePartitionGUID.
/// </summary>
internal static class DriveLetters
{
    private const string Prefix = @"\DosDevices\";
    private const int ByOffsetBytes = 12;
    private const int ByIdBytes = 24;

    public static IReadOnlyList<GuestMount> Read(Hive system, InspectedVm vm)
    {
        List<GuestMount> mounts = [];
        foreach (HiveValue value in system.Find("MountedDevices")?.Values ?? [])
        {
            string place = value.Name.StartsWith(Prefix, StringComparison.OrdinalIgnoreCase) ? value.Name[Prefix.Length..] : "";
            if (place is [(>= 'A' and <= 'Z') or (>= 'a' and <= 'z'), ':'] && VolumeOf(value.Data(), vm) is { } volume)
            {
                mounts.Add(new GuestMount(volume.Id, place.ToUpperInvariant(), ""));
            }
        }

        return [.. mounts.DistinctBy(m => m.Path).OrderBy(m => m.Path, StringComparer.Ordinal)];
    }

    private static InspectedVolume? VolumeOf(ReadOnlySpan<byte> device, InspectedVm vm)
    {
        if (device.Length == ByOffsetBytes)
        {
            string disk = BinaryPrimitives.ReadUInt32LittleEndian(device).ToString("x8", CultureInfo.InvariantCulture) + "-";
            ulong offset = BinaryPrimitives.ReadUInt64LittleEndian(device[4..]);
            return vm.Volumes.FirstOrDefault(v => v.Partition.Id.Length == disk.Length + 2 && v.Partition.Id.StartsWith(disk, StringComparison.Ordinal) && (ulong)v.Partition.OffsetBytes == offset);
        }

        if (device.Length == ByIdBytes && device.StartsWith("DMIO:ID:"u8))
        {
            string id = new Guid(device[8..]).ToString("D");
            return vm.Volumes.FirstOrDefault(v => v.Partition.Id == id);
        }

        // The rest are paths of removable drives.
        return null;
    }
}
