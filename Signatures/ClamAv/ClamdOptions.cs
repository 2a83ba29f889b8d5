namespace Vmsweep.Signatures.ClamAv;

/// <summary>Where <c>clamd</c> is and how long it is waited for.</summary>
public sealed record ClamdOptions
{
    /// <summary>Where Debian's package puts it.</summary>
    public const string DefaultSocket = "/run/clamav/clamd.ctl";

    /// <summary>With what a gate between client and daemon answers when the daemon is not there; the reason follows.</summary>
    public const string UnreachablePrefix = "UNREACHABLE: ";

    /// <summary>The one command that scans a content.</summary>
    public static ReadOnlySpan<byte> ScanCommand => "zINSTREAM\0"u8;

    public required string Socket { get; init; }

    /// <summary>For one content, from the connection to the answer.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>
    /// How long a daemon that cannot be reached is waited for, by all threads together and once for each outage: loading ClamAV's own
    /// database takes half a minute. What comes later is tried once, without waiting. With <see cref="Timeout"/> it is the longest that a
    /// matching thread may stand still.
    /// </summary>
    public TimeSpan Outage { get; init; } = TimeSpan.FromSeconds(45);
}

/// <summary>There is no <c>clamd</c>, or what is there is none.</summary>
public sealed class ClamdException(string message) : Exception(message);
