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
    private const int UserOffset = 20;
    private const int ModeOffset = 28;
    private const int OpenToOthers = 0x3F;      // rwxrwx of group and others
    private const int WritableByOthers = 0x12;  // -w--w-
    private const int Sticky = 0x200;
    private const int SizeOffset = 40;
    private const int StatxBytes = 256;

    /// <param name="follow">Looks at what a link leads to: only for paths that the operator gave.</param>
    public static HostFileKind KindOf(string path, bool follow = false) => Look(path, out _, follow);

    /// <param name="sizeBytes">How long a regular file is.</param>
    /// <param name="follow">As above.</param>
    public static HostFileKind Look(string path, out long sizeBytes, bool follow = false)
    {
        sizeBytes = 0;

        // struct statx (linux/stat.h) has one layout on every architecture; stx_uid is a u32 at 20, stx_mode a u16 at 28, stx_size a u64 at 40.
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

    /// <summary>True of a folder, and no link to one, that is this account's and into which nobody else can put or see anything.</summary>
    public static bool IsPrivateFolder(string path) => TryOwner(path, follow: false, out uint owner, out int mode) && owner == GetEffectiveUser() && (mode & OpenToOthers) == 0;

    /// <summary>True of a folder in which nobody but the superuser can rename or remove what is this account's.</summary>
    public static bool IsSafeToShare(string path) =>
        TryOwner(path, follow: true, out uint owner, out int mode) && (owner == 0 || owner == GetEffectiveUser()) && ((mode & WritableByOthers) == 0 || (mode & Sticky) != 0);

    private static bool TryOwner(string folder, bool follow, out uint owner, out int mode)
    {
        byte* buffer = stackalloc byte[StatxBytes];
        bool isFolder = Statx(AtFdCwd, folder, follow ? 0 : AtSymlinkNoFollow, StatxBasicStats, buffer) == 0 && (*(ushort*)(buffer + ModeOffset) & 0xF000) == 0x4000;
        (owner, mode) = isFolder ? (*(uint*)(buffer + UserOffset), *(ushort*)(buffer + ModeOffset) & 0xFFF) : (0, 0);
        return isFolder;
    }

    [LibraryImport("libc", EntryPoint = "geteuid")]
    private static partial uint GetEffectiveUser();

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int folder, string path, int flags, uint mask, byte* buffer);
}
