using System.Globalization;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors.Configuration;

namespace Vmsweep.Appliance.Connectors.Views;

/// <summary>How long a view may stay and how full the datastore may become under it: what the guest writes meanwhile is kept twice.</summary>
/// <param name="free">Places where what is kept twice lies, and how many bytes each has left now.</param>
internal sealed class ViewLimits(ConnectorSettings settings, Func<IEnumerable<(string Place, long FreeBytes)>> free, TimeProvider time)
{
    private readonly DateTimeOffset _opened = time.GetUtcNow();

    /// <param name="folders">Where its scratch files lie.</param>
    /// <param name="files">Of the host that they are on; null: this one.</param>
    public ViewLimits(ConnectorSettings settings, IReadOnlyList<string> folders, TimeProvider time, IHostFiles? files = null)
        : this(settings, () => FreeIn(folders, files), time)
    {
    }

    /// <summary>Why no view may be open now; null when it may.</summary>
    public string? Exceeded()
    {
        if (time.GetUtcNow() - _opened > settings.MaximumAge)
        {
            return string.Create(CultureInfo.InvariantCulture, $"the view was open for more than {settings.MaximumAge.TotalHours} hours");
        }

        return Full(settings, free());
    }

    /// <summary>Which of the folders has too little space left; null when none has.</summary>
    public static string? Full(ConnectorSettings settings, IEnumerable<string> folders, IHostFiles? files = null) => Full(settings, FreeIn(folders, files));

    private static string? Full(ConnectorSettings settings, IEnumerable<(string Place, long FreeBytes)> free)
    {
        foreach ((string place, long left) in free)
        {
            if (left < settings.MinimumFreeBytes)
            {
                return $"{place} has {Sizes.Show(left)} free, less than {Sizes.Show(settings.MinimumFreeBytes)} (\"minimumFree\")";
            }
        }

        return null;
    }

    private static IEnumerable<(string Place, long FreeBytes)> FreeIn(IEnumerable<string> folders, IHostFiles? files) =>
        folders.Select(f => (f, (files ?? LocalFiles.Instance).FreeBytes(f)));
}
