using System.Runtime.InteropServices;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>What a path of the appliance's own file system leads to, links not followed.</summary>
internal enum HostFileKind
{
    Missing,
    Regular,
    Folder,
    Link,
    BlockDevice,

    /// <summary>Character device, FIFO, socket: never opened.</summary>
    Other,
}

/// <summary>Looks at files before they are opened: opening a FIFO hangs, reading <c>/dev/zero</c> never ends.</summary>
internal static unsafe partial class HostFile
{
    private const int AtFdCwd = -100;
    private const int AtSymlinkNoFollow = 0x100;
    private const uint StatxBasicStats = 0x7FF;
    private const int ModeOffset = 28;
    private const int SizeOffset = 40;
    private const int StatxBytes = 256;

    /// <param name="follow">Looks at what a link leads to: only for paths that the operator gave.</param>
    public static HostFileKind KindOf(string path, bool follow = false) => Look(path, out _, follow);

    /// <param name="sizeBytes">How long a regular file is.</param>
    /// <param name="follow">As above.</param>
    public static HostFileKind Look(string path, out long sizeBytes, bool follow = false)
    {
        sizeBytes = 0;

        // struct statx (linux/stat.h) has one layout on every architecture; stx_mode is a u16 at 28, stx_size a u64 at 40.
        byte* buffer = stackalloc byte[StatxBytes];
        if (Statx(AtFdCwd, path, follow ? 0 : AtSymlinkNoFollow, StatxBasicStats, buffer) != 0)
        {
            return HostFileKind.Missing;
        }

        sizeBytes = *(long*)(buffer + SizeOffset);
        return (*(ushort*)(buffer + ModeOffset) & 0xF000) switch
        {
            0x8000 => HostFileKind.Regular,
            0x4000 => HostFileKind.Folder,
            0xA000 => HostFileKind.Link,
            0x6000 => HostFileKind.BlockDevice,
            _ => HostFileKind.Other,
        };
    }

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int folder, string path, int flags, uint mask, byte* buffer);
}
