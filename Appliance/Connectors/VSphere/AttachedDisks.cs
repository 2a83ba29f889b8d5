using System.Globalization;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>
/// Disks of this machine by the identity that the host gives them: with <c>disk.EnableUUID</c> a virtual disk's uuid is its NAA identifier (SCSI, page 0x83),
/// from which udev makes its links.
/// </summary>
internal sealed class AttachedDisks(MachinePlaces machine)
{
    private const int Digits = 32;

    private static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(100);

    /// <summary>A disk of that identity is here.</summary>
    /// <exception cref="IOException">It is no identity.</exception>
    public bool Has(string uuid) => Links(uuid).Any(l => HostFile.KindOf(l) != HostFileKind.Missing);

    /// <summary>Waits for a disk and opens it for reading.</summary>
    /// <param name="bytes">What it must hold: another size is another disk.</param>
    /// <exception cref="IOException">It does not appear, or is another.</exception>
    public IBlockSource Open(string uuid, long bytes)
    {
        string[] links = Links(uuid);
        for (long started = Environment.TickCount64; ;)
        {
            foreach (string link in links.Where(l => HostFile.KindOf(l, follow: true) == HostFileKind.BlockDevice))
            {
                string? device = Target(link);
                var source = new FileSource(link);

                // A disk that the kernel is still asking about has no size yet; and what the name leads to may have changed since it was looked at.
                if (source.Length == bytes && device is not null && Target(link) == device)
                {
                    return source;
                }

                long length = source.Length;
                source.Dispose();
                if (length > 0 && length != bytes)
                {
                    throw new IOException(string.Create(CultureInfo.InvariantCulture, $"{link} has {length} bytes, and the disk has {bytes}: it is another"));
                }
            }

            if (Environment.TickCount64 - started > machine.Patience.TotalMilliseconds)
            {
                throw new IOException($"the disk was attached, and {links[0]} does not appear within {machine.Patience.TotalSeconds.ToString(CultureInfo.InvariantCulture)} s");
            }

            Thread.Sleep(LookEvery);
        }
    }

    private static string? Target(string link) => new FileInfo(link).ResolveLinkTarget(returnFinalTarget: true)?.FullName;

    private string[] Links(string uuid)
    {
        // Of the server's words it becomes a file's name: hexadecimal digits and nothing else.
        string digits = uuid.Replace("-", "", StringComparison.Ordinal).ToLowerInvariant();
        return digits.Length == Digits && digits.All(char.IsAsciiHexDigit) && digits.Any(d => d != '0')
            ? [Path.Combine(machine.Disks, "wwn-0x" + digits), Path.Combine(machine.Disks, "scsi-3" + digits)]
            : throw new IOException("the host gives the disk no uuid that it could be known by");
    }
}
