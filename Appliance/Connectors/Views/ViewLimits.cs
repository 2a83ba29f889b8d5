using System.Globalization;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors.Configuration;

namespace Vmsweep.Appliance.Connectors.Views;

/// <summary>How long a view may stay and how full the datastore may become under it: what the guest writes meanwhile is kept twice.</summary>
/// <param name="folders">Where its scratch files lie.</param>
internal sealed class ViewLimits(ConnectorSettings settings, IReadOnlyList<string> folders, TimeProvider time)
{
    private readonly DateTimeOffset _opened = time.GetUtcNow();

    /// <summary>Why no view may be open now; null when it may.</summary>
    public string? Exceeded()
    {
        if (time.GetUtcNow() - _opened > settings.MaximumAge)
        {
            return string.Create(CultureInfo.InvariantCulture, $"the view was open for more than {settings.MaximumAge.TotalHours} hours");
        }

        foreach (string folder in folders)
        {
            long free = new DriveInfo(folder).AvailableFreeSpace;
            if (free < settings.MinimumFreeBytes)
            {
                return $"{folder} has {Sizes.Show(free)} free, less than {Sizes.Show(settings.MinimumFreeBytes)} (\"minimumFree\")";
            }
        }

        return null;
    }
}
