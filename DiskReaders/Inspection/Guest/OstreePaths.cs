using System.Buffers;

namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>
/// Where OSTree keeps systems. Spec: ostree's documentation, "Deployments" and "Atomic upgrades". A deployment is a whole root folder at
/// <c>ostree/deploy/STATEROOT/deploy/CHECKSUM.SERIAL</c>; those of a stateroot share its <c>var</c>.
/// </summary>
internal static class OstreePaths
{
    private const string Deploy = "ostree/deploy/";
    private const int ChecksumDigits = 64;
    private const int MostSerialDigits = 9;

    private static readonly SearchValues<char> Digits = SearchValues.Create("0123456789abcdef");

    /// <summary>Length of the part of a path that leads to a deployment's root, with the <c>/</c> at its end; 0 when it leads to none.</summary>
    /// <param name="below">From a volume's or a subvolume's root. A deployment's own folder ends in <c>/</c>.</param>
    public static int DeploymentIn(ReadOnlySpan<char> below)
    {
        int stateroot = StaterootIn(below);
        if (stateroot == 0 || !below[stateroot..].StartsWith("deploy/"))
        {
            return 0;
        }

        ReadOnlySpan<char> name = below[(stateroot + "deploy/".Length)..];
        int end = name.IndexOf('/');
        return end > 0 && IsDeployment(name[..end]) ? stateroot + "deploy/".Length + end + 1 : 0;
    }

    /// <summary>The same for the root of a stateroot, <c>ostree/deploy/STATEROOT/</c>.</summary>
    public static int StaterootIn(ReadOnlySpan<char> below)
    {
        int end = below.StartsWith(Deploy) ? below[Deploy.Length..].IndexOf('/') : 0;
        return end > 0 ? Deploy.Length + end + 1 : 0;
    }

    /// <summary>A path as the guest has it, of a file that OSTree keeps for it; any other as it is.</summary>
    public static ReadOnlySpan<char> Inside(ReadOnlySpan<char> below)
    {
        int deployment = DeploymentIn(below);
        int stateroot = StaterootIn(below);
        return deployment > 0 ? below[deployment..] : below[stateroot..].StartsWith("var/") ? below[stateroot..] : below;
    }

    /// <summary>Whether a name can be one of what <see cref="IsBoot"/> asks for, before a path is made of it.</summary>
    public static bool MayBe(ReadOnlySpan<byte> name, ReadOnlySpan<byte> folder) =>
        folder.SequenceEqual("entries"u8) ? name.EndsWith(".conf"u8)
        : folder.SequenceEqual("ostree"u8) ? name.StartsWith("boot."u8)
        : name.SequenceEqual("loader"u8) || (folder.Length == ChecksumDigits && name.Length <= MostSerialDigits);

    /// <summary>What leads from the boot loader to a deployment: its entries, and the links that the kernel's <c>ostree=</c> names.</summary>
    public static bool IsBoot(ReadOnlySpan<char> below) =>
        EntriesOf(below) >= 0 || below is "loader" or "boot/loader" or "ostree/boot.0" or "ostree/boot.1" || below.StartsWith("ostree/boot.");

    /// <summary>Length of the folder's path that holds an entry of the boot loader; negative when the path is no entry's. Spec: Boot Loader Specification, type 1.</summary>
    public static int EntriesOf(ReadOnlySpan<char> below)
    {
        int at = below.LastIndexOf('/');
        ReadOnlySpan<char> folder = below[..Math.Max(at, 0)];
        folder = folder.StartsWith("boot/") ? folder["boot/".Length..] : folder;
        return folder is "loader/entries" or "loader.0/entries" or "loader.1/entries" && below.EndsWith(".conf") ? at : -1;
    }

    private static bool IsDeployment(ReadOnlySpan<char> name) =>
        name.Length > ChecksumDigits + 1 && name.Length <= ChecksumDigits + 1 + MostSerialDigits && name[ChecksumDigits] == '.'
        && name[..ChecksumDigits].IndexOfAnyExcept(Digits) < 0 && name[(ChecksumDigits + 1)..].IndexOfAnyExceptInRange('0', '9') < 0;
}
