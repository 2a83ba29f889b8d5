using System.Globalization;
using Vmsweep.DiskReaders.Inspection.Guest;

namespace Vmsweep.Appliance.Cli;

/// <summary>A guest's facts for people: a line for each kind that there is anything to say of.</summary>
internal static class GuestText
{
    public static void Write(GuestFacts guest, TextWriter output)
    {
        string name = guest.OperatingSystem.Length > 0 ? guest.OperatingSystem : "unknown system";
        output.WriteLine("  guest " + Joined(name, guest.Version, guest.Edition, guest.PatchLevel) + " on " + guest.Volume);
        Line(output, Named("host name ", guest.HostName), Named("time zone ", guest.TimeZone), Named("machine id ", guest.MachineId));
        string user = guest.LastUser.Length > 0 ? " by " + Printable.Of(guest.LastUser) : "";
        Line(
            output,
            Named("installed ", Time(guest.Installed)),
            Named("last boot ", Time(guest.LastBoot)),
            Named("last shutdown ", Time(guest.LastShutdown)),
            guest.LastLogOn is null && user.Length == 0 ? "" : $"last log-on{Named(" ", Time(guest.LastLogOn))}{user}");
        Line(output, guest.Kernels.Count > 0 ? "kernels " + Joined([.. guest.Kernels]) : "");
        if (guest.Packages is { } packages)
        {
            Line(output, $"packages {Printable.Of(packages.Kind)}{(packages.Count is { } count ? string.Create(CultureInfo.InvariantCulture, $", {count} installed") : ", not counted")}");
        }

        Line(output, guest.HypervisorTools.Count > 0 ? "hypervisor tools " + Joined([.. guest.HypervisorTools.Select(t => $"{t.Name} {t.Version}".TrimEnd())]) : "");
        foreach (string other in guest.OtherSystems)
        {
            Line(output, "also there: " + Printable.Of(other));
        }
    }

    /// <summary>Where the guest shows a volume, to stand at the end of its line.</summary>
    public static string Places(GuestFacts? guest, string volume) => string.Concat((guest?.MountPoints ?? [])
        .Where(m => m.Volume == volume)
        .Select(m => ", " + Printable.Of(m.Path) + (m.Subvolume.Length > 0 ? $" (subvolume {Printable.Of(m.Subvolume)})" : "")));

    private static void Line(TextWriter output, params string[] parts)
    {
        string line = string.Join(", ", parts.Where(p => p.Length > 0));
        if (line.Length > 0)
        {
            output.WriteLine("    " + line);
        }
    }

    private static string Joined(params string[] texts) => string.Join(", ", texts.Where(t => t.Length > 0).Select(Printable.Of));

    private static string Named(string name, string text) => text.Length > 0 ? name + Printable.Of(text) : "";

    private static string Time(DateTimeOffset? time) => time?.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss 'UTC'", CultureInfo.InvariantCulture) ?? "";
}
