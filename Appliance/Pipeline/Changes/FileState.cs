using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vmsweep.Appliance.Connectors.Datastore;

namespace Vmsweep.Appliance.Pipeline.Changes;

/// <summary>
/// Which file it is and in what state, as its store says: beside its number and size the time of its last change of any kind, which no account can set, and
/// its first and last bytes, where formats keep identities that every writer changes.
/// </summary>
internal static partial class FileState
{
    /// <summary>Where formats keep headers and footers.</summary>
    private const int EndBytes = 64 << 10;

    private const int EmptyPath = 0x1000;
    private const int ForceSync = 0x2000;
    private const uint BasicStats = 0x7FF;
    private const ushort TypeMask = 0xF000;
    private const ushort RegularFile = 0x8000;

    /// <summary>A second change within one tick of a store's clock leaves the same time.</summary>
    private static readonly TimeSpan LocalTick = TimeSpan.FromSeconds(1);

    /// <summary>Of stores whose clock is another machine's.</summary>
    private static readonly TimeSpan RemoteTick = TimeSpan.FromMinutes(1);

    private static readonly string[] Local = ["ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlayfs", "overlay", "f2fs"];

    /// <summary>Null where its state cannot be told from any other: no regular file, or one that was changed a moment ago.</summary>
    public static byte[]? Of(string path, DateTimeOffset now)
    {
        if (HostFile.KindOf(path) != HostFileKind.Regular)
        {
            // To open a pipe would be to wait for whoever writes to it.
            return null;
        }

        using SafeFileHandle file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        Span<byte> facts = stackalloc byte[256];
        if (StatX(file, "", EmptyPath | ForceSync, BasicStats, facts) != 0 || (BinaryPrimitives.ReadUInt32LittleEndian(facts) & BasicStats) != BasicStats)
        {
            return null;
        }

        // struct statx, linux/stat.h: mode at 28, inode at 32, size at 40, ctime at 96, mtime at 112, device at 136.
        if ((BinaryPrimitives.ReadUInt16LittleEndian(facts[28..]) & TypeMask) != RegularFile)
        {
            return null;
        }

        DateTimeOffset changed = DateTimeOffset.FromUnixTimeSeconds(Math.Clamp(Math.Max(BinaryPrimitives.ReadInt64LittleEndian(facts[96..]), BinaryPrimitives.ReadInt64LittleEndian(facts[112..])), 0, 253_402_300_799));
        TimeSpan tick = Array.Exists(Local, l => l == new DriveInfo(path).DriveFormat) ? LocalTick : RemoteTick;
        if (now - changed <= tick)
        {
            return null;
        }

        long length = BinaryPrimitives.ReadInt64LittleEndian(facts[40..]);
        int count = (int)Math.Min(EndBytes, length);
        byte[] state = new byte[48 + (2 * count)];
        facts.Slice(32, 16).CopyTo(state);
        facts.Slice(96, 12).CopyTo(state.AsSpan(16));
        facts.Slice(112, 12).CopyTo(state.AsSpan(28));
        facts.Slice(136, 8).CopyTo(state.AsSpan(40));
        return ReadAll(file, state.AsSpan(48, count), 0) && ReadAll(file, state.AsSpan(48 + count), length - count) ? state : null;
    }

    private static bool ReadAll(SafeFileHandle file, Span<byte> destination, long offset)
    {
        while (!destination.IsEmpty)
        {
            int got = RandomAccess.Read(file, destination, offset);
            if (got == 0)
            {
                return false;
            }

            destination = destination[got..];
            offset += got;
        }

        return true;
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int StatX(SafeFileHandle folder, string path, int flags, uint mask, Span<byte> facts);
}
