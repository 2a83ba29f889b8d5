using Vmsweep.DiskReaders.FileSystems;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Guest paths as text: <c>VOLUME/path</c> in the contract's escaped form.</summary>
internal static class GuestPaths
{
    public static string Of(string volume, GuestFile file, GuestLink link) =>
        volume + "/" + GuestName.Escape(link.Path(file.StreamName), controls: false);
}
