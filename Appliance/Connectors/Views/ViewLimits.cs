using System.Globalization;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors.Configuration;

namespace Vmsweep.Appliance.Connectors.Views;

/// <summary>How long a view may stay and how full the datastore may become under it: what the guest writes meanwhile is kept twice.</summary>
/// <param name="folders">Where its scratch files lie.</param>
/// <param name="files">Of the host that they are on; null: this one.</param>
internal sealed class ViewLimits(ConnectorSettings settings, IReadOnlyList<string> folders, TimeProvider time, IHostFiles? files = null)
{
    private readonly DateTimeOffset _opened = time.GetUtcNow();

    /// <summary>Why no view may be open now; null when it may.</summary>
    public string? Exceeded()
    {
        if (time.GetUtcNow() - _opened > settings.MaximumAge)
        {
            return string.Create(CultureInfo.InvariantCulture, $"the view was open for more than {settings.MaximumAge.TotalHours} hours");
        }

        return Full(settings, folders, files);
    }

    /// <summary>Which of the folders has too little space left; null when none has.</summary>
    public static string? Full(ConnectorSettings settings, IEnumerable<string> folders, IHostFiles? files = null)
    {
        foreach (string folder in folders)
        {
            long free = (files ?? LocalFiles.Instance).FreeBytes(folder);
            if (free < settings.MinimumFreeBytes)
            {
                return $"{folder} has {Sizes.Show(free)} free, less than {Sizes.Show(settings.MinimumFreeBytes)} (\"minimumFree\")";
            }
        }

        return null;
    }
}
