using System.Globalization;
using System.Text.Json;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Scheduler.Triggers;

namespace Vmsweep.Appliance.Sweeps.Configuration;

/// <summary>Reads one sweep of the configuration. Whatever is wrong is said with its line, before anything starts.</summary>
internal static class SweepParser
{
    private static readonly string[] DayNames = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

    /// <exception cref="ConfigurationException">Something in it is not known or not allowed.</exception>
    public static SweepSettings Parse(string name, ConfigurationNode node, IReadOnlyCollection<string> connectors, IReadOnlyList<TenantSettings> tenants, DateTimeOffset now)
    {
        node.Allow("what", "when", "windows", "blackOut", "timeZone", "atWindowEnd", "priority", "depth", "fullEveryDays", "recheckPerMille", "memoryScan", "signatures", "limits");
        TimeZoneInfo zone = Zone(node);
        var settings = new SweepSettings
        {
            Name = name,
            What = Scope(node.Members.GetValueOrDefault("what") ?? throw node.Wrong($"the sweep \"{name}\" does not say \"what\""), connectors, tenants),
            Schedule = Schedule(node, zone, now),
            Zone = zone,
            Windows = Windows(node, zone, now),
            AtEnd = OneOf(node, "atWindowEnd", WindowEnd.Finish),
            Priority = node.Strings("priority"),
            OnlyChanges = OneOf(node, "depth", Depth.Full) == Depth.Changed,
            FullEveryDays = Whole(node, "fullEveryDays", 1, 3650) ?? 7,
            RecheckShare = Whole(node, "recheckPerMille", 0, 1000) / 1000.0 ?? ScanSettings.DefaultRecheckShare,
            Memory = OneOf(node, "memoryScan", MemoryChoice.Yes),
            Signatures = node.Members.TryGetValue("signatures", out ConfigurationNode? signatures) ? Signatures(signatures) : new(),
            Limits = node.Members.TryGetValue("limits", out ConfigurationNode? limits) ? Limits(limits) : new(),
        };
        return node.Members.TryGetValue("fullEveryDays", out ConfigurationNode? full) && !settings.OnlyChanges
            ? throw full.Wrong("\"fullEveryDays\" belongs to \"depth\": \"changed\"")
            : settings;
    }

    private static TimeZoneInfo Zone(ConfigurationNode node)
    {
        if (node.String("timeZone") is not { } id)
        {
            return TimeZoneInfo.Utc;
        }

        return TimeZoneInfo.TryFindSystemTimeZoneById(id, out TimeZoneInfo? zone)
            ? zone
            : throw node.Members["timeZone"].Wrong($"\"{id}\" is no time zone that this machine knows, such as Europe/Berlin{(Directory.Exists("/usr/share/zoneinfo") ? "" : " (apt-get install -y tzdata)")}");
    }

    private static CronSchedule? Schedule(ConfigurationNode node, TimeZoneInfo zone, DateTimeOffset now)
    {
        if (node.String("when") is not { } cron)
        {
            return null;
        }

        try
        {
            return CronSchedule.Parse(cron, zone, now);
        }
        catch (FormatException e)
        {
            throw node.Members["when"].Wrong($"\"{cron}\" is no schedule: {e.Message}");
        }
    }

    private static WindowCalendar Windows(ConfigurationNode node, TimeZoneInfo zone, DateTimeOffset now)
    {
        List<DailyWindow> windows = [];
        foreach (ConfigurationNode item in Items(node, "windows"))
        {
            item.Allow("start", "end", "days");
            var window = new DailyWindow(Time(item, "start"), Time(item, "end"), Days(item));
            int other = windows.FindIndex(w => w.Overlaps(window));
            if (other >= 0)
            {
                throw item.Wrong($"this window and the one of line {node.Members["windows"].Items[other].Line} are open at the same time");
            }

            windows.Add(window);
        }

        DateRange[] blackOuts = [.. Items(node, "blackOut").Select(Dates)];
        var calendar = new WindowCalendar(windows, blackOuts, zone);
        return calendar.From(now) is not null ? calendar : throw node.Members["blackOut"].Wrong("black-out dates leave no window open");
    }

    private static HashSet<DayOfWeek> Days(ConfigurationNode window)
    {
        if (!window.Members.TryGetValue("days", out ConfigurationNode? days))
        {
            return [.. Enum.GetValues<DayOfWeek>()];
        }

        HashSet<DayOfWeek> found = [];
        foreach ((string day, ConfigurationNode at) in window.Strings("days").Zip(days.Items))
        {
            int number = Array.IndexOf(DayNames, day);
            if (number < 0)
            {
                throw at.Wrong($"\"{day}\" is no day; they are mon, tue, wed, thu, fri, sat, sun");
            }

            found.Add((DayOfWeek)number);
        }

        return found.Count > 0 ? found : throw days.Wrong("a window without days is never open");
    }

    private static TimeOnly Time(ConfigurationNode node, string name)
    {
        string text = node.String(name) ?? throw node.Wrong($"a window has \"start\" and \"end\", such as \"22:00\"; \"{name}\" is missing");
        return text == "24:00" && name == "end" ? TimeOnly.MinValue
            : TimeOnly.TryParseExact(text, "HH:mm", CultureInfo.InvariantCulture, DateTimeStyles.None, out TimeOnly time) ? time
            : throw node.Members[name].Wrong($"\"{text}\" is no time of day, such as \"22:00\"");
    }

    private static DateRange Dates(ConfigurationNode node)
    {
        string text = node.Expect(JsonTokenType.String, "a date").Text;
        string[] parts = text.Split("..");
        return parts.Length <= 2 && Day(parts[0], out DateOnly first) && Day(parts[^1], out DateOnly last) && last >= first
            ? new DateRange(first, last)
            : throw node.Wrong($"\"{text}\" is neither a date, such as \"2026-12-24\", nor a range of dates, such as \"2026-12-24..2027-01-02\"");

        static bool Day(string text, out DateOnly day) => DateOnly.TryParseExact(text, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out day);
    }

    private static SweepScope Scope(ConfigurationNode node, IReadOnlyCollection<string> connectors, IReadOnlyList<TenantSettings> tenants)
    {
        node.Allow("connectors", "folders", "bases", "include", "exclude", "tenant");
        var scope = new SweepScope
        {
            Connectors = node.Strings("connectors"),
            Folders = Paths(node, "folders"),
            Bases = Paths(node, "bases"),
            Include = node.Members.TryGetValue("include", out ConfigurationNode? include) ? Filter(include) : null,
            Exclude = node.Members.TryGetValue("exclude", out ConfigurationNode? exclude) ? Filter(exclude) : null,
            Tenant = node.String("tenant"),
        };
        for (int i = 0; i < scope.Connectors.Count; i++)
        {
            if (!connectors.Contains(scope.Connectors[i]))
            {
                throw node.Members["connectors"].Items[i].Wrong($"there is no connector \"{scope.Connectors[i]}\"; there {(connectors.Count > 0 ? "are " + string.Join(", ", connectors) : "is none")}");
            }
        }

        for (int i = 0; i < scope.Folders.Count; i++)
        {
            string folder = scope.Folders[i];
            if (scope.Folders.Take(i).FirstOrDefault(f => SweepConfiguration.Contains(f, folder) || SweepConfiguration.Contains(folder, f)) is { } other)
            {
                throw node.Members["folders"].Items[i].Wrong($"\"{folder}\" and \"{other}\" lie in each other; name the outer one alone");
            }
        }

        if (scope.Tenant is { } tenant)
        {
            _ = tenants.FirstOrDefault(t => t.Name == tenant) ?? throw node.Members["tenant"].Wrong($"there is no tenant \"{tenant}\"");
            for (int i = 0; i < scope.Folders.Count; i++)
            {
                if (tenants.FirstOrDefault(t => t.Name != tenant && t.Folders.Any(f => SweepConfiguration.Contains(f, scope.Folders[i]))) is { } owner)
                {
                    throw node.Members["folders"].Items[i].Wrong($"\"{scope.Folders[i]}\" belongs to the tenant \"{owner.Name}\", not to \"{tenant}\"");
                }
            }
        }

        return scope.Connectors.Count + scope.Folders.Count > 0 ? scope : throw node.Wrong("\"what\" names neither \"connectors\" nor \"folders\"");
    }

    private static VmFilter Filter(ConfigurationNode node)
    {
        node.Allow("names", "folders", "tags");
        var filter = new VmFilter(node.Strings("names"), [.. node.Strings("folders").Select(f => f.TrimEnd('/'))], node.Strings("tags"));
        return filter.Names.Count + filter.Folders.Count + filter.Tags.Count > 0 ? filter : throw node.Wrong("\"names\", \"folders\" or \"tags\" are expected here");
    }

    private static SweepSignatures Signatures(ConfigurationNode node)
    {
        node.Allow("engines", "rules", "withBuiltin", "hashes", "knownGood", "clamd");
        IReadOnlyList<string> engines = node.Strings("engines");
        for (int i = 0; i < engines.Count; i++)
        {
            if (!EngineNames.All.Contains(engines[i]))
            {
                throw node.Members["engines"].Items[i].Wrong($"there is no engine \"{engines[i]}\"; there are {string.Join(", ", EngineNames.All)}");
            }
        }

        return new SweepSignatures
        {
            Engines = engines,
            Rules = Paths(node, "rules"),
            WithBuiltin = Flag(node, "withBuiltin"),
            Hashes = Paths(node, "hashes"),
            KnownGood = Paths(node, "knownGood"),
            ClamdSocket = node.String("clamd"),
        };
    }

    private static SweepLimits Limits(ConfigurationNode node)
    {
        node.Allow(
            "disks", "disksPerNode", "disksPerDatastore", "disksPerHost", "disksPerTenant", "bytesPerSecond", "bytesPerSecondPerDatastore", "bytesPerSecondPerHost", "bytesPerSecondPerTenant",
            "targetLatencyMilliseconds", "stopLatencyMilliseconds", "nice", "ioClass", "threads", "memory");
        var defaults = new SweepLimits();
        TimeSpan? target = Milliseconds(node, "targetLatencyMilliseconds");
        TimeSpan? stop = Milliseconds(node, "stopLatencyMilliseconds");
        if (stop is not null && target is null)
        {
            throw node.Members["stopLatencyMilliseconds"].Wrong("\"stopLatencyMilliseconds\" belongs to a \"targetLatencyMilliseconds\"");
        }

        if (stop <= target)
        {
            throw node.Members["stopLatencyMilliseconds"].Wrong("it must be longer than \"targetLatencyMilliseconds\"");
        }

        string io = node.String("ioClass") ?? defaults.IoClass;
        return new SweepLimits
        {
            Disks = Whole(node, "disks", 1, 1024) ?? defaults.Disks,
            DisksPerDatastore = Whole(node, "disksPerDatastore", 1, 1024),
            DisksPerHost = Whole(node, "disksPerHost", 1, 1024),
            DisksPerNode = Whole(node, "disksPerNode", 1, 1024),
            DisksPerTenant = Whole(node, "disksPerTenant", 1, 1024),
            BytesPerSecond = Rate(node, "bytesPerSecond"),
            BytesPerSecondPerDatastore = Rate(node, "bytesPerSecondPerDatastore"),
            BytesPerSecondPerHost = Rate(node, "bytesPerSecondPerHost"),
            BytesPerSecondPerTenant = Rate(node, "bytesPerSecondPerTenant"),
            TargetLatency = target,
            StopLatency = stop ?? target * 5,
            Nice = Whole(node, "nice", 0, 19) ?? defaults.Nice,
            IoClass = io is "idle" or "best-effort" or "none" ? io : throw node.Members["ioClass"].Wrong($"\"{io}\" is none of idle, best-effort, none"),
            Threads = Whole(node, "threads", 1, 1024) ?? defaults.Threads,
            MemoryBytes = Size(node, "memory", 4 << 20, "a size of at least 4M, such as 192M") ?? defaults.MemoryBytes,
        };
    }

    private static long? Rate(ConfigurationNode node, string name) => Size(node, name, 64 << 10, "a size of at least 64K, such as 100M");

    private static long? Size(ConfigurationNode node, string name, long least, string expected) =>
        node.String(name) is not { } text ? null
        : Sizes.TryParse(text, out long bytes) && bytes >= least ? bytes
        : throw node.Members[name].Wrong($"\"{text}\" is not {expected}");

    private static TimeSpan? Milliseconds(ConfigurationNode node, string name) => Whole(node, name, 1, 60_000) is { } count ? TimeSpan.FromMilliseconds(count) : null;

    public static bool Flag(ConfigurationNode node, string name) =>
        node.Members.TryGetValue(name, out ConfigurationNode? flag) && (flag.Type is JsonTokenType.True or JsonTokenType.False ? flag.Type == JsonTokenType.True : throw flag.Wrong("true or false is expected here"));

    private static int? Whole(ConfigurationNode node, string name, int least, int most) =>
        !node.Members.TryGetValue(name, out ConfigurationNode? member) ? null
        : int.TryParse(member.Expect(JsonTokenType.Number, $"\"{name}\": a number").Text, CultureInfo.InvariantCulture, out int number) && number >= least && number <= most ? number
        : throw member.Wrong(string.Create(CultureInfo.InvariantCulture, $"a whole number from {least} to {most} is expected here"));

    private static T OneOf<T>(ConfigurationNode node, string name, T otherwise)
        where T : struct, Enum
    {
        if (node.String(name) is not { } text)
        {
            return otherwise;
        }

        string[] names = [.. Enum.GetNames<T>().Select(n => n.ToLowerInvariant())];
        int index = Array.IndexOf(names, text);
        return index >= 0 ? Enum.GetValues<T>()[index] : throw node.Members[name].Wrong($"\"{text}\" is none of {string.Join(", ", names)}");
    }

    private static IReadOnlyList<string> Paths(ConfigurationNode node, string name)
    {
        IReadOnlyList<string> paths = [.. node.Strings(name).Select(p => p.Length > 1 ? p.TrimEnd('/') : p)];
        for (int i = 0; i < paths.Count; i++)
        {
            if (!Path.IsPathRooted(paths[i]))
            {
                throw node.Members[name].Items[i].Wrong($"\"{paths[i]}\" is no absolute path");
            }

            if (paths[i] != "/")
            {
                SweepConfiguration.RequireNormal(paths[i], node.Members[name].Items[i]);
            }
        }

        return paths;
    }

    private static List<ConfigurationNode> Items(ConfigurationNode node, string name) =>
        node.Members.TryGetValue(name, out ConfigurationNode? list) ? list.Expect(JsonTokenType.StartArray, $"\"{name}\": a list").Items : [];

    private enum Depth
    {
        Full,
        Changed,
    }
}
