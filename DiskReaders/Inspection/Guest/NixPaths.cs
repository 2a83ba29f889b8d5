namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>
/// What links of NixOS's <c>/etc</c> lead to: <c>/nix/store/HASH-etc/etc/NAME</c>, and from there <c>/nix/store/HASH-etc-NAME</c>. The
/// store may have a volume of its own.
/// </summary>
internal static class NixPaths
{
    /// <summary>The link in <c>/etc</c> to the folder that the present generation of it is.</summary>
    public const string Static = "etc/static";

    private const string Store = "store/";
    private const int HashLength = 32;

    /// <summary>The name below <c>/etc</c> of a file of the store named after it; empty for all else.</summary>
    public static ReadOnlySpan<byte> NameIn(ReadOnlySpan<byte> name) =>
        name.Length > HashLength + 5 && name[HashLength..].StartsWith("-etc-"u8) ? name[(HashLength + 5)..] : default;

    /// <summary>A path below <c>/etc</c> of a file that the store keeps for it; empty for all else.</summary>
    /// <param name="below">From the root of the system, or of the volume that is mounted at <c>/nix</c>.</param>
    public static string Inside(ReadOnlySpan<char> below)
    {
        ReadOnlySpan<char> name = below.StartsWith("nix/") ? below["nix/".Length..] : below;
        if (!name.StartsWith(Store) || name.Length <= Store.Length + HashLength || name[Store.Length..].IndexOf('/') is >= 0 and < HashLength)
        {
            return "";
        }

        name = name[(Store.Length + HashLength)..];
        return name.StartsWith("-etc/etc/") ? $"etc/{name["-etc/etc/".Length..]}"
            : name.StartsWith("-etc-") ? $"etc/{name["-etc-".Length..]}"
            : "";
    }
}
